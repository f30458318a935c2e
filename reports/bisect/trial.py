# SPDX-License-Identifier: MIT
"""Runs of one test: calls pytest as a user would, and judges its stream."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.answers import NoAnswerError
from common.place import ROOT
from reports.bisect.judge import Judgement, Verdict, against, judge
from reports.bisect.process import running
from reports.bisect.rate import runs_needed
from reports.stream import STREAM, read

OUTPUT = "output.txt"
"""Output of pytest, in the folder of a run."""
FIRST_RUNS = 3
"""Runs on the kernel that is known to fail; if not all of them fail there are MOST_RUNS."""
MOST_RUNS = 20

_DEADLINE_S = 60
"""Deadline of the test. A busy machine is slow, and a test that ends too late looks like one that hangs."""

PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")

Once = Callable[[Path], Judgement]
"""Runs the test, leaves its stream in a folder, and judges it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure to search for, as the kernel that is known to fail shows it."""

    why: str
    """Its message; another kernel fails alike if that is the same except for numbers."""
    failures: int
    runs: int

    @property
    def needed(self) -> int:
        """Passes in a row that a kernel needs to count as good."""
        return runs_needed(self.failures, self.runs)


def the_one(test: str) -> str:
    """The node id of the only test that ``--test`` names. Raises NoAnswerError."""
    done = subprocess.run(
        [*PYTEST, "--collect-only", "-q", test], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = [
        line for line in done.stdout.splitlines() if "::" in line and not line.startswith(("ERROR", " "))
    ]
    if done.returncode or not found:
        raise NoAnswerError(
            f"--test {test}: pytest finds no such test; {last_line(done.stdout + done.stderr)}"
        )
    if len(found) > 1:
        raise NoAnswerError(f"--test names {len(found)} tests: give one of them, such as '{found[0]}'")
    return found[0]


def call_pytest(arguments: Sequence[str], folder: Path, timeout_s: float) -> Judgement:
    """Run pytest with these arguments, which choose one test and one environment, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STREAM).unlink(missing_ok=True)
    # A known failure is a failure, too: the mark is about kernels, which is the question here.
    command = [*PYTEST, "--runxfail", f"--timeout={_DEADLINE_S}", *arguments, f"--results={folder}"]
    with (folder / OUTPUT).open("wb") as output, running(command, ROOT, output) as process:
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return Judgement(Verdict.CANNOT_TELL, f"took longer than {timeout_s:.0f} s")
    run = read(folder) if (folder / STREAM).exists() else None
    if run is None or not run.environments:
        return Judgement(Verdict.CANNOT_TELL, last_line((folder / OUTPUT).read_text(errors="replace")))
    return judge(run)


def last_line(output: str) -> str:
    """The line of pytest's output that says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it printed nothing"])[-1]


def learn(once: Once, folder: Path, say: Callable[[str], None]) -> Failure:
    """Failure of the test on a kernel that is known to be bad, and its rate. Raises NoAnswerError."""
    seen: list[Judgement] = []
    while len(seen) < FIRST_RUNS or (_mixed(seen) and len(seen) < MOST_RUNS):
        judgement = once(folder / f"{len(seen) + 1}")
        say(f"run {len(seen) + 1}: {judgement.verdict.value}{': ' + judgement.why if judgement.why else ''}")
        if judgement.verdict is Verdict.CANNOT_TELL:
            raise NoAnswerError(f"cannot tell whether the test fails: {judgement.why}")
        seen.append(judgement)
    failed = [judgement for judgement in seen if judgement.verdict is Verdict.FAILS]
    if not failed:
        raise NoAnswerError(f"the test did not fail in {len(seen)} runs")
    signatures = [judgement.signature for judgement in failed]
    chosen = max(failed, key=lambda judgement: signatures.count(judgement.signature))
    return Failure(chosen.why, signatures.count(chosen.signature), len(seen))


def _mixed(seen: Sequence[Judgement]) -> bool:
    return len({judgement.signature for judgement in seen}) > 1 or seen[0].verdict is not Verdict.FAILS


def rounds(once: Once, folder: Path, failure: Failure) -> tuple[Judgement, int]:
    """Run the test until it fails, or has passed as often as it has to; the judgement, and the number of runs."""
    for number in range(1, failure.needed + 1):
        judgement = against(once(folder / str(number)), failure.why)
        if judgement.verdict is not Verdict.WORKS:
            return judgement, number
    return Judgement(Verdict.WORKS), failure.needed
