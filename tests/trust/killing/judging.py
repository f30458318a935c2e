# SPDX-License-Identifier: MIT
"""A run that was killed and resumed must equal the run that was left alone."""

from __future__ import annotations

import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from reports.event import Outcome, Result
from reports.stream import Flaw, Run, read
from tests.trust.killing import processes
from tests.trust.killing.runs import Pace, Runs

END = 120.0
"""Seconds in which processes that a killed one has left behind must end."""
GUESTS = Path("reports/out/guest")
BLAMED = (
    "the process that ran it died",
    "backend: the backend has died",
    "the run ended in it twice: it is not run again",
    "QEMU was killed by signal 9",
    "the emulated GPU ended with status -9, see emulator.log",
    "the guest hung and was ended",
)
"""Messages about a test that lost its process, or in which a run ended twice."""
NOTHING_LEFT = "the run is finished: there is nothing left to do"
GOES_ON = "continue this run: "
NOTHING_RAN = "no test ran in it: start a new one"


@dataclass
class Judge:
    """The run without a kill, to compare with."""

    runs: Runs
    pace: Pace
    outcomes: dict[tuple[str, str], Outcome]
    files: set[str]
    mounts: list[str]
    sockets: set[Path]
    own_shared: bool
    """Whether no other program uses /dev/shm."""
    said: str = field(default="", init=False)
    """Summary of the last run."""

    @classmethod
    def of(cls, runs: Runs) -> Judge:
        """Run it. Raises runs.Late."""
        own_shared = processes.unshare()
        mounts, sockets = _mounts(), _sockets()
        pace = runs.pace()
        run = read(runs.stream)
        if runs.status or not run.results:
            raise SystemExit(f"the run that nothing is killed in ended with {runs.status}: see {runs.log}")
        judge = cls(runs, pace, _outcomes(run), _names(runs.folder), mounts, sockets, own_shared)
        if faults := judge.whole(0) + judge.left():
            raise SystemExit("\n".join(("nothing was killed, and yet", *faults)))
        runs.forget()
        return judge

    def ended(self, status: int, killed: processes.Process | None) -> list[str]:
        """Problems with how a run ended."""
        if killed is not None and status == -signal.SIGKILL:
            return []
        said = self.runs.log.read_text(errors="replace").rpartition("\n$ ")[2]
        if status == 4 and NOTHING_LEFT in said:
            return []  # the stream says whether that is true
        if status == 4 and (NOTHING_RAN in said or not self._results()):
            if self._results():
                return [f"it says {NOTHING_RAN!r}, and there are results"]
            self.runs.begin_again()
            return [] if killed is not None else self.ended(*self._again())
        if status == 4 and killed is not None and GOES_ON in said:
            return []  # the killed process was about to start
        if status not in (0, 1, 2):
            return [f"pytest ended with {status}: {said.strip().splitlines()[-1]}"]
        return ["the output has a traceback of pytest's"] if "INTERNALERROR" in said else []

    def _again(self) -> tuple[int, None]:
        self.runs.run()
        return self.runs.status, None

    def _results(self) -> tuple[Result, ...]:
        try:
            return read(self.runs.stream).results
        except OSError:
            return ()

    def whole(self, kills: int) -> list[str]:
        """Problems of the resumed run, after ``kills`` processes were killed."""
        try:
            run = read(self.runs.stream)
        except OSError as error:
            return [f"no stream: {error.strerror}"]
        faults = [str(problem) for problem in run.problems if problem.flaw is not Flaw.NOTE]
        counts = Counter((result.env, result.test) for result in run.results)
        faults += [f"{count} results of {env} {test}" for (env, test), count in counts.items() if count > 1]
        faults += [f"no result of {env} {test}" for env, test in self.outcomes.keys() - counts.keys()]
        faults += [f"a result of {env} {test}" for env, test in counts.keys() - self.outcomes.keys()]
        others = [r for r in run.results if r.outcome is not self.outcomes.get((r.env, r.test))]
        blamed = [r for r in others if r.outcome is Outcome.ERROR and r.message.startswith(BLAMED)]
        faults += [f"{r.outcome.value}: {r.env} {r.test}: {r.message}" for r in others if r not in blamed]
        if len(blamed) > kills:
            faults += [f"{kills} killed, and blamed is {r.env} {r.test}: {r.message}" for r in blamed]
        if run.exit != bool(others):
            faults.append(f"the run ended with {run.exit}")
        faults += self._reports(run)
        self.said = f"{len(run.results)} results, {len(blamed)} blamed, resumed {len(run.resumed)} times"
        return faults

    def _reports(self, run: Run) -> list[str]:
        """Problems of the reports of the stream, and of the files next to it."""
        folder, faults = self.runs.folder, []
        names = _names(folder) - {"earlier"}
        faults += [f"left in the run's folder: {name}" for name in names - self.files]
        faults += [f"not in the run's folder: {name}" for name in self.files - names]
        if not faults:
            cases = len(list(ElementTree.parse(folder / "junit.xml").iter("testcase")))
            allure = len(list((folder / "allure-results").glob("*-result.json")))
            for name, count in (("junit.xml", cases), ("allure-results", allure)):
                if count != len(run.results):
                    faults.append(f"{name} has {count} tests, the stream {len(run.results)}")
        return faults

    def left(self) -> list[str]:
        """Remains of a run's processes: themselves, mounts, files."""
        deadline = time.monotonic() + END
        while (still := _alive()) and time.monotonic() < deadline:
            time.sleep(0.02)
        faults = [f"a process is left: {process}" for process in still]
        for process in still:
            processes.kill(process)
        faults += [f"a mount is left: {line}" for line in _mounts() if line not in self.mounts]
        faults += [f"a socket is left: {path}" for path in _sockets() - self.sockets]
        # pytest itself keeps the directories of the last runs.
        files = [path for path in self.runs.temporary.iterdir() if not path.name.startswith("pytest-of-")]
        files += processes.SHARED.iterdir() if self.own_shared else []
        return faults + [f"a file is left: {path}" for path in files]


def _alive() -> list[processes.Process]:
    processes.reap(-1)
    return processes.descendants()


def _outcomes(run: Run) -> dict[tuple[str, str], Outcome]:
    return {(result.env, result.test): result.outcome for result in run.results}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _mounts() -> list[str]:
    """Mounts of this namespace. A namespace that a process leaves behind is mounted somewhere, or has a process."""
    return Path("/proc/self/mountinfo").read_text().splitlines()


def _sockets() -> set[Path]:
    """Leftovers of guests of this checkout that are not in use; others may be running in the meantime."""
    return {
        path
        for path in GUESTS.glob("*/*/*.sock")
        if not Path("/proc", (path.parent / "owner").read_text()).exists()
    }
