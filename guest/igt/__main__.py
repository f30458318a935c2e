# SPDX-License-Identifier: MIT
"""``svmcts igt``: run IGT's tests in guests with emulated GPUs and report the results.

The result of each subtest is appended to a stream in the output directory. --resume continues an earlier run; without
it, the run starts over.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from common.kernels import DEFAULT_KERNEL
from common.place import written
from guest import GuestError, run
from guest.igt import results, table, tree
from guest.igt.campaign import Boot, Campaign
from guest.igt.selection import Setting, choose, matching
from guest.machine import GIB, Machine
from guest.run import Prepared

REPORT = "igt.md"
STATUS = "exit status: 0 every result is explained (guest/igt/reasons.py), 1 one is not, 2 no answer"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="svmcts igt",
        description=__doc__,
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--kernel", default=DEFAULT_KERNEL, metavar="KERNEL", help="as for svmcts guest (%(default)s)")
    add("--binary", action="append", default=[], metavar="GLOB",
        help="run these programs; may be repeated (the list of guest/igt/selection.py)")  # fmt: skip
    add(
        "--subtest",
        action="append",
        default=[],
        metavar="NAME",
        help="run only these subtests; may be repeated",
    )
    add(
        "--output",
        type=Path,
        default=written() / "reports/out/igt",
        metavar="DIR",
        help="directory of the results",
    )
    add("--resume", action="store_true", help="keep existing results, and run the rest")
    add("--retry", action="store_true", help="--resume, and rerun what failed without a known reason")
    add("--sample", type=int, default=3, metavar="N",
        help="run N subtests of each family of similar ones (%(default)s)")  # fmt: skip
    add("--all", action="store_const", dest="sample", const=None, help="run all subtests, which takes hours")
    add("--seed", type=int, default=1, help="seed of the sample (%(default)s)")
    add("--timeout", type=float, default=300.0, metavar="SECONDS", help="limit of one subtest (%(default)s)")
    add("--report", action="store_true", help="only write the table of existing results")
    add("--list", action="store_true", help="only print the subtests")
    return made


def plan(options: argparse.Namespace, root: Path) -> dict[str, list[str]]:
    """The subtests to run, by program."""
    found = {}
    for program in matching(tree.programs(root), options.binary):
        names = tree.subtests(root, program)
        if options.subtest:
            chosen = [name for name in names if name in options.subtest]
        else:
            chosen = choose(program, names, options.sample, options.seed)
        if chosen:
            found[program] = chosen
    if not found:
        raise GuestError(f"no subtest is called {options.subtest[0] if options.subtest else options.binary}")
    return found


def booting(prepared: Prepared, directory: Path) -> Boot:
    """A function that runs our Python in guests, with the output directory as scratch."""

    def boot(setting: Setting, arguments: Sequence[str]) -> str | None:
        machine = Machine(setting.gpus, memory=setting.memory * GIB, emulator=setting.emulator)
        command = [sys.executable, *arguments]
        outcome, files = run.run(prepared, machine, command=command, name="igt", scratch=directory)
        if outcome.lost:
            return f"{outcome.lost}; its logs are in {files.directory.name}"
        return None if outcome.code == 0 else f"the runner ended with status {outcome.code}"

    return boot


def report(directory: Path, options: argparse.Namespace, root: Path) -> int:
    """Write the table; returns the exit status."""
    found = list(results.read(directory / results.STREAM).values())
    title = f"IGT {tree.version(root)} on Linux {options.kernel}"
    text = table.markdown(found, title)
    (directory / REPORT).write_text(text, encoding="utf-8")
    print("\n".join(table.totals(found)))
    left = table.unexplained(found)
    for result in left:
        print(f"not explained: {result.key}: {result.outcome}: {result.message}")
    print(f"{directory / REPORT}")
    return 1 if left else 0


def main(arguments: Sequence[str]) -> int:
    """Run, and report."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parser().parse_args(arguments)
    directory = options.output.absolute()
    try:
        root = tree.provide()
        if options.report:
            return report(directory, options, root)
        chosen = plan(options, root)
        if options.list:
            for program, names in chosen.items():
                print("\n".join(f"{program}@{name}" for name in names))
            return 0
        directory.mkdir(parents=True, exist_ok=True)
        campaign = Campaign(root, directory, options.timeout, chosen)
        if options.retry:
            campaign.forget(
                result.key for result in table.unexplained(results.read(campaign.stream).values())
            )
        elif not options.resume:
            campaign.stream.unlink(missing_ok=True)
        campaign.run(booting(run.prepare(options.kernel), directory))
        return report(directory, options, root)
    except GuestError as error:
        print(f"svmcts: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
