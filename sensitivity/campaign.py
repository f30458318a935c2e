# SPDX-License-Identifier: MIT
"""A campaign: each fault is built, put into a guest, and tested until a test notices.

Then the noticing test is run on the driver without a fault, which has to pass it.
"""

from __future__ import annotations

import json
import queue
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sensitivity.build import BuildError
from sensitivity.catalogue import Fault
from sensitivity.generate import heaps
from sensitivity.source import Edit, EditError

FOUND, MISSED, NOT_BUILT, NO_ANSWER = "found", "missed", "not-built", "no-answer"
PASSED = ("passed", "known")
"""Outcomes of a test that the driver passes."""
DIE = 1 << 7
"""TAINT_DIE (include/linux/panic.h): the kernel had an oops."""
IN_TIME = re.compile(r"within [\d.]+ s\b|timed? ?out|ETIME", re.IGNORECASE)
"""Message of a test that timed out: a busy machine may be the reason."""
SILENCE_S = 240.0
"""Seconds after which a guest counts as hung: longer than any test takes without KVM."""
MODULES = ("drm_gpusvm_helper", "xe")
"""Modules with faults, in the order of loading."""
Answer = dict[str, Any]


class LostError(Exception):
    """The guest ended, or stopped responding; the message says which."""


class Inside(Protocol):
    """A guest that executes orders (sensitivity.inside)."""

    def order(self, order: Mapping[str, object]) -> Iterator[Answer]:
        """The answers to an order, up to the one that ends it. Raises LostError."""
        ...

    def close(self) -> None:
        """End the guest."""
        ...


class Build(Protocol):
    """Builds modules (sensitivity.build.Builder)."""

    def edited(self, edits: Iterable[Edit]) -> dict[str, str]:
        """The files that edits change. Raises EditError."""
        ...

    def build(self, files: Mapping[str, str], out: Path) -> dict[str, Path]:
        """Name to file of each module that has one of the files. Raises BuildError."""
        ...


@dataclass
class Result:
    """Result of a fault."""

    fault: str
    verdict: str
    by: str = ""
    """The test that noticed."""
    how: str = ""
    """The message of that test, or the reason for the verdict."""
    after: int = 0
    """Tests that ran, up to that one."""
    passed: int = 0
    seconds: float = 0.0


