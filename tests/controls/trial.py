# SPDX-License-Identifier: MIT
"""Run conformance tests against a mock that is broken on purpose."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from reports.event import EXPECTED
from tests.controls.inventory import ROOT, Test, environment

Event = dict[str, Any]

PLATFORMS = ("bmg2", "bmg2-far", "lnl", "pvc", "nvl", "bmg-nopagemap", "bmg-nogpusvm")
"""Tried in this order: a test that is not claimed on one runs on the next."""

SECONDS = 2
"""Deadline of a test: a defect may make it wait for an event that never comes."""
_RUN = 900
"""Seconds that a whole run may take."""
_DEATHS = 20
"""Processes that may die in a run: a defect can destroy memory of Python itself."""
_WAITED = ("the test did not end within", "timed out after")


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of a test under a defect."""

    outcome: str
    """Outcome in the results stream: PASS, FAIL, ERROR, NOT-CLAIMED, ..."""
    message: str = ""
    reason: str = ""
    """Code of a skip, as NEEDS:vram."""

    @property
    def noticed(self) -> bool:
        """The test failed, and not because the broken mock crashed or lacks what the test needs, which would show
        nothing.
        """
        fell = self.message.startswith("backend: ") or self.reason.startswith(EXPECTED)
        return self.outcome in ("FAIL", "ERROR") and not fell

    @property
    def elsewhere(self) -> bool:
        """The platform lacks what the test needs, by itself or by the defect: another one may have it."""
        lacks = self.outcome == "NOT-CLAIMED" and self.reason.startswith("NEEDS:")
        return lacks or self.reason.startswith(EXPECTED)

    @property
    def waited(self) -> bool:
        """It only ran out of time."""
        return any(words in self.message for words in _WAITED)


def run(defect: str | None, tests: Collection[Test]) -> dict[str, Result]:
    """Run tests under a defect, each on the first platform that has what it needs. Ids to results.

    Raises RuntimeError with the output of pytest if a run could not be completed.
    """
    results: dict[str, Result] = {}
    left = list(tests)
    for platform in PLATFORMS:
        if left:
            results |= _run(defect, left, platform)
        left = [test for test in left if results[test.id].elsewhere]
    return results


def _run(defect: str | None, tests: Sequence[Test], platform: str) -> dict[str, Result]:
    results: dict[str, Result] = {}
    for _ in range(_DEATHS):
        left = [test for test in tests if test.id not in results]
        if not left:
            return results
        stream, said = _pytest(defect, left, platform)
        results |= {
            e["test"]: _result(e) for e in stream if e["event"] == "result" and e["outcome"] != "NOTRUN"
        }
        if stream and stream[-1]["event"] == "start":
            results[stream[-1]["test"]] = Result("ERROR", "the process died in it")
        elif any(test.id not in results for test in left):
            break
    missing = next(test.id for test in tests if test.id not in results)
    raise RuntimeError(f"on {platform} the run ended before {missing}:\n{said}")


def _pytest(defect: str | None, tests: Sequence[Test], platform: str) -> tuple[list[Event], str]:
    """One run: its results stream, and the end of its output."""
    with tempfile.TemporaryDirectory() as directory:
        selection = Path(directory, "tests")
        selection.write_text("".join(f"{test.id}\n" for test in tests))
        command = [
            *(
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:allure_pytest",
                "--tb=line",
            ),
            *(f"--platform={platform}", f"--timeout={SECONDS}", f"--results={directory}", f"@{selection}"),
            *([f"--mock-defect={defect}"] if defect else []),
        ]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_RUN,
        )
        path = Path(directory, "results.jsonl")
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines], "\n".join(done.stdout.strip().splitlines()[-15:])


def _result(event: Event) -> Result:
    reason = event["reason"]["code"] if event["reason"] else ""
    return Result(event["outcome"], event["message"] or "", reason)
