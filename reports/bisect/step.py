# SPDX-License-Identifier: MIT
"""``svmcts bisect-step``: one step of ``git bisect run`` in a kernel tree: build, boot in a guest, judge one test."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path

from common.answers import NoAnswerError
from reports.bisect import build
from reports.bisect.judge import Judgement, Verdict
from reports.bisect.log import Log, Step, slug
from reports.bisect.options import NOT_YET, add_trial_options, trial_options
from reports.bisect.process import interruptible
from reports.bisect.trial import call_pytest, learn, rounds, the_one

DESCRIPTION = """\
One step of git bisect run, in a kernel tree with a .config:

    git bisect start BAD GOOD
    git bisect run svmcts bisect-step --test ID

or, if only a driver changes, with its module in an existing kernel:

    git bisect run svmcts bisect-step --test ID --guest 7.3 --module drivers/gpu/drm/xe/xe.ko

The first step also builds the bad commit, and learns from it which failure to search for, and how often it occurs.
To find when something began to work, give git's terms here too (old: it fails, new: it works):

    git bisect start --term-old broken --term-new works NEW OLD
    git bisect run svmcts bisect-step --test ID --term-old broken --term-new works

It tests the good commit once, too: if that fails there is nothing to search for.

After an interruption, the same git bisect run continues.
"""
STATUS = """\
exit status: 0 good (or old), 1 bad (or new), as git bisect run wants it;
125 cannot tell: it does not build or boot, the build leaves nothing new, the test is not claimed, or fails differently;
130 interrupted; 255, which ends the search: the question is wrong, the good commit fails, or something else is wrong
"""
OLD, NEW, CANNOT_TELL, INTERRUPTED, WRONG = 0, 1, 125, 130, 255
FOLDER = "svmcts-bisect"
"""In git's own folder: for each test what was learnt, log and runs."""
OUTPUT = "build.txt"
"""Output of builds, in the folder of a commit."""
SHORT = "--short=12"
"""Names of commits in the log."""
LOCK = "lock"
"""Held by a step, and by its build if the step is killed."""


def main(arguments: list[str]) -> int:
    """The exit status for git bisect run."""
    options = _parser().parse_args(arguments)
    interruptible()
    try:
        _check(options)
        return _InTree(options).run()
    except NoAnswerError as error:
        print(f"svmcts bisect-step: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("svmcts bisect-step: interrupted; the same git bisect run continues from here", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "svmcts bisect-step",
        description=DESCRIPTION,
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--tree", type=Path, default=Path(), metavar="DIR", help="the kernel tree (default: here)"
    )
    parser.add_argument(
        "--learn", action="store_true", help="the checked-out commit fails: learn how, and how often"
    )
    parser.add_argument(
        "--build",
        metavar="COMMAND",
        help="shell command to build what is tested, run in the tree (default: make of the tree, or of each --module)",
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
        type=Path,
        metavar="FILE.ko",
        help="a module of the tree for --guest; repeatable",
    )
    parser.add_argument(
        "--term-old", metavar="WORD", help="with --term-new: search for when it began to work"
    )
    parser.add_argument("--term-new", metavar="WORD", help="as given to git bisect start")
    add_trial_options(parser)
    return parser


def _check(options: argparse.Namespace) -> None:
    """Raises NoAnswerError if options do not go together."""
    if (options.term_old is None) != (options.term_new is None):
        raise NoAnswerError("--term-old and --term-new belong together")
    if bool(options.module) != bool(options.guest):
        raise NoAnswerError("--guest and --module belong together")


