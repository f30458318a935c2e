# SPDX-License-Identifier: MIT
"""Runs on a kernel with gcov: its build, the counts, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from common.answers import NoAnswerError
from guest import builds
from guest.builds import NOTES
from reports.coverage.measure import Notes, Totals, notes_in
from reports.coverage.store import Stored
from reports.event import Outcome
from reports.stream import Run

SVM = (
    *("drm_gpusvm", "drm_pagemap", "drm_pagemap_util", "xe_svm", "xe_userptr", "xe_vm", "xe_vm_madvise"),
    *("xe_pagefault", "xe_pt", "xe_tlb_inval", "xe_migrate"),
    *("xe_bo", "xe_device", "xe_exec", "xe_exec_queue", "xe_query", "xe_sync", "xe_wait_user_fence"),
)
"""Files that are about SVM, and those of the ioctls."""
FEW = 5
"""Maximum number of tests to name."""


class Counted:
    """The counts of runs."""

    def __init__(self, runs: Sequence[Run], *, every_file: bool = False) -> None:
        """Raises NoAnswerError if there are no counts, or if they are of several builds."""
        self._every_file = every_file
        self._stored: list[tuple[Stored, str, Run]] = []
        kernels: dict[tuple[str, ...], str] = {}
        for run in runs:
            stored = Stored(run.path.parent)
            for env, options in stored.environments().items() if stored.exists() else ():
                if stored.counted(env):
                    self._stored.append((stored, env, run))
                    kernels.setdefault(_build(options), env)
        if not self._stored:
            places = ", ".join(str(run.path.parent) for run in runs)
            raise NoAnswerError(
                f"{places}: no counts: it takes a run with --guest NAME of a kernel that counts "
                "(svmcts kernel build --profile gcov)"
            )
        if len(kernels) > 1:
            raise NoAnswerError(
                f"{' and '.join(kernels.values())} are of different builds: name runs of one kernel"
            )
        ((name, *modules),) = kernels
        self.notes = _notes(name, modules)
        self.about = f"{name}, {', '.join(dict.fromkeys(run.title for _, _, run in self._stored))}"

    def select(self, tests: Sequence[str] = (), objects: Sequence[str] = ()) -> Totals:
        """The counts of tests, or of all and of code executed outside of them; of some objects, if they are named."""
        totals = Totals(self.notes, lambda name: name in objects if objects else self._is_wanted(name))
        for stored, env, _ in self._stored:
            if tests and not any(_is_in(test, tests) for test in stored.tests(env)):
                raise NoAnswerError(f"{env}: no counts of {' '.join(tests)}: svmcts runs has what ran")
            totals.add(stored, env, lambda test: not tests or _is_in(test, tests))
        return totals

    def names(self) -> dict[str, set[str]]:
        """Function, ``file:name``, to the tests that executed it."""
        totals = Totals(self.notes, self._is_wanted)
        found: dict[str, set[str]] = {}
        for stored, env, _ in self._stored:
            for test, names in totals.functions(stored, env):
                for name in names:
                    found.setdefault(name, set()).add(test)
        return found

    def head(self, tests: Sequence[str]) -> list[str]:
        """Kernel and runs of the figures, and tests whose counts are lost."""
        lines = [f"kernel {self.about}" + (f", only {' '.join(tests)}" if tests else "")]
        for stored, env, run in self._stored:
            counted = set(stored.tests(env))
            ran = [r.test for r in run.results if r.env == env and r.outcome is not Outcome.NOTRUN]
            if lost := [test for test in ran if test not in counted]:
                named = ", ".join(lost[:FEW]) + (f" and {len(lost) - FEW} more" if len(lost) > FEW else "")
                number = f"{len(lost)} test{'s' * (len(lost) != 1)}"
                lines.append(f"{env}: no counts of {number}, in which the guest was lost: {named}")
        return [*lines, ""]

    def _is_wanted(self, name: str) -> bool:
        return self._every_file or Path(name).name in SVM


def _is_in(test: str, names: Iterable[str]) -> bool:
    """Whether a test is one of these, or in one of these files or folders."""
    return any(
        test == name or test.startswith((f"{name.rstrip('/')}/", f"{name}::", f"{name}[")) for name in names
    )


def _build(options: Sequence[str]) -> tuple[str, ...]:
    """The kernel and the modules that options of pytest select."""
    pairs = list(pairwise(options))
    (kernel,) = (value for option, value in pairs if option == "--guest")
    return kernel, *(value for option, value in pairs if option == "--module")


def _notes(kernel: str, modules: Sequence[str]) -> Notes:
    built = builds.find(kernel)
    if built is None:
        raise NoAnswerError(f"{kernel} is no longer here: svmcts kernel build makes it again")
    found = notes_in(built.directory / NOTES, *(Path(module).parent / NOTES for module in modules))
    if not found:
        raise NoAnswerError(f"{kernel} was not built with --profile gcov")
    return found


def source_of(name: str, notes: Notes) -> list[str]:
    """The lines of a source file, as it was built."""
    file = notes[name.removesuffix(".c")].with_suffix(".c")
    return file.read_text(errors="replace").splitlines() if file.exists() else []