@dataclass
class Store:
    """Results in a file, one JSON line each: those of one suite, one kernel, one mode of the device."""

    path: Path
    results: dict[str, Result] = field(default_factory=dict)
    control: dict[str, str] = field(default_factory=dict)
    """Outcome of each test without a fault."""

    @classmethod
    def open(cls, path: Path) -> Store:
        """Contents of the file, without a last line that was cut off."""
        store = cls(path)
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        for line in lines:
            entry = json.loads(line)
            if "control" in entry:
                store.control[entry["control"]] = entry["outcome"]
            else:
                result = Result(**entry)
                store.results[result.fault] = result
        return store

    def add(self, result: Result) -> None:
        """Keep a result."""
        self.results[result.fault] = result
        self._write(asdict(result))

    def add_control(self, test: str, outcome: str) -> None:
        """Keep the outcome of a test on the driver without a fault."""
        self.control[test] = outcome
        self._write({"control": test, "outcome": outcome})

    def _write(self, entry: dict[str, object]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def verdict(self, fault: str) -> str | None:
        """Verdict on a fault; no answer if its test fails without the fault as well."""
        if (result := self.results.get(fault)) is None:
            return None
        if result.verdict == FOUND and result.by and self.control.get(result.by) not in PASSED:
            return NO_ANSWER
        return result.verdict


@dataclass(frozen=True)
class Plan:
    """How tests are chosen and run."""

    environment: Mapping[str, object]
    first: int
    """Tests of each fault, at most."""
    seed: int
    files: Callable[[Mapping[str, int]], Sequence[str]]
    """Test files of ranked behaviours."""


class Campaign:
    """Runs faults, one after another, in as few guests as it takes."""

    def __init__(
        self,
        plan: Plan,
        builder: Build,
        start: Callable[[], Inside],
        store: Store,
        stock: Mapping[str, Path],
        work: Path,
    ) -> None:
        """``stock`` is the modules of MODULES without a fault, built as those with one; ``start`` makes a guest."""
        self._plan = plan
        self._builder = builder
        self._start = start
        self._store = store
        self._stock = stock
        self._work = work
        self._guest: Inside | None = None
        self._built = 0

    def run(
        self, faults: Sequence[tuple[Fault, Mapping[str, int]]], say: Callable[[str], None], until: float
    ) -> None:
        """Each fault with its ranked behaviours, until the given time (of time.monotonic); then the control."""
        began = time.monotonic()
        try:
            with ThreadPoolExecutor(1) as ahead:
                builds = (ahead.submit(self._build, fault) for fault, _ in faults)
                coming = next(builds, None)
                for number, (fault, ranks) in enumerate(faults, 1):
                    if time.monotonic() > until:
                        say(f"out of time: {len(faults) - number + 1} faults are left")
                        break
                    assert coming is not None
                    built, coming = coming.result(), next(builds, None)
                    result = self.judge(fault, built, ranks)
                    self._store.add(result)
                    self._keep_if_sound(result)
                    left = (time.monotonic() - began) / number * (len(faults) - number)
                    what = f"{result.by} (test {result.after})" if result.by else result.how
                    say(
                        f"{number}/{len(faults)} {result.verdict:9} {fault.id}: {what}; {left / 60:.0f} min left"
                    )
            self.check(say)
        finally:
            self._end()

    def _build(self, fault: Fault) -> Mapping[str, Path] | str:
        """The modules of a fault, built while the tests of the one before it run; or why there are none."""
        self._built += 1
        out = self._work / str(self._built)  # a new name each: the guest may cache what it has read
        out.mkdir(parents=True)
        try:
            return self._builder.build(self._builder.edited(fault.edits), out)
        except (BuildError, EditError) as error:
            return str(error)

    def judge(self, fault: Fault, built: Mapping[str, Path] | str, ranks: Mapping[str, int]) -> Result:
        """Run the tests of a fault on its modules."""
        began = time.monotonic()
        if isinstance(built, str):
            return Result(fault.id, NOT_BUILT, how=built)
        result = self._answer(fault.id, {**self._stock, **built}, ranks)
        result.seconds = round(time.monotonic() - began, 1)
        return result

    def _keep_if_sound(self, result: Result) -> None:
        """Keep the guest of a fault that was found if the driver without a fault passes the test in it.

        That is the control, too. If it fails, the fault has damaged the guest or the test is wrong: a new guest tells.
        """
        if result.verdict != FOUND or self._guest is None:
            return
        order = {**self._order(self._stock, {}, [result.by.partition("::")[0]]), "only": [result.by]}
        sound = False
        if result.by:
            try:
                for answer in self._guest.order({**order, "first": 1}):
                    if answer.get("outcome") in PASSED:
                        self._store.add_control(result.by, answer["outcome"])
                        sound = True
                    if int(answer.get("tainted", 0)) & DIE:
                        sound = False
            except LostError:
                sound = False
        if not sound:
            self._end()

    def check(self, say: Callable[[str], None]) -> None:
        """Run the tests that noticed a fault on the driver without one. A lost guest costs one of them."""
        noticed = {result.by for result in self._store.results.values() if result.by}
        new = sorted(noticed - {test for test, outcome in self._store.control.items() if outcome != "lost"})
        if not new:
            return
        say(f"control: {len(new)} tests on the driver without a fault")
        while new:
            self._end()
            new = self._control(new, say)

    def _control(self, tests: list[str], say: Callable[[str], None]) -> list[str]:
        """Run tests on the driver without a fault. Returns those that it did not come to, as one lost the guest."""
        running, left = "", set(tests)
        try:
            files = sorted({test.partition("::")[0] for test in tests})
            order = {**self._order(self._stock, {}, files), "only": tests, "stop": False, "first": len(tests)}
            for answer in self._inside().order(order):
                running = answer.get("begins", running)
                if "test" in answer:
                    self._store.add_control(answer["test"], answer["outcome"])
                    left.remove(answer["test"])
        except LostError as lost:
            say(f"control: {running or 'no test'}: {lost}")
            if running in left:
                self._store.add_control(running, "lost")
                return sorted(left - {running})
        return []

    def _answer(self, name: str, modules: Mapping[str, Path], ranks: Mapping[str, int]) -> Result:
        """Run a fault's tests; failures that may have another reason than the fault are repeated."""
        order = self._order(modules, ranks, self._plan.files(ranks))
        fresh = self._guest is None
        result = self._test(name, order)
        if result.verdict == NO_ANSWER and not fresh:  # for instance, a driver before it is still in use
            self._end()
            result = self._test(name, order)
        if result.verdict == FOUND and result.by and IN_TIME.search(result.how):
            again = self._test(name, {**order, "only": [result.by], "first": 1})
            if again.verdict == NO_ANSWER:  # the driver may still be in use by what timed out
                self._end()
                again = self._test(name, {**order, "only": [result.by], "first": 1})
            if again.verdict != FOUND:
                result.verdict, result.how = NO_ANSWER, f"not seen again: {result.by}: {result.how}"
                result.by = ""
        elif result.verdict == FOUND and not result.by and not self._starts(order):
            result.verdict, result.how = NO_ANSWER, f"neither does the driver without a fault: {result.how}"
        return result

    def _starts(self, order: Mapping[str, object]) -> bool:
        """Whether a new guest, of the same machine in the same minute, loads the driver without a fault."""
        self._end()
        stock = {name: str(self._stock[name]) for name in MODULES}
        try:
            answers = list(self._inside().order({**order, "modules": stock, "first": 0}))
        except LostError:
            return False
        finally:
            self._end()
        return bool(answers[-1]["end"] == "tests")

    def _test(self, name: str, order: Mapping[str, object]) -> Result:
        result = Result(name, MISSED)
        running, step = "", ""
        try:
            for answer in self._inside().order(order):
                step = answer.get("step", step)
                running = answer.get("begins", running)
                if "test" in answer:
                    result.after += 1
                    result.passed += answer["outcome"] in PASSED
                    if answer["outcome"] == "failed":
                        result.verdict, result.by, result.how = FOUND, answer["test"], answer["why"]
                    running = ""
                if "end" in answer:
                    self._ended(answer, running, result)
        except LostError as lost:
            self._end()
            result.verdict, result.by = FOUND, running
            result.after += bool(running)
            result.how = str(lost) if running or not step else f"{lost}, as its modules were loaded"
        return result

    def _ended(self, answer: Answer, running: str, result: Result) -> None:
        if answer["end"] == "remove":
            result.verdict, result.how = NO_ANSWER, f"the driver before it stays: {answer['why']}"
            self._end()
        elif answer["end"] == "load":
            result.verdict, result.how = FOUND, f"the module does not load: {answer['why']}"
        elif result.verdict == MISSED and running:
            result.verdict, result.by, result.how = (
                FOUND,
                running,
                f"the test's process died ({answer['code']})",
            )
            result.after += 1
        elif result.verdict == MISSED and not result.passed:
            result.verdict, result.how = (
                NO_ANSWER,
                f"no test passed, of {result.after}; pytest ended with {answer['code']}",
            )
        elif result.verdict == MISSED:
            result.how = f"{result.passed} of {result.after} tests passed, the others do not apply"
        if int(answer["tainted"]) & DIE:  # what it has damaged stays in the kernel
            self._end()

    def _order(
        self, modules: Mapping[str, Path], ranks: Mapping[str, int], files: Sequence[str]
    ) -> dict[str, Any]:
        return {
            "modules": {name: str(modules[name]) for name in MODULES},
            "ranks": dict(ranks),
            "files": list(files),
            "first": self._plan.first,
            "stop": True,
            "seed": self._plan.seed,
            "environment": self._plan.environment,
        }

    def _inside(self) -> Inside:
        if self._guest is None:
            self._guest = self._start()
        return self._guest

    def _end(self) -> None:
        if self._guest is not None:
            self._guest.close()
            self._guest = None


class GuestInside:
    """sensitivity.inside in a guest of ``svmcts guest``."""

    def __init__(self, options: Sequence[str], root: Path, log: Path, silence_s: float = SILENCE_S) -> None:
        program = [sys.executable, str(root / "svmcts"), "guest", *options, "--"]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [*program, sys.executable, "-m", "sensitivity.inside"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=root,
            )
        self._silence_s = silence_s
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def order(self, order: Mapping[str, object]) -> Iterator[Answer]:
        """The answers to an order, up to the one that ends it. Raises LostError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise LostError(f"the guest was lost: {error.strerror}") from None
        while True:
            try:
                line = self._lines.get(timeout=self._silence_s)
            except queue.Empty:
                raise LostError(f"the guest hung: it said nothing for {self._silence_s:.0f} s") from None
            if not line:
                raise LostError(f"the guest was lost: status {self._process.wait()}")
            answer: Answer = json.loads(line)
            yield answer
            if "end" in answer:
                return

    def close(self) -> None:
        """End the guest; the program ends what it has started."""
        self._process.terminate()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout):
            if file is not None:
                file.close()


def sampled(faults: Sequence[Fault], count: int, seed: int) -> list[Fault]:
    """``count`` of the faults, evenly over files and kinds; the same seed draws the same."""
    drawn = random.Random(seed)
    order = heaps(faults, lambda fault: (fault.edits[0].file, fault.kind), drawn)
    drawn.shuffle(order)
    chosen: list[Fault] = []
    while len(chosen) < count and any(order):
        chosen += [heap.pop() for heap in order if heap]
    return chosen[:count]