class _InTree:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.tree = options.tree.absolute()
        self.repair = options.term_new is not None
        self.commit = self._head()
        self.git_folder = Path(build.git(self.tree, "rev-parse", "--absolute-git-dir"))
        self._refuse_no_checkout()
        self.new, self.old = self._terms()
        self.test = the_one(options.test)
        own = self.git_folder / FOLDER
        own.mkdir(exist_ok=True)
        self.lock = own / LOCK
        self.held: tuple[int, ...] = ()
        self.log = Log(own / slug(self.test), {"test": self.test, "options": trial_options(options)})

    def run(self) -> int:
        """The exit status, when nothing else builds here: what a killed step has begun continues until it is done."""
        with self.lock.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say("waiting for a running step or build in this tree")
                fcntl.flock(lock, fcntl.LOCK_EX)
            self.held = (lock.fileno(),)
            return self._run()

    def _run(self) -> int:
        if self.options.learn:
            self._learn()
            return OLD
        if self.log.failure is None:
            self._learn_from_git()
        self._check_good()
        judgement = self._judge()
        if judgement.verdict is Verdict.CANNOT_TELL:
            return CANNOT_TELL
        return OLD if (judgement.verdict is Verdict.WORKS) is not self.repair else NEW

    def _terms(self) -> tuple[str, str]:
        """Git's terms for new and old (bisect.c: read_bisect_terms). Raises NoAnswerError if the options differ."""
        file = self.git_folder / "BISECT_TERMS"
        new, old = file.read_text().split() if file.exists() else ("bad", "good")
        told = (self.options.term_new, self.options.term_old)
        if self.repair and file.exists() and told != (new, old):
            raise NoAnswerError(
                f"git bisect start was given the terms {old} (old) and {new} (new), not {told[1]} and {told[0]}"
            )
        return new, old

    def _refuse_no_checkout(self) -> None:
        """Without a check-out the tree is the same at every step (bisect.c: BISECT_HEAD). Raises NoAnswerError."""
        if (self.git_folder / "BISECT_HEAD").exists():
            raise NoAnswerError(
                "git bisect start --no-checkout leaves the tree at one commit, so that every step would test that "
                "one: git bisect reset, and start without it"
            )

    def _learn_from_git(self) -> None:
        """Learn from the commit that is marked bad in git bisect, or old and broken, and come back."""
        known = self._marked(self.old if self.repair else self.new)
        if not known:
            raise NoAnswerError("what failure? git bisect start first, or --learn with the commit that fails")
        with self._checked_out(known[0]):
            self._learn()

    def _check_good(self) -> None:
        """Judge the commits that are marked good in git and that no step has judged. Raises NoAnswerError."""
        for commit in self._marked(self.new if self.repair else self.old):
            if build.git(self.tree, "rev-parse", SHORT, commit) in self.log.steps:
                continue
            with self._checked_out(commit):
                self._say("was given as good: is it?")
                judgement = self._judge()
                if judgement.verdict is Verdict.FAILS:
                    raise NoAnswerError(
                        f"{self.commit} was given as good, and fails, too: {judgement.why}: give another one"
                    )
                if judgement.verdict is Verdict.CANNOT_TELL:
                    self._say("taken to be good, as marked in git")

    def _marked(self, term: str) -> list[str]:
        """The commits that git bisect has under one of its terms."""
        references = (f"refs/bisect/{term}", f"refs/bisect/{term}-*")
        return build.git(self.tree, "for-each-ref", "--format=%(objectname)", *references).split()

    @contextlib.contextmanager
    def _checked_out(self, commit: str) -> Iterator[None]:
        """Check out another commit, and come back."""
        here = build.git(self.tree, "rev-parse", "HEAD")
        self._check_out(commit)
        try:
            yield
        finally:
            self._check_out(here)

    def _check_out(self, commit: str) -> None:
        build.git(self.tree, "checkout", "--quiet", "--detach", commit)
        self.commit = self._head()

    def _head(self) -> str:
        return build.git(self.tree, "rev-parse", SHORT, "HEAD")

    def _learn(self) -> None:
        self._say("how does it fail?")
        try:
            self._build()
        except build.BuildError as error:
            raise NoAnswerError(f"{error}, see {self._folder / OUTPUT}") from None
        failure = learn(self._once, self._folder, self._say)
        self.log.learnt(failure)
        again = "" if failure.needed == 1 else f"; a commit works after {failure.needed} passes"
        self._say(f"fails in {failure.failures} of {failure.runs} runs: {failure.why}{again}")

    def _judge(self) -> Judgement:
        """Build and run the checked-out commit; print and record the verdict."""
        assert self.log.failure is not None
        try:
            self._build()
        except build.BuildError as error:
            judgement, runs = Judgement(Verdict.CANNOT_TELL, str(error)), 0
        else:
            judgement, runs = rounds(self._once, self._folder, self.log.failure)
        self.log.add(Step(self.commit, judgement.verdict, judgement.why, runs))
        self._say(f"{judgement.verdict.value}{': ' + judgement.why if judgement.why else ''}")
        return judgement

    @property
    def _folder(self) -> Path:
        """For what this commit prints and its runs."""
        folder = self.log.folder / self.commit
        folder.mkdir(exist_ok=True)
        return folder

    def _build(self) -> None:
        if self.options.build is not None:
            commands = [["sh", "-c", self.options.build]]
        elif self.options.module:
            commands = build.module_build(self.tree, self.options.module)
        else:
            commands = build.whole_build(self.tree)
        self._say("building")
        made = self.options.module or build.booted(self.tree)
        build.remove(self.tree, made)
        build.run(commands, self.tree, self._folder / OUTPUT, keep=self.held)
        build.check(self.tree, made)

    def _once(self, folder: Path) -> Judgement:
        kernel = self.options.guest or str(self.tree)
        modules = [f"--module={self.tree / file}" for file in self.options.module]
        not_yet = NOT_YET if self.repair else ()
        arguments = ["--guest", kernel, *modules, *trial_options(self.options), *not_yet, self.test]
        return call_pytest(arguments, folder, self.options.timeout)

    def _say(self, line: str) -> None:
        print(f"bisect-step {self.commit}: {line}", file=sys.stderr, flush=True)
