# SPDX-License-Identifier: MIT
"""A run from start to end: prepare every part, boot, and keep the logs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from common.place import is_installed, written
from guest import (
    PROJECT,
    GuestError,
    accelerator,
    bundle,
    cache,
    compiled,
    environment,
    kernels,
    project,
    qemu,
    tsc,
    warm,
)
from guest.kernels import Kernel
from guest.machine import Machine
from guest.qemu import Qemu
from guest.start import Cold, Parts, Start
from guest.vm import LOST, Files, Guest, Instructions, Interpreter, Outcome

LOCK = PROJECT / "requirements/run.lock"
RUNS = written() / "reports/out/guest"
KEPT = 50
OUTCOME = "outcome.json"
NOT_PASSED_ON = (
    *("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK"),
    "PYTHONPYCACHEPREFIX",  # the guest has compiled packages next to their sources
)


@dataclass(frozen=True)
class Prepared:
    """Everything a guest needs, fetched and built."""

    qemu: Qemu
    kernel: Kernel
    environment: Path
    rate: int | None
    """Frequency of this machine's time stamp counter, in kHz."""

    @property
    def software(self) -> bool:
        """Whether its processors are emulated, and everything takes several times as long."""
        return accelerator.choose(self.qemu, self.kernel.boot).startswith("tcg")

    def parts(self, machine: Machine) -> Parts:
        return Parts.gather(self.qemu, self.kernel, self.environment, machine, self.rate)


def prepare(kernel: str, replacements: Sequence[Path] = ()) -> Prepared:
    counter = tsc.measure()  # in parallel with the rest
    ready = qemu.provide(), kernels.provide(kernel, replacements), environment.provide(LOCK)
    return Prepared(*ready, counter.khz() if counter else None)


def prepare_fast_start(prepared: Prepared, machine: Machine) -> None:
    """Make what the first run would otherwise wait for."""
    chosen_start(prepared.parts(machine))


def chosen_start(parts: Parts) -> Start:
    """A warm start if one is possible, with its template ready."""
    if not warm.possible(parts):
        return Cold(parts)
    try:
        return warm.Warm(parts, warm.provide(parts))
    except GuestError as error:
        cache.say(f"no fast start: {error}")
        return Cold(parts)


def new_directory(name: str) -> Path:
    """A fresh numbered directory for one run of the guest ``name``; old ones are dropped."""
    parent = RUNS / name
    parent.mkdir(parents=True, exist_ok=True)
    numbers = sorted(int(path.name) for path in parent.iterdir() if path.name.isdecimal())
    for number in numbers[:-KEPT]:
        shutil.rmtree(parent / str(number), ignore_errors=True)
    number = numbers[-1] if numbers else 0
    while True:
        number += 1
        try:
            (parent / str(number)).mkdir()
        except FileExistsError:
            continue  # another guest of this name started at the same moment
        return parent / str(number)


def passed_environment(files: Files) -> dict[str, str]:
    """Our environment, without what only works on the host."""
    variables = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    return {**variables, "SVMCTS_SCRATCH": str(files.scratch)}


def run(
    prepared: Prepared,
    machine: Machine,
    *,
    name: str,
    command: Sequence[str] = (),
    interpreter: Interpreter | None = None,
    scratch: Path | None = None,
    terminal: tuple[int, int] | None = None,
    timeout_s: float | None = None,
) -> tuple[Outcome, Files]:
    """Run ``command``, or Python with a program, in a new guest.

    ``scratch`` is the directory that may be written to inside, by default one of the run's own.
    """
    files = Files(new_directory(name), scratch)
    (files.directory / "owner").write_text(str(os.getpid()))
    bundled = files.directory / bundle.NAME
    if not is_installed():
        compiled.refresh(environment.project_sources(PROJECT))
        bundle.write(bundled, PROJECT)
    parts = prepared.parts(machine)
    instructions = Instructions(
        environment=passed_environment(files),
        directory=str(Path.cwd()),
        scratch=str(files.scratch),
        gpus=machine.gpus,
        driver=parts.driver(files.directory),
        command=command,
        interpreter=interpreter,
        terminal=terminal,
        bundle="" if is_installed() else str(bundled),
    )
    start = chosen_start(parts)
    if interpreter and isinstance(start, warm.Warm) and not warm.is_current(start.template):
        forgetting = replace(interpreter, forget=project.PACKAGES)
        instructions = replace(instructions, interpreter=forgetting)
    try:
        outcome = _run_once_or_cold(start, parts, machine, files, instructions, timeout_s)
    except GuestError as error:
        _record(Outcome(LOST, str(error)), files)
        raise
    finally:
        for module in files.directory.glob("*.ko"):  # as large as everything else of fifty runs
            module.unlink()
        bundled.unlink(missing_ok=True)
    _record(outcome, files)
    return outcome, files


def _record(outcome: Outcome, files: Files) -> None:
    (files.directory / OUTCOME).write_text(json.dumps(asdict(outcome)))


def _run_once_or_cold(
    start: Start,
    parts: Parts,
    machine: Machine,
    files: Files,
    instructions: Instructions,
    timeout_s: float | None,
) -> Outcome:
    try:
        return run_once(start, machine, files, instructions, timeout_s)
    except warm.CopyError as error:
        cache.say(f"no fast start this time: {error}")
        shutil.rmtree(error.template, ignore_errors=True)
        return run_once(Cold(parts), machine, files, instructions, timeout_s)


def run_once(
    start: Start, machine: Machine, files: Files, instructions: Instructions, timeout_s: float | None
) -> Outcome:
    try:
        with Guest(start, machine, files, timeout_s=timeout_s) as guest:
            return guest.run(instructions)
    except OSError as error:
        raise GuestError(f"the guest cannot be started: {error}") from error


def evidence(process: int) -> str:
    """Traces of the guest that our process ``process`` ran: why it ended, and the end of its console."""
    # Newest first: process ids are reused.
    for owner in sorted(RUNS.glob("*/*/owner"), key=cache.last_used, reverse=True):
        if owner.read_text() == str(process):
            files = Files(owner.parent)
            try:
                lost = json.loads((owner.parent / OUTCOME).read_text())["lost"] or "the worker inside ended"
            except FileNotFoundError:
                lost = "the guest hung and was ended"
            return "\n".join((lost, f"the end of {files.console}:", *console_tail(files)))
    return ""


def latest_loss(since: float) -> str | None:
    """Reason of the last loss of a guest after ``since`` (seconds since the epoch), in one line."""
    for outcome in sorted(RUNS.glob(f"*/*/{OUTCOME}"), key=cache.last_used, reverse=True):
        if cache.last_used(outcome) < since:
            break
        if lost := json.loads(outcome.read_text())["lost"]:
            return f"{lost}; its logs are in {outcome.parent}"
    return None


def report_loss(outcome: Outcome, files: Files) -> None:
    """Print to standard error why a guest was lost, with the end of its console."""
    if outcome.lost:
        print(f"svmcts: {outcome.lost}; the end of {files.console}:", file=sys.stderr)
        for line in console_tail(files):
            print(f"  {line}", file=sys.stderr)


def console_tail(files: Files, lines: int = 80) -> list[str]:
    if not files.console.exists():
        return []
    return files.console.read_text(errors="replace").splitlines()[-lines:]
