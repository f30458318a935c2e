# SPDX-License-Identifier: MIT
"""``svmcts try TREE BASE..HEAD``: from a patch of the kernel to a verdict."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from common import lab
from common.answers import INTERRUPTED, NO, YES, NoAnswerError
from common.place import written
from guest import GuestError, builds, cache, kconfig
from guest.builds import Build
from reports.affected import Touched, affected, touched
from reports.bisect.process import interruptible
from reports.commands import compare
from reports.commands.inputs import today, waivers_at
from reports.coverage.changed import changed
from reports.ledger import Ledger
from reports.marks import proofs
from reports.merge import Report, merge
from reports.patch import changes, header, kernels
from reports.patch.changes import Change
from reports.patch.letter import letter
from reports.patch.trial import folder_for, run_suite, suite
from reports.stream import Run, label
from reports.verdict import failures
from reports.write import write_report

DESCRIPTION = """\
Builds a kernel and a change to it, runs the suite on both in guests, and reports what the change breaks and fixes:

    svmcts try ~/linux v7.3..HEAD
    svmcts try ~/linux --am series.mbox             # patches on top of the checked-out commit
    svmcts try ~/linux                              # uncommitted changes of the work tree
    svmcts try ~/linux v7.3.. --each                # each patch separately, with the tests it affects
    svmcts try ~/linux v7.3.. -- suites/madvise     # these tests (arguments of pytest)

