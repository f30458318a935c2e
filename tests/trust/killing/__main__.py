# SPDX-License-Identifier: MIT
"""``python -m tests.trust.killing``: runs that lose one of their processes to SIGKILL, and continue by ``--resume``."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.trust.killing import processes
from tests.trust.killing.judging import Judge
from tests.trust.killing.runs import Attack, Late, Runs

TESTS = (
    "suites/gc/test_collection.py::test_map_store_unmap_cycles_leak_no_vram",
    "suites/gc/test_close.py",
    "suites/query/test_config.py",
    "suites/vm/test_processes.py::test_vm_id_is_published_last",
)
"""Tests that run by default: some seconds, with children, moving memory and refusals."""
PLATFORMS = ("lnl", "bmg")
AGAIN = 0.2
"""Share of the continued runs that are killed as well."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.trust.killing",
        description="Kill one process of a small conformance run at a random moment: the pytest that was started, a "
        "worker, a mock, its keeper; with a guest the process that runs it, QEMU, the emulated GPU. Resume the run, "
        "and compare: no result is lost or doubled, all verdicts are those of an undisturbed run, except for the "
        "test that lost its process, and no process, file or namespace is left. This is repeated. Exit status: 0 all "
        "is well, 1 it is not, 2 the work was not done in time.",
    )
    add = parser.add_argument
    add("--kills", type=int, default=100, metavar="N", help="runs that are killed (default: 100)")
    add("--seed", type=int, default=None, metavar="N", help="default: a random one, which is printed")
    add("--seconds", type=float, default=3600, metavar="S", help="most, in all (default: 3600)")
    add("--guest", metavar="KERNEL", help="in a guest, in place of mocks")
    add("--target", action="append", choices=list(processes.TARGETS), help="kill only this; may be repeated")
    add(
        "tests", nargs="*", default=TESTS, metavar="TEST", help="default: some of the suite, for some seconds"
    )
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    seed = Random().getrandbits(32) if arguments.seed is None else arguments.seed
    where = ["--guest", arguments.guest] if arguments.guest else [f"--platform={name}" for name in PLATFORMS]
    targets = arguments.target or (
        ["controller", "worker", "QEMU", "emulator"]
        if arguments.guest
        else ["controller", "worker", "mock", "keeper"]
    )
    end = time.monotonic() + arguments.seconds
    processes.adopt()
    place = Path(tempfile.mkdtemp(prefix="svmcts-killing-"))
    runs = Runs(place, [*where, "-n1", *arguments.tests])
    print(f"killing, seed {seed}: {', '.join(targets)}; the runs are in {place}", flush=True)
    try:
        judge = Judge.of(runs)
    except Late:
        print("the run that nothing is killed in did not end in time")
        return 2
    if not judge.own_shared:
        print("without the rights for a /dev/shm of its own it is not looked at", flush=True)
    print(f"left alone, {len(judge.outcomes)} results in {judge.pace.whole:.1f} s", flush=True)
    done: Counter[str] = Counter()
    wrong = 0
    for number in range(1, arguments.kills + 1):
        if time.monotonic() > end:
            break
        dice = Random(f"{seed} {number}")
        faults = _one(number, runs, judge, dice, targets, done)
        wrong += bool(faults)
        for fault in faults:
            print(f"WRONG: {fault}", flush=True)
        if faults:
            print(f"       see {runs.folder} and {runs.log}", flush=True)
        else:
            runs.forget()
    print(f"{sum(done.values())} killed: {', '.join(f'{target} {count}' for target, count in done.items())}")
    if wrong:
        print(f"{wrong} runs went wrong")
        return 1
    shutil.rmtree(place)
    if number < arguments.kills or time.monotonic() > end:
        print("time ran out")
        return 2
    print("all is well")
    return 0


def _one(
    number: int, runs: Runs, judge: Judge, dice: Random, targets: list[str], done: Counter[str]
) -> list[str]:
    """Kill one run and those that continue it. Returns the problems."""
    runs.next(number)
    start = time.monotonic()
    faults: list[str] = []
    kills = 0
    try:
        for attempt in itertools.count():
            attack = None
            if attempt == 0 or dice.random() < AGAIN:
                attack = Attack.draw(dice, targets, judge.pace)
            killed = runs.run(attack)
            status = runs.status
            if attack:
                print(f"{number:5} {attack} {killed or 'nothing was killed'}", flush=True)
            if attack and killed:
                kills += 1
                done[attack.target] += 1
            faults += judge.ended(status, killed)
            if faults or not attack:
                break
        faults += judge.whole(kills)
    except Late as late:
        faults.append(str(late))
    faults += judge.left()
    print(f"      {time.monotonic() - start:.1f} s, {judge.said}", flush=True)
    return faults


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[3])
    sys.exit(main())
