# SPDX-License-Identifier: MIT
"""One run of a guest: emulated GPUs, QEMU, channels between the command and our standard files, termination.

The guest reports in JSON lines on its own port. The console is kept for people and never parsed for control.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guest import PROJECT, GuestError, oops, scratch
from guest.channels import CHUNK, Channels
from guest.machine import PORTS, TERMINAL, Machine, gpu
from guest.processes import cpu_seconds, kill_after, last_line, spawn
from guest.start import Place, Start

POLL_S = 0.005
EMULATOR_DEADLINE_S = 30.0
BOOT_DEADLINE_S = 300.0
SILENCE_S = 60.0  # of a guest that has booted: its init reports every five seconds while it waits
LOST = 125  # exit status: the guest was lost, the command has none


@dataclass(frozen=True)
class Outcome:
    """Result of a run. ``code`` is the command's exit status; ``lost`` says in one line why there is none."""

    code: int
    lost: str | None = None


@dataclass(frozen=True)
class Files:
    """A run's directory: logs for people, and the directory that the guest may write to."""

    directory: Path
    own_scratch: Path | None = None

    @property
    def scratch(self) -> Path:
        return self.own_scratch or self.directory / "scratch"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def checks(self) -> Path:
        """Reports of the emulated GPUs' checks."""
        return self.directory / "checks.jsonl"

    @property
    def events(self) -> Path:
        return self.directory / "events.jsonl"


@dataclass(frozen=True)
class Interpreter:
    """Python program to run in the guest: the flags of its command line, and the program.

    ``forget`` are packages that the waiting interpreter may have imported, and whose files have changed since.
    """

    flags: Sequence[str]
    code: str
    forget: Sequence[str] = ()


@dataclass(frozen=True)
class Instructions:
    """Instructions for init (guest/init.py).

    ``driver`` is the modules to load (``Parts.driver``). Either ``command`` runs once the GPUs are present, or
    ``interpreter`` gets ready before that, and the host holds its input back. ``terminal`` is rows and columns if the
    command gets a terminal. ``bundle`` is a file with the project's folders (guest/bundle.py), if there is one.
    """

    environment: dict[str, str]
    directory: str
    scratch: str
    gpus: int
    driver: Sequence[Mapping[str, str]] = ()
    command: Sequence[str] = ()
    interpreter: Interpreter | None = None
    terminal: tuple[int, int] | None = None
    bundle: str = ""

    def message(self) -> dict[str, object]:
        """The instructions with the current time, and a seed that no other guest gets."""
        return {**asdict(self), "time": time.time(), "seed": secrets.token_hex(32)}


