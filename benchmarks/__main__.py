# SPDX-License-Identifier: MIT
"""``python -m benchmarks``: print the results, and keep them in benchmarks/out."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import calls, guests, machine, memory, reports, suite, table
from benchmarks.sample import Group
from benchmarks.subject import SubjectError
from common.kernels import DEFAULT_KERNEL
from fixtures.plugin.results import suite_version

OUT = suite.ROOT / "benchmarks" / "out"
GROUPS = ("calls", "memory", "tests", "conformance", "reports")
GUEST = "guest"  # only on request: it fetches a kernel


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure what calls, faults, tests, runs and reports cost."
    )
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)} (default: all of these), {GUEST}"
    )
    parser.add_argument(
        "--kernel",
        default=DEFAULT_KERNEL,
        metavar="KERNEL",
        help=f"of the group {GUEST} (default: %(default)s)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only check that everything can be measured, with too few rounds for figures",
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="number of rounds (default: 5)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="folder for the figures")
    arguments = parser.parse_args()
    for group in arguments.groups:
        if group not in (*GROUPS, GUEST):
            parser.error(f"{group} is not one of {', '.join(GROUPS)}")
    if arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds}: at least 1")
    arguments.groups = arguments.groups or GROUPS
    return arguments


def _groups(names: list[str], kernel: str, rounds: int, *, quick: bool) -> Iterator[Group]:
    scale = 0.02 if quick else 1.0
    if "calls" in names:
        yield from calls.measure(rounds, scale)
    if "memory" in names:
        yield from memory.measure(rounds, scale)
    if "tests" in names:
        yield from suite.tests(rounds, ["suites/query"] if quick else ["suites"])
    if "conformance" in names and not quick:
        yield from suite.conformance(rounds)
    if "reports" in names:
        yield from reports.measure(rounds, quick=quick)
    if GUEST in names:
        yield from guests.measure(kernel, rounds, scale, quick=quick)


def main() -> int:
    """Measure, print, write. Returns 1 if something could not be measured."""
    arguments = _arguments()
    rounds = 1 if arguments.quick else arguments.rounds
    noise = machine.Noise()
    about = machine.describe()
    version = suite_version(suite.ROOT)
    print(
        f"svm-cts {version['version']} on {about['cpus']} processors ({about['cpu']}), Linux {about['kernel']}, "
        f"Python {about['python']}, load {about['load']}"
    )
    measured: list[dict[str, Any]] = []
    try:
        noise.look()
        for group in _groups(arguments.groups, arguments.kernel, rounds, quick=arguments.quick):
            print("\n".join(table.lines(group)), flush=True)
            measured.append(group.to_dict())
            noise.look()
    except (SubjectError, suite.RunError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print(f"\n{noise}")
    now = datetime.datetime.now(datetime.UTC)
    path: Path = arguments.out / f"{now:%Y%m%d-%H%M%S}.json"
    arguments.out.mkdir(parents=True, exist_ok=True)
    figures = {
        "schema": 1,
        "suite": version,
        "time": now.isoformat(timespec="seconds"),
        "quick": arguments.quick,
        "machine": about,
        "noise": noise.to_dict(),
        "groups": measured,
    }
    path.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
