# SPDX-License-Identifier: MIT
"""``svmcts bisect-step``: one step of ``git bisect run`` in a kernel tree: build, boot in a guest, judge one test."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from reports.bisect import build
from reports.bisect.judge import Judgement, Verdict
from reports.bisect.log import Log, Step
from reports.bisect.options import NOT_YET, add_trial_options, trial_options
from reports.bisect.trial import NoAnswerError, call_pytest, learn, rounds, the_one

DESCRIPTION = """\
One step of git bisect run, in a kernel tree with a .config. First, with the bad commit checked out, let it learn the
failure, and how often it comes:

    git bisect start BAD GOOD
    git checkout BAD && svmcts bisect-step --test ID --learn
    git bisect run svmcts bisect-step --test ID

When something began to work is found with git's own terms, given here too (old: it fails, new: it works; --learn then
on the old commit):

    git bisect start --term-old broken --term-new works NEW OLD
    git bisect run svmcts bisect-step --test ID --term-old broken --term-new works

Exit status, as git bisect run wants it: 0 good (or old), 1 bad (or new), 125 cannot tell: it does not build or boot,
the test is not claimed, or fails otherwise. 255, which ends the search: the question is wrong.
"""
OLD, NEW, CANNOT_TELL, WRONG = 0, 1, 125, 255
FOLDER = "svmcts-bisect"
"""In git's own folder: what was learnt, log and runs."""
BUILT = "built"
"""The commit of the last whole build."""


def main(arguments: list[str]) -> int:
    """The exit status for git bisect run."""
    parser = argparse.ArgumentParser(
        "svmcts bisect-step", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tree", type=Path, default=Path(), metavar="DIR", help="the kernel tree (default: here)"
    )
    parser.add_argument("--learn", action="store_true", help="this commit fails: remember how, and how often")
    parser.add_argument(
        "--build",
        metavar="COMMAND",
        help="builds what is tested (default: make, of the modules that changed if it can)",
    )
    parser.add_argument(
        "--guest",
        metavar="KERNEL",
        help="boot this kernel, with --module, in place of the tree's (see svmcts guest)",
    )
    parser.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="FILE.ko",
        help="a module of the tree for --guest; repeatable",
    )
    parser.add_argument(
        "--term-old", metavar="WORD", help="with --term-new: search for when it began to work"
    )
    parser.add_argument("--term-new", metavar="WORD", help="as given to git bisect start")
    add_trial_options(parser)
    options = parser.parse_args(arguments)
    try:
        if (options.term_old is None) != (options.term_new is None):
            raise NoAnswerError("--term-old and --term-new belong together")
        return _InTree(options).run()
    except NoAnswerError as error:
        print(f"svmcts bisect-step: {error}", file=sys.stderr)
        return WRONG


class _InTree:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.tree = options.tree.absolute()
        self.repair = options.term_new is not None
        self.commit = build.git(self.tree, "rev-parse", "--short=12", "HEAD")
        own = Path(build.git(self.tree, "rev-parse", "--absolute-git-dir"))
        self.test = the_one(options.test)
        self.log = Log(own / FOLDER, {"test": self.test, "options": trial_options(options)})
        self.folder = self.log.folder / self.commit

    def run(self) -> int:
        self.folder.mkdir(exist_ok=True)
        if self.options.learn:
            failure = learn(self._built_whole(), self.folder, self._say)
            self.log.learnt(failure)
            again = "" if failure.needed == 1 else f"; a commit works after {failure.needed} passes"
            self._say(f"fails in {failure.failures} of {failure.runs} runs: {failure.why}{again}")
            return OLD
        if self.log.failure is None:
            raise NoAnswerError("what failure? check out the commit that fails, and give --learn first")
        judgement, runs = self._judge()
        self.log.add(Step(self.commit, judgement.verdict, judgement.why, runs))
        self._say(f"{judgement.verdict.value}{': ' + judgement.why if judgement.why else ''}")
        if judgement.verdict is Verdict.CANNOT_TELL:
            return CANNOT_TELL
        return OLD if (judgement.verdict is Verdict.WORKS) is not self.repair else NEW

    def _judge(self) -> tuple[Judgement, int]:
        assert self.log.failure is not None
        try:
            only_modules = self._build()
            judgement, runs = rounds(self._once, self.folder, self.log.failure)
            if judgement.verdict is Verdict.CANNOT_TELL and only_modules:
                # Modules that do not fit the rest of the kernel look like a kernel that cannot tell.
                self._say(f"{judgement.why}; once more with everything built")
                self._build_everything()
                judgement, runs = rounds(self._once, self.folder, self.log.failure)
        except build.BuildError as error:
            return Judgement(Verdict.CANNOT_TELL, str(error)), 0
        return judgement, runs

    def _built_whole(self) -> Callable[[Path], Judgement]:
        try:
            self._build()
        except build.BuildError as error:
            raise NoAnswerError(str(error)) from None
        return self._once

    def _build(self) -> bool:
        """Build what this commit needs; whether that was modules only."""
        if self.options.build is not None:
            self._commands([shlex.split(self.options.build)])
            return False
        built = self.log.folder / BUILT
        if built.exists():
            folders = build.module_folders(self.tree, build.changed(self.tree, built.read_text()))
            if folders is not None:
                self._say(f"building the modules of {', '.join(folders) or 'nothing: no source changed'}")
                self._commands(build.module_build(folders))
                return True
        self._build_everything()
        return False

    def _build_everything(self) -> None:
        if not (self.tree / ".config").exists():
            raise NoAnswerError(f"{self.tree} has no .config: make one, or give --build")
        self._say("building everything")
        (self.log.folder / BUILT).unlink(missing_ok=True)
        self._commands(build.whole_build())
        (self.log.folder / BUILT).write_text(build.git(self.tree, "rev-parse", "HEAD"))

    def _commands(self, commands: list[list[str]]) -> None:
        build.run(commands, self.tree, self.folder / "build.txt")

    def _once(self, folder: Path) -> Judgement:
        kernel = self.options.guest or str(self.tree)
        modules = [f"--module={self.tree / file}" for file in self.options.module]
        not_yet = NOT_YET if self.repair else ()
        arguments = ["--guest", kernel, *modules, *trial_options(self.options), *not_yet, self.test]
        return call_pytest(arguments, folder, self.options.timeout)

    def _say(self, line: str) -> None:
        print(f"bisect-step {self.commit}: {line}", file=sys.stderr, flush=True)