class Guest:
    """One guest, from start to end; a context manager that leaves no process behind."""

    def __init__(
        self, start: Start, machine: Machine, files: Files, *, timeout_s: float | None = None
    ) -> None:
        """``timeout_s`` limits the whole run. A guest that boots or shuts down too late is ended in any case."""
        self.start = start
        self.machine = machine
        self.files = files
        self.timeout_s = timeout_s
        self._processes: list[subprocess.Popen[bytes]] = []
        self._reports = -1
        self._started = time.monotonic()
        self._began = time.time()

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        self._drop_sockets()
        if self._reports >= 0:
            os.close(self._reports)
        if self.files.scratch.is_dir():
            scratch.drop_rights(self.files.scratch, self._began)

    def run(self, instructions: Instructions) -> Outcome:
        """Start the guest, run the command with our standard files as its own, and say how it ended."""
        self.files.scratch.mkdir(parents=True, exist_ok=True)
        with Channels(PORTS) as channels:
            return self._run(instructions, channels)

    def _run(self, instructions: Instructions, channels: Channels) -> Outcome:
        emulator = self._start_emulator(channels) if self.machine.gpus else None
        gpus = [gpu(index, socket) for index, socket in enumerate(self._sockets())]
        place = Place(self.files.directory, self.files.console, self.files.scratch)
        machine = self.start(place, channels, gpus)
        self._processes.append(machine)
        self._drop_sockets()  # now, in case that this process is killed
        channels.handed_over()
        channels.send("control", instructions.message())
        if instructions.terminal:
            channels.copy_out(TERMINAL, sys.stdout.buffer)
        else:
            channels.copy_out("stdout", sys.stdout.buffer)
            channels.copy_out("stderr", sys.stderr.buffer)

        def on_ready() -> None:
            channels.copy_in(TERMINAL if instructions.terminal else "stdin", sys.stdin.buffer)

        with self.files.checks.open("wb") as checks:
            if emulator is not None:
                channels.pass_on("checks", self._reports, checks)
                # A machine whose GPU has gone only waits for it.
                threading.Thread(target=kill_after, args=(emulator, machine), daemon=True).start()
            outcome = self._watch(channels.ours["status"], on_ready, machine, emulator)
            for process in self._processes:
                process.kill()
            channels.drain()
        return outcome

    def _sockets(self) -> list[str]:
        # Relative to the run's directory: an address of a Unix socket has at most 107 characters.
        return [f"gpu{index}.sock" for index in range(self.machine.gpus)]

    def _drop_sockets(self) -> None:
        for name in self._sockets():
            (self.files.directory / name).unlink(missing_ok=True)

    def _start_emulator(self, channels: Channels) -> subprocess.Popen[bytes]:
        """The emulated GPUs, each listening on its socket."""
        directory = self.files.directory
        log = directory / "emulator.log"
        self._reports, report = os.pipe()
        # The emulator reads the port itself: an order has taken effect when it is answered.
        orders = channels.ours["orders"].fileno()
        command = [
            *(sys.executable, "-m", "guest.emulator"),
            *("--reports", f"fd:{report}", "--orders", f"fd:{orders}"),
        ]
        for name in self._sockets():
            command += ["--socket", name]
        command += self.machine.emulator
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        process = spawn(command, directory, log, env=environment, pass_fds=[report, orders])
        self._processes.append(process)
        os.close(report)
        deadline = time.monotonic() + EMULATOR_DEADLINE_S
        while not all((directory / name).exists() for name in self._sockets()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise GuestError(f"the emulated GPU does not start: {last_line(log)}")
            time.sleep(POLL_S)
        return process

    def _watch(
        self,
        status: socket.socket,
        on_ready: Callable[[], None],
        machine: subprocess.Popen[bytes],
        emulator: subprocess.Popen[bytes] | None,
    ) -> Outcome:
        """Follow the guest's reports until the command ends or the guest is lost."""
        deadlines = {"it did not boot": time.monotonic() + BOOT_DEADLINE_S}
        if self.timeout_s:
            deadlines["the command did not end"] = time.monotonic() + self.timeout_s
        try:
            for event in self._events(status, deadlines):
                if event["event"] == "ready":
                    del deadlines["it did not boot"]
                    on_ready()
                elif event["event"] == "exit":
                    return Outcome(event["code"])
                elif event["event"] == "failed":
                    return Outcome(LOST, f"the guest did not come up: {event['message']}")
                if "it did not boot" not in deadlines:
                    deadlines["its kernel shows no sign of life"] = time.monotonic() + SILENCE_S
        except TimeoutError as late:
            return Outcome(LOST, f"the guest was ended: {late} in time")
        return Outcome(LOST, self._reason(machine, emulator))

    def _events(self, status: socket.socket, deadlines: dict[str, float]) -> Iterator[dict[str, Any]]:
        """The guest's reports, each also kept in a file; raises TimeoutError naming the deadline that has passed."""
        buffer = b""
        with self.files.events.open("w") as log:
            while True:
                what, end = min(deadlines.items(), key=lambda item: item[1])
                status.settimeout(max(end - time.monotonic(), 0.001))
                try:
                    data = status.recv(CHUNK)
                except TimeoutError:
                    raise TimeoutError(what) from None
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    event["elapsed"] = round(time.monotonic() - self._started, 3)
                    event["cpu"] = [cpu_seconds(process) for process in self._processes]
                    log.write(json.dumps(event) + "\n")
                    log.flush()
                    yield event

    def _reason(self, machine: subprocess.Popen[bytes], emulator: subprocess.Popen[bytes] | None) -> str:
        """Reason why QEMU exited: the emulated GPU, QEMU itself, or the guest's kernel."""
        code = machine.wait()
        if emulator is not None and emulator.poll() is not None:
            return f"the emulated GPU ended with status {emulator.returncode}, see emulator.log"
        if code < 0:
            return f"QEMU was killed by signal {-code}"
        if code:
            return f"QEMU ended with status {code}, see qemu.log"
        console = self.files.console
        why = oops.cause(console.read_text(errors="replace")) if console.exists() else None
        return f"the guest's kernel died: {why}" if why else "the guest's kernel panicked or powered off"
