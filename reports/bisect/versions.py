# SPDX-License-Identifier: MIT
"""``svmcts bisect``: which of Debian's kernels broke a behaviour, or made it work."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from common.answers import NoAnswerError
from common.kernels import Version
from common.near import near_or_all
from common.place import ROOT, written
from reports.bisect import search
from reports.bisect.judge import Judgement, Verdict
from reports.bisect.log import Log, Step, slug
from reports.bisect.options import NOT_YET, add_trial_options, trial_options
from reports.bisect.process import interruptible
from reports.bisect.report import Terms, report
from reports.bisect.trial import Failure, call_pytest, learn, rounds, the_one

DESCRIPTION = """\
Searches Debian's kernels for the one that broke a test, if the good kernel is the older one, or that fixed it; each
step boots one in a guest. The bad kernel shows which failure to search for, and how often it occurs: a kernel that
fails differently is skipped, and one is good only after as many passes in a row as that failure rate requires. If
stopped, the same command continues where it was.
"""
REPORT = "report.md"


def main(arguments: list[str]) -> int:
    """Exit status: 0 found, 1 found except for kernels that cannot tell, 2 no answer."""
    parser = argparse.ArgumentParser(
        "svmcts bisect",
        description=DESCRIPTION,
        epilog="exit status: 0 found, 1 found except for kernels that cannot tell, 2 no answer",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--good", required=True, metavar="KERNEL", help="a version on which the test passes")
    parser.add_argument("--bad", required=True, metavar="KERNEL", help="a version on which it fails")
    parser.add_argument(
        "--term-old", metavar="WORD", help="word for the older kernels (default: good or bad)"
    )
    parser.add_argument("--term-new", metavar="WORD", help="word for the newer kernels")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where log, report and runs are kept (default: below reports/out/bisect)",
    )
    add_trial_options(parser)
    options = parser.parse_args(arguments)
    interruptible()
    try:
        return _Search(options).run()
    except (NoAnswerError, search.ContradictionError) as error:
        print(f"svmcts bisect: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("svmcts bisect: interrupted; the same command continues from here", file=sys.stderr)
        return 130


def kernels() -> list[str]:
    """Available versions, oldest first. Raises NoAnswerError."""
    done = subprocess.run(
        [sys.executable, ROOT / "svmcts", "guest", "kernels"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NoAnswerError(f"no list of kernels: {done.stderr.strip()}")
    versions = [line.split()[0] for line in done.stdout.splitlines() if re.match(r"\d+\.\d+", line)]
    return sorted(versions, key=Version.parse)


def chosen(known: Sequence[str], wanted: str) -> str:
    """The newest kernel of a version such as 7.3 or 7.3.4. Raises NoAnswerError."""
    fitting = [version for version in known if version == wanted or version.startswith(wanted + ".")]
    if not fitting:
        raise NoAnswerError(f"no kernel {wanted}{near_or_all(wanted, known)}")
    return fitting[-1]


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


class _Search:
    def __init__(self, options: argparse.Namespace) -> None:
        known = kernels()
        self.good, self.bad = chosen(known, options.good), chosen(known, options.bad)
        if self.good == self.bad:
            raise NoAnswerError(f"--good and --bad are both {self.good}")
        self.options = options
        self.repair = Version.parse(self.bad) < Version.parse(self.good)
        old, new = (self.bad, self.good) if self.repair else (self.good, self.bad)
        first, last = Version.parse(old), Version.parse(new)
        self.kernels = [version for version in known if first <= Version.parse(version) <= last]
        old_term, new_term = ("bad", "good") if self.repair else ("good", "bad")
        old_term, new_term = options.term_old or old_term, options.term_new or new_term
        self.terms = Terms(old_term, new_term, Verdict.FAILS if self.repair else Verdict.WORKS)
        self.test = the_one(options.test)
        folder = options.output or written() / "reports/out/bisect" / slug(f"{self.test}-{old}-{new}")
        question = {"test": self.test, "good": self.good, "bad": self.bad, "options": trial_options(options)}
        self.log = Log(folder.absolute(), question)
        if self.log.steps or self.log.failure:
            self._say(f"continuing the search in {self.log.folder}")

    def run(self) -> int:
        failure = self.log.failure or self._learn()
        self._step(self.good, failure)
        if self.log.steps[self.good].verdict is not Verdict.WORKS:
            raise NoAnswerError(f"{self.good} was given as good: {self.log.steps[self.good].why}")
        while True:
            seen = {name: step.verdict for name, step in self.log.steps.items()}
            found = search.span(self.kernels, seen, self.terms.old)
            kernel = search.following(found, seen)
            if kernel is None:
                break
            left, steps = len(found.between), search.steps_left(found, seen)
            self._say(f"{_number(left, 'kernel')} left, about {_number(steps, 'step')}")
            self._step(kernel, failure)
        text = report(self.log, self.kernels, found, self.terms, failure)
        (self.log.folder / REPORT).write_text(text, encoding="utf-8")
        print(text, end="")
        self._say(f"log, report and runs are in {self.log.folder}")
        return 0 if found.exact else 1

    def _learn(self) -> Failure:
        self._say(f"{self.bad}: how does it fail?")
        try:
            failure = learn(
                lambda folder: self._once(self.bad, folder),
                self.log.folder / self.bad,
                lambda line: self._say(f"{self.bad}: {line}"),
            )
        except NoAnswerError as error:
            raise NoAnswerError(f"{self.bad} was given as bad: {error}") from None
        self.log.learnt(failure)
        self.log.add(Step(self.bad, Verdict.FAILS, failure.why, failure.runs))
        if failure.needed > 1:
            self._say(
                f"it fails in {failure.failures} of {failure.runs} runs: a kernel is good after {failure.needed} passes"
            )
        return failure

    def _step(self, kernel: str, failure: Failure) -> None:
        if kernel in self.log.steps:
            return
        judgement, runs = rounds(lambda folder: self._once(kernel, folder), self.log.folder / kernel, failure)
        self.log.add(Step(kernel, judgement.verdict, judgement.why, runs))
        times = "" if runs == 1 else f" ({runs} runs)"
        self._say(
            f"{kernel}: {self.terms.of(judgement.verdict)}{times}{': ' + judgement.why if judgement.why else ''}"
        )

    def _once(self, kernel: str, folder: Path) -> Judgement:
        not_yet = NOT_YET if self.repair else ()
        arguments = ["--guest", kernel, *trial_options(self.options), *not_yet, self.test]
        return call_pytest(arguments, folder, self.options.timeout)

    def _say(self, line: str) -> None:
        print(f"bisect: {line}", file=sys.stderr, flush=True)