The tests whose behaviours cite what the change touches run first, and their failures are printed at once; then all
tests run. Nothing is written into the tree. If only modules of the driver change, only they are built. Kernels and the
results of a base are kept for the next time. After an interruption, the same command continues.
"""
STATUS = """\
exit status: 0 nothing gets worse, 1 something does, 2 no answer (it does not apply, build or boot), 130 interrupted
"""
MAIL = "mail.txt"
FEW = 5
"""Arguments of pytest that are named one by one."""


def main(arguments: list[str]) -> int:
    """Exit status: 0 nothing gets worse, 1 something does, 2 no answer, 130 interrupted."""
    own, tests = _split(arguments)
    options = _parser().parse_args(own)
    if options.am and options.commits:
        raise NoAnswerError("BASE..HEAD and --am are two ways to name the change: give one")
    interruptible()
    try:
        return _Try(options, tests).run()
    except GuestError as error:
        raise NoAnswerError(str(error)) from None
    except KeyboardInterrupt:
        print("svmcts try: interrupted; the same command continues from here", file=sys.stderr)
        return INTERRUPTED


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our arguments, and those of pytest."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "svmcts try",
        usage="svmcts try TREE [BASE..HEAD | --am FILE] [OPTIONS] [-- PYTEST ARGUMENTS]",
        description=DESCRIPTION,
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tree", metavar="TREE", type=Path, help="a git tree of the kernel")
    parser.add_argument("commits", nargs="?", metavar="BASE..HEAD", help="range of commits in TREE")
    parser.add_argument(
        "--am", metavar="FILE", type=Path, help="patch or mailbox to apply on top of the checked-out commit"
    )
    parser.add_argument(
        "--each", action="store_true", help="try each patch separately, before the whole series"
    )
    parser.add_argument(
        "--affected-only",
        action="store_true",
        help="run only the tests whose behaviours cite what the change touches",
    )
    parser.add_argument(
        "--waivers", metavar="FILE.toml", type=Path, help="failures that are known and accepted (svmcts gate)"
    )
    lab.add_option(parser)
    parser.add_argument(
        "--profile",
        action="append",
        default=[],
        choices=kconfig.PROFILES,
        help="profile of both kernels (svmcts kernel build); may be repeated",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, help="output folder (default: below reports/out/try)"
    )
    parser.add_argument(
        "--jobs",
        "-j",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="parallel jobs of make (default: %(default)s)",
    )
    return parser


class _Try:
    def __init__(self, options: argparse.Namespace, tests: Sequence[str]) -> None:
        suite()  # before anything is built, as no run of a suite that cannot be named is kept
        self.options = options
        self.tests = tuple(tests)
        self.ledger = Ledger.load()
        self.waivers = waivers_at(options.waivers or lab.find(options.lab).file("waivers"))
        self.base, self.changes = changes.find(options.tree, options.commits, options.am, options.each)
        name = f"{self.base.label}..{self.changes[-1].source.label}"
        self.folder = (options.output or written() / "reports/out/try" / name).absolute()

    def run(self) -> int:
        """The exit status."""
        built = builds.make(self.base, self.options.profile, self.options.jobs)
        worse = False
        for number, change in enumerate(self.changes, 1):
            last = number == len(self.changes)
            folder = self.folder if last else self.folder / f"{number:04}"
            if not last:
                print(f"patch {number} of {len(self.changes)}: {change.title}")
            worse |= self._one(built, change, folder, affected_only=not last or self.options.affected_only)
        return NO if worse else YES

    def _one(self, built: Build, change: Change, folder: Path, *, affected_only: bool) -> bool:
        """Whether a change makes anything worse. Writes its reports into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "change.patch").write_text(change.patch)
        touches = touched(change.patch, change.title)
        answer = None
        if header.HEADER in touches:
            answer = header.check(self.base.show(header.HEADER), change, folder / "header", self.ledger)
            print("\n".join(answer.lines))
        environment = kernels.build(built, change, touches, self.options.jobs, folder / "modules")
        if environment == ["--guest", built.name]:
            print("no part of a kernel for guests changes: there is nothing to run")
            return bool(answer and answer.breaks)
        chosen = self.tests
        if first := self._affected(touches):
            cache.say(f"running {_named(first)}, which the change touches")
            self._say_failures(
                run_suite([*environment, *first], self._kept(folder, change, environment, first))
            )
            chosen = chosen or (tuple(first) if affected_only else ())
        elif affected_only:
            print("no behaviour cites what the change touches, so no test is affected")
            return bool(answer and answer.breaks)
        base = self._base(built, chosen)
        cache.say(f"running {_named(chosen)} on the change")
        new = run_suite([*environment, *chosen], self._kept(folder, change, environment, chosen))
        report = merge([new], base, self.waivers, today())
        return self._say(built, change, report, base, new, answer, folder, chosen)

    def _affected(self, touches: Touched) -> list[str]:
        """Options for the tests of what the change touches by name; where nothing does, of the files that it touches.

        Empty if there are none, or if the user names tests.
        """
        if self.tests:
            return []
        found, tested = affected(touches, self.ledger), proofs()
        nearest = [
            one.behaviour.id for one in found if one.rank == found[0].rank and one.behaviour.id in tested
        ]
        return [word for name in nearest for word in ("--behaviour", name)]

    def _base(self, built: Build, chosen: Sequence[str]) -> Run:
        """Results of the suite on the base; kept for every change to it."""
        folder = folder_for(cache.cache_root() / "tried", built.name, built.digest, chosen)
        cache.say(f"running {_named(chosen)} on the base, unless that was done before: {folder}")
        return run_suite(["--guest", built.name, *chosen], folder)

    @staticmethod
    def _kept(folder: Path, change: Change, environment: Sequence[str], chosen: Sequence[str]) -> Path:
        return folder_for(folder / "runs", change.source.content, environment, chosen)

    @staticmethod
    def _say_failures(run: Run) -> None:
        """Failures of the affected tests, as soon as they are known."""
        failed = failures(run.results)
        for group in failed:
            print(f"{group[0].outcome.value}  {label(group)}")
            print(f"      {group[0].line}")
        if not failed:
            print(f"{len(run.results)} affected tests: none fails")
        sys.stdout.flush()

    def _say(
        self,
        built: Build,
        change: Change,
        report: Report,
        base: Run,
        new: Run,
        answer: header.Answer | None,
        folder: Path,
        chosen: Sequence[str],
    ) -> bool:
        comparison = report.comparison
        assert comparison is not None
        print("\n".join(compare.text(base, new, comparison, self.ledger)))
        write_report(report, folder / "report", self.ledger)
        try:
            executed = changed(change.patch, new)
        except NoAnswerError as error:
            cache.say(f"no coverage of the changed lines: {error}")
            executed = []
        text = letter(change, built.name, report, self.ledger, answer, _named(chosen), executed)
        (folder / MAIL).write_text(text)
        worse = comparison.worse or bool(answer and answer.breaks)
        print(f"{change.title}: {'something gets worse' if worse else 'nothing gets worse'}")
        print(f"the mail for the list is {folder / MAIL}, the report {folder / 'report/index.html'}")
        return worse


def _named(chosen: Sequence[str]) -> str:
    """The tests, for people."""
    if not chosen:
        return "the whole suite"
    if chosen[0] == "--behaviour":
        number = len(chosen) // 2
        return f"the tests of {number} behaviour{'s' * (number != 1)}"
    return f"{len(chosen)} of its tests" if len(chosen) > FEW else " ".join(chosen)
