# SPDX-License-Identifier: MIT
"""Many columns from a few: streams for reports of 12, 20 and 40 environments.

    python -m tests.reports.many -o DIR --columns 20 [RUN...]

writes ``DIR/NN/results.jsonl``, one run for each column, and an older one of the first two; with --together one run
that has all columns. Columns are those of the runs in turn, under other names and kernels, with a few outcomes changed.
Without a run they are made up from the ledger. The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from reports.stream import STREAM
from tests.reports import streams

Event = dict[str, Any]
KERNELS = ("7.3.4", "7.2.9", "7.1.12", "7.0.13", "6.19.14", "6.18.15", "6.17.13")
PLATFORMS = ("bmg", "lnl", "bmg2", "pvc", "ptl", "bmg2-far")
MESSAGES = (
    "expected EINVAL, the call returned 0",
    "EBUSY: DRM_IOCTL_XE_VM_BIND on fd 16: Device or resource busy",
    "the CPU sees 0x{0:08x} at offset 0x0, not 0xcafe0001",
    "timed out after 5 s waiting for the release of VRAM",
)
EPOCH = datetime.fromisoformat("2026-11-21T05:40:00+00:00")


def names(number: int) -> list[tuple[str, dict[str, str]]]:
    """That many environments: name, and the fields that go with it."""
    guests = [
        (f"guest/{kernel}", {"machine": "guest", "backend": "driver", "platform": "bmg", "kernel": kernel})
        for kernel in KERNELS
    ]
    mocks = [
        (f"mock/{platform}", {"machine": "local", "backend": "mock", "platform": platform, "kernel": "7.3"})
        for platform in PLATFORMS
    ]
    labs = [
        (
            f"lab-{lab}:driver/{platform}@{kernel}",
            {"machine": "local", "backend": "driver", "platform": platform, "kernel": kernel},
        )
        for lab in "ab"
        for kernel in KERNELS
        for platform in PLATFORMS[:2]
    ]
    return [*mocks[:2], guests[0], *mocks[2:], *guests[1:], *labs][:number]


def _dice(*parts: object) -> int:
    """A number that is always the same for these parts."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest())


def columns(runs: Sequence[Sequence[Event]], number: int) -> Iterator[list[Event]]:
    """A stream for each of n environments; the last ones are older runs of the first two."""
    sources = [
        (environment, [e for e in run if e["event"] == "result" and e["env"] == environment["env"]])
        for run in runs
        for environment in run
        if environment["event"] == "environment"
    ]
    wanted = names(number)
    for at, (name, fields) in enumerate([*wanted, *wanted[:2]]):
        environment, results = sources[at % number % len(sources)]
        begin = EPOCH + timedelta(hours=at if at < number else at - 3 * number)
        command = ["pytest", f"--{name.partition('/')[0]}", name.partition("/")[2]]
        yield [
            streams.run(environments=[name], start=begin.isoformat(), command=command, seed=1000 + at),
            {**environment, "env": name, **fields, "level": ".".join(fields["kernel"].split(".")[:2])},
            *(_changed(result, name, begin, 1000 + at, n) for n, result in enumerate(results)),
            streams.end(time=(begin + timedelta(minutes=9)).isoformat()),
        ]


def _changed(result: Event, env: str, begin: datetime, seed: int, number: int) -> Event:
    """A result as another environment might have it: one in 150 fails there, a third of them wherever it runs."""
    function = result["test"].partition("[")[0]
    dice = _dice(env, result["test"])
    changed = {
        **result,
        "env": env,
        "seed": seed,
        "duration": round(result["duration"] * (50 + dice % 100) / 100, 6),
        "replay": f"pytest --{env.partition('/')[0]} {env.partition('/')[2]} --seed {seed} '{result['test']}'",
        "time": (begin + timedelta(seconds=number / 10)).isoformat(),
    }
    everywhere = _dice(function) % 450 == 0
    if changed["outcome"] != "PASS" or not (everywhere or dice % 250 == 0):
        return changed
    message = MESSAGES[(_dice(function) if everywhere else dice) % len(MESSAGES)].format(dice & 0xFFFFFFFF)
    return {
        **changed,
        "outcome": "FAIL",
        "message": message,
        "longrepr": f"    def {function.rpartition(':')[2]}() -> None:\n>       act()\nE       OSError: {message}",
        "transcript": streams.TRANSCRIPT * (1 + dice % 20),
    }


def made_up(tests: int = 3000) -> list[Event]:
    """A run of n tests on one environment; each behaviour of the ledger has one at least."""
    events = streams.whole_ledger(1, failures=0)
    results = [event for event in events if event["event"] == "result"]
    more = [
        {**results[n % len(results)], "test": f"{results[n % len(results)]['test']}[{n // len(results)}]"}
        for n in range(tests)
    ]
    return [*(event for event in events if event["event"] != "result"), *more]


def write(folder: Path, number: int, runs: Sequence[Sequence[Event]] = ()) -> list[Path]:
    """A folder with a stream for each column."""
    paths = []
    for at, events in enumerate(columns(runs or [made_up()], number)):
        path = folder / f"{at:02}" / STREAM
        paths.append(_written(path, events))
    return paths


def _written(path: Path, events: Sequence[Event]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(event, separators=(',', ':'))}\n" for event in events))
    return path


def together(number: int, runs: Sequence[Sequence[Event]] = ()) -> list[Event]:
    """One run that has all the columns."""
    parts = list(columns(runs or [made_up()], number))[:number]
    bodies = [event for part in parts for event in part[1:-1]]
    return [{**parts[0][0], "environments": [name for name, _ in names(number)]}, *bodies, parts[-1][-1]]


def main() -> None:
    """Write the streams; the module describes the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="*", type=Path, help="streams to take results from")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--together", action="store_true", help="one run with all columns")
    parser.add_argument("--tests", type=int, default=3000, help="of a column that is made up (default: 3000)")
    options = parser.parse_args()
    runs = [[json.loads(line) for line in path.read_text().splitlines()] for path in options.runs] or [
        made_up(options.tests)
    ]
    if options.together:
        paths = [_written(options.output / STREAM, together(options.columns, runs))]
    else:
        paths = write(options.output, options.columns, runs)
    print(*paths, sep="\n")


if __name__ == "__main__":
    main()
