# SPDX-License-Identifier: MIT
"""Tests that fail on the real driver with a seeded fault, in a guest, and programs on drivers with and without one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from common.answers import NoAnswerError
from common.place import ROOT
from guest.machine import Machine
from reports.stream import Run, read
from reproduce.trial import SECONDS, Guest, Runner
from sensitivity import catalogue
from sensitivity.build import Builder
from sensitivity.campaign import MODULES, GuestInside, LostError
from sensitivity.cli import environment_of, kernel_of, stock_of

FAULTS: dict[str, tuple[str, ...]] = {
    "flush-first-page": ("suites/invalidate/test_intervals.py", "suites/notifier/test_events.py"),
    "xe_pagefault.c:xe_pagefault_service:negate:6": (
        "suites/atomic/test_default.py",
        "suites/cpu_fault/test_return.py",
        "suites/evict/test_svm.py",
        "suites/fault/test_access.py",
        "suites/gc/test_collection.py",
        "suites/migrate_to_vram/test_memory.py",
        "suites/notifier/test_size.py",
        "suites/observability/test_statistics.py",
        "suites/range/test_size.py",
        "suites/vm/test_faults.py",
    ),
    "xe_userptr.c:xe_vm_userptr_pin:negate:1": ("suites/userptr/test_userptr.py",),
    "xe_vm.c:vm_bind_ioctl_check_args:errno:9": (
        "suites/bind/test_arguments.py",
        "suites/negative/test_bind.py",
    ),
    "xe_vm_madvise.c:madvise_pat_index:constant:2": ("suites/madvise/test_pat.py",),
    "xe_vm_madvise.c:xe_vm_madvise_ioctl:errno:4": ("suites/negative/test_madvise.py",),
    "xe_wait_user_fence.c:do_compare:constant:3": ("suites/sync/test_wait.py",),
    "xe_exec.c:xe_exec_ioctl:clause:5": ("suites/exec/test_submit.py",),
}
"""Seeded faults, each with files of tests of which one notices it."""


def name_of(fault: str) -> str:
    """A fault as the name of a folder."""
    return fault.replace(":", "-")


def modules(work: Path, kernel: str | None) -> dict[str, dict[str, Path]]:
    """Fault to modules by name, built if they are not there; the key of those without a fault is empty."""
    builder = Builder(Path(kernel_of(kernel).out))
    known = {fault.id: fault for fault in catalogue.load()}
    built: dict[str, dict[str, Path]] = {}
    for fault in ("", *FAULTS):
        out = work / (name_of(fault) or "stock")
        if not (out / "done").exists():
            shutil.rmtree(out, ignore_errors=True)
            out.parent.mkdir(parents=True, exist_ok=True)
            if fault:
                out.mkdir()
                builder.build(builder.edited(known[fault].edits), out)
            else:
                stock_of(builder, out)
            (out / "done").touch()
        built[fault] = {name: out / f"{name}.ko" for name in MODULES if (out / f"{name}.ko").exists()}
    return {fault: {**built[""], **files} for fault, files in built.items()}


def _streams(work: Path, fault: str, file: str) -> Path:
    return work / "runs" / f"{name_of(fault)}-{name_of(file.replace('/', '-'))}"


def failures(work: Path, kernel: str | None) -> Iterator[tuple[str, str, Run | None]]:
    """Each fault with a file of tests and its run, which ended with the first failure; None if the guest was lost.

    A run that is in ``work`` already is read, not made again.
    """
    name = kernel_of(kernel).name
    where, built = environment_of(name, Machine()), modules(work, kernel)
    guests = _Guests(["--kernel", name, "--scratch", str(work / "runs")], work / "guest.log")
    try:
        for fault, files in FAULTS.items():
            for file in files:
                folder = _streams(work, fault, file)
                folder.mkdir(parents=True, exist_ok=True)
                order = {
                    **{"modules": {one: str(path) for one, path in built[fault].items()}, "ranks": {}},
                    **{"files": [file], "first": 10**6, "stop": True, "seed": 7},
                    **{"environment": where, "results": str(folder)},
                }
                there = (folder / "results.jsonl").exists()
                yield fault, file, read(folder) if there or guests.done(order) else None
    finally:
        guests.end()


class _Guests:
    """Guests for orders, one after the other: a driver that stays in use takes a new one."""

    def __init__(self, options: Sequence[str], log: Path) -> None:
        self._options = options
        self._log = log
        self._guest: GuestInside | None = None

    def done(self, order: Mapping[str, object]) -> bool:
        """Run an order; whether its tests ran to their end."""
        fresh = self._guest is None
        self._guest = self._guest or GuestInside(self._options, ROOT, self._log)
        try:
            *_, last = self._guest.order(order)
        except LostError:
            self.end()
            return False
        if last["end"] == "tests":
            return True
        self.end()
        return not fresh and self.done(order)

    def end(self) -> None:
        """End the guest."""
        if self._guest is not None:
            self._guest.close()
            self._guest = None


def kept(work: Path, fault: str, test: str) -> Run:
    """The run in which a test failed."""
    return read(_streams(work, fault, test.partition("::")[0]))


class Drivers:
    """Runs programs in one guest, on the driver without a fault or with one."""

    def __init__(self, work: Path, kernel: str | None) -> None:
        self._built = modules(work, kernel)
        self._scripts = work / "scripts"
        self._scripts.mkdir(parents=True, exist_ok=True)
        self._runner = Runner(Guest(kernel_of(kernel).name, ("--gpus", "2")))
        self._current: str | None = None

    def __enter__(self) -> Drivers:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    def on(self, fault: str) -> Runner:
        """A runner that loads the modules of a fault before its programs; empty: those without one."""
        return _Driver(self, fault)

    def status(self, fault: str, program: Path, seconds: float = SECONDS) -> tuple[int, str]:
        """The end of a program on the driver with a fault."""
        if fault != self._current:
            script = self._scripts / f"{name_of(fault) or 'stock'}.sh"
            given = " ".join(f"{name}={path}" for name, path in self._built[fault].items())
            script.write_text(f"#!/bin/sh\ncd {ROOT} && exec python3 -m sensitivity.modules {given}\n")
            script.chmod(0o755)
            self._current = None
            status, said = self._runner.status(script)
            if status:
                self._runner.close()
                status, said = self._runner.status(script)
            if status:
                raise NoAnswerError(f"{fault or 'stock'}: its modules do not load: {said}")
            self._current = fault
        status, said = self._runner.status(program, seconds)
        if status not in (0, 1, 2, 77):
            self._current = None
        return status, said


class _Driver(Runner):
    def __init__(self, drivers: Drivers, fault: str) -> None:
        self._drivers = drivers
        self._fault = fault

    def close(self) -> None:
        """The guest stays for other drivers."""

    def status(self, program: Path, seconds: float = SECONDS) -> tuple[int, str]:
        return self._drivers.status(self._fault, program, seconds)
