# SPDX-License-Identifier: MIT
"""``python -m tests.mock.soak``: hostile and honest clients against one mock of each platform, for a long time."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fixtures.process import readable
from mock.attach import attach
from tests.mock.soak import clients
from tests.mock.soak.tally import Tally

Work = list[tuple[clients.Body, int, int]]
"""Work of a client, its number among those of its kind, and the amount."""

TALKERS, BATCHERS, HONEST = 24, 6, 2
END = 120.0
"""Seconds that clients may take to end."""
WARM = 0.05
"""Share of the work after which all caches of the mock are filled, and measurements begin."""
GROWTH = 32 << 10
"""Maximum growth of the mock since then in KiB: memory that Python keeps for further objects."""


@dataclass(frozen=True)
class Sample:
    """Figures of the mock at one time."""

    seconds: float
    rss: int
    fds: int
    threads: int

    @classmethod
    def of(cls, pid: int, start: float) -> Sample:
        status = Path(f"/proc/{pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines())
        fds = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return cls(time.monotonic() - start, int(lines["VmRSS"].split()[0]), fds, int(lines["Threads"]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mock.soak",
        description="Random batches, then random ioctls, against one mock; meanwhile children are stopped and "
        "killed, and others look at their data. Exit status: 0 all is well, 1 it is not, 2 the work was not done in "
        "time.",
    )
    add = parser.add_argument
    add("--platform", action="append", metavar="NAME", help="default: lnl and bmg2")
    add("--ioctls", type=int, default=1_000_000, metavar="N", help="a platform (default: 1000000)")
    add("--batches", type=int, default=100_000, metavar="N", help="number of batches (default: 100000)")
    add("--seed", type=int, default=1, metavar="N", help="default: 1")
    add("--seconds", type=float, default=1800, metavar="S", help="most, a platform (default: 1800)")
    add("--every", type=float, default=10, metavar="S", help="between two lines (default: 10)")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    return max([_soak(platform, arguments) for platform in arguments.platform or ["lnl", "bmg2"]])


def _soak(platform: str, arguments: argparse.Namespace) -> int:
    tally = Tally.shared()
    reader, writer = os.pipe()
    release, held = os.pipe()
    pid = os.fork()
    if pid == 0:
        clients.end_with_parent()
        os.close(reader)
        os.close(held)
        os._exit(_host(platform, arguments, tally, writer, release))
    os.close(writer)
    os.close(release)
    print(f"soak of {platform}, seed {arguments.seed}", flush=True)
    lines = _Lines(reader)
    mock = int(lines.next(120)["mock"])
    start = time.monotonic()
    samples: list[Sample] = []
    warm: Sample | None = None
    print("   seconds  RSS KiB  fds  threads    ioctls  batches  rounds  children", flush=True)
    report: dict[str, Any] | None = None
    while report is None:
        try:
            samples.append(Sample.of(mock, start))
        except OSError:
            print("the mock is gone", flush=True)
            break
        _print(samples[-1], tally)
        done = sum(tally.ioctls), sum(tally.batches)
        if warm is None and done[0] >= arguments.ioctls * WARM and done[1] >= arguments.batches * WARM:
            warm = samples[-1]
        if samples[-1].seconds > arguments.seconds:
            tally.over = 1
        if samples[-1].seconds > arguments.seconds + END:
            break
        report = lines.next(arguments.every, patient=True)
    if report is None:
        report = lines.next(60)
    last = _settled(mock, start, report)
    if last is not None:
        _print(last, tally)
    left = _descriptors(mock)
    os.close(held)
    os.waitpid(pid, 0)
    return _judge(arguments, tally, report, warm or samples[0], last, left)


def _settled(mock: int, start: float, report: dict[str, Any]) -> Sample | None:
    """The mock when all but one client have ended, and it has had time to notice."""
    deadline = time.monotonic() + 30
    while True:
        try:
            sample = Sample.of(mock, start)
        except OSError:
            return None
        if sample.fds <= report["first"]["fds"] or time.monotonic() > deadline:
            return sample
        time.sleep(0.5)


def _descriptors(pid: int) -> list[str]:
    """Number of descriptors of the mock."""
    try:
        return sorted(str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return []


def _print(sample: Sample, tally: Tally) -> None:
    figures = f"{sample.seconds:10.0f} {sample.rss:8} {sample.fds:4} {sample.threads:8}"
    work = f"{sum(tally.ioctls):9} {sum(tally.batches):8} {sum(tally.rounds):7} {tally.children:9}"
    print(figures, work, flush=True)


def _judge(
    arguments: argparse.Namespace,
    tally: Tally,
    report: dict[str, Any],
    warm: Sample,
    last: Sample | None,
    left: list[str],
) -> int:
    """Print what is wrong, and the exit status."""
    wrong = list(report["wrong"])
    first = Sample(**report["first"])
    if last is None:
        wrong.append("the mock died")
    else:
        if last.fds > first.fds:
            wrong.append(f"{last.fds} descriptors at the end, {first.fds} at the start: {left}")
        if last.threads != first.threads:
            wrong.append(f"{last.threads} threads at the end, {first.threads} at the start")
        if last.rss > warm.rss + GROWTH:
            wrong.append(f"{last.rss} KiB at the end, {warm.rss} when it was warm")
    longest = max(tally.longest_us) / 1e6
    print(
        f"ioctls {sum(tally.ioctls)}, batches {sum(tally.batches)}, honest rounds {sum(tally.rounds)} (the longest "
        f"{longest:.1f} s), children {tally.children}: {tally.stopped} stopped, {tally.killed} killed; "
        f"{tally.hurt} clients hit themselves",
        flush=True,
    )
    for line in wrong:
        print(f"WRONG: {line}", flush=True)
    if wrong:
        return 1
    if sum(tally.ioctls) < arguments.ioctls or sum(tally.batches) < arguments.batches:
        print("time ran out")
        return 2
    print("all is well", flush=True)
    return 0


class _Lines:
    """JSON lines from the host."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = b""

    def next(self, seconds: float, *, patient: bool = False) -> Any:
        """The next one; None if there is none in time and ``patient``."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._data:
            if not readable(self._fd, deadline - time.monotonic()):
                if patient:
                    return None
                sys.exit("soak: no word from the clients")
            chunk = os.read(self._fd, 65536)
            if not chunk:
                sys.exit("soak: the process that had the clients died")
            self._data += chunk
        line, _, self._data = self._data.partition(b"\n")
        return json.loads(line)


def _host(platform: str, arguments: argparse.Namespace, tally: Tally, writer: int, release: int) -> int:
    """All clients of the mock; their output goes to ``writer``."""
    try:
        attached = attach(platform)
        os.write(writer, json.dumps({"mock": attached.pid}).encode() + b"\n")
        nodes = [path for path in attached.nodes if "render" in path]
        first = vars(Sample.of(attached.pid, time.monotonic()))
        others: Work = [(clients.check, slot, 0) for slot in range(HONEST)] + [(clients.ways_of_life, 0, 0)]
        talkers: Work = [(clients.talk, slot, -(-arguments.ioctls // TALKERS)) for slot in range(TALKERS)]
        batchers: Work = [
            (clients.batch, slot, -(-arguments.batches // BATCHERS)) for slot in range(BATCHERS)
        ]
        wrong = _run(others, [batchers, talkers], tally, nodes, arguments.seed)
        wrong += [f"the mock says:\n{said}" for said in [attached.errors()] if said]
        wrong += [] if attached.alive() else ["the mock died"]
        os.write(writer, json.dumps({"wrong": wrong, "first": first}).encode() + b"\n")
        os.read(release, 1)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _run(others: Work, phases: list[Work], tally: Tally, nodes: list[str], seed: int) -> list[str]:
    """Run the phases one after the other, while the other clients run. Returns all complaints."""
    crowd = _Crowd(tally, nodes, seed)
    for one in others:
        crowd.start(one)
    for phase in phases:
        busy = {crowd.start(one) for one in phase}
        while busy and not tally.over:
            gone, again = crowd.wait()
            busy.discard(gone)
            if again is not None:
                busy.add(again)
    tally.over = 1
    while crowd.running:
        crowd.wait()
    return crowd.wrong()


class _Crowd:
    """The processes of all clients."""

    def __init__(self, tally: Tally, nodes: list[str], seed: int) -> None:
        self._tally = tally
        self._nodes = nodes
        self._seeds = itertools.count(seed * 1_000_000)
        self._reader, self._writer = os.pipe()
        self._wrong: list[str] = []
        self.running: dict[int, tuple[clients.Body, int, int]] = {}

    def start(self, work: tuple[clients.Body, int, int]) -> int:
        """The process that does this."""
        body, slot, most = work
        seed = next(self._seeds)
        pid = os.fork()
        if pid:
            self.running[pid] = work
            return pid
        clients.end_with_parent()
        try:
            body(self._tally, slot, self._nodes, seed, most)
        except clients.Trouble as error:
            os.write(self._writer, f"{body.__name__} {slot}, seed {seed}: {error}\n".encode())
            os._exit(1)
        except BaseException:
            traceback.print_exc()
            os._exit(3)
        os._exit(0)

    def wait(self) -> tuple[int, int | None]:
        """The next process that ends, and its replacement: one that lets the kernel or a GPU store at random may have
        hit itself.
        """
        pid, status = os.waitpid(-1, 0)
        work = self.running.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        if code in _OWN_FAULT and work[0] in (clients.talk, clients.batch):
            self._tally.hurt += 1
            return pid, None if self._tally.over else self.start(work)
        if code:
            self._wrong.append(f"{work[0].__name__} {work[1]} ended with {code}")
            self._tally.over = 1
        return pid, None

    def wrong(self) -> list[str]:
        """Once all have ended."""
        os.close(self._writer)
        with os.fdopen(self._reader, "rb") as said:
            return self._wrong + said.read().decode().splitlines()


_OWN_FAULT = (3, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGABRT, -signal.SIGFPE)


if __name__ == "__main__":
    sys.exit(main())
