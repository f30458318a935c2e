# SPDX-License-Identifier: MIT
"""One run of a guest: emulated GPUs, QEMU, the channels between the command inside and our standard files, the end.

The guest reports by JSON lines on a port of its own. The console is kept for people and never parsed for control.
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from guest import GuestError, accelerator, initrd, tsc
from guest.initrd import PROJECT, Instructions
from guest.kernels import Kernel
from guest.machine import Machine, Wiring, command_line
from guest.qemu import Qemu

PR_SET_PDEATHSIG = 1
CHUNK = 1 << 16
POLL_S = 0.005
EMULATOR_DEADLINE_S = 30.0
BOOT_DEADLINE_S = 180.0
SILENCE_S = 60.0  # of a guest whose init reports every five seconds while it waits
LOST = 125  # exit status: the guest was lost, the command has none

libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``code`` is the command's exit status; ``lost`` says in one line why there is none."""

    code: int
    lost: str | None = None


@dataclass(frozen=True)
class Files:
    """A run's directory: what is kept for people, and the directory that the guest may write to."""

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
        """What the emulated GPUs' checkers found."""
        return self.directory / "checks.jsonl"

    @property
    def events(self) -> Path:
        return self.directory / "events.jsonl"


def last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    return lines[-1] if lines else f"{path} is empty"


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Processor time that a process has used so far, for measures: it depends less on what else runs here."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kill_after(first: subprocess.Popen[bytes], then: subprocess.Popen[bytes]) -> None:
    first.wait()
    then.kill()


def die_with_parent() -> None:
    """In a child before exec: killed when its parent ends, however that happens (prctl(2))."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Channels:
    """The ports' ends on this side, and the threads that copy between them and our standard files."""

    def __init__(self, names: Sequence[str]) -> None:
        self.ours: dict[str, socket.socket] = {}
        self.theirs: dict[str, socket.socket] = {}
        for name in names:
            self.ours[name], self.theirs[name] = socket.socketpair()
        self._outputs: list[threading.Thread] = []

    def descriptors(self) -> dict[str, int]:
        return {name: end.fileno() for name, end in self.theirs.items()}

    def handed_over(self) -> None:
        """QEMU has its ends: drop ours of them, so that its death is an end of file."""
        for end in self.theirs.values():
            end.close()

    def copy_in(self, name: str, source: BinaryIO) -> None:
        self._copy(lambda: os.read(source.fileno(), CHUNK), self.ours[name].sendall, self.ours[name])

    def copy_out(self, name: str, target: BinaryIO) -> None:
        def write(data: bytes) -> None:
            while data:
                data = data[os.write(target.fileno(), data) :]

        self._outputs.append(self._copy(lambda: self.ours[name].recv(CHUNK), write, None))

    def pass_on(self, name: str, source: int, copy: BinaryIO) -> None:
        """Copy what comes from the descriptor ``source`` to a port, whenever the guest reads it, and to a file now."""
        waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()

        def read() -> bytes:
            data = os.read(source, CHUNK)
            copy.write(data)
            copy.flush()
            if not data:
                waiting.put(data)
            return data

        self._outputs.append(self._copy(read, waiting.put, None))
        self._copy(waiting.get, self.ours[name].sendall, None)

    def drain(self) -> None:
        """Wait until everything that the command wrote has been passed on; QEMU must have ended."""
        for thread in self._outputs:
            thread.join()

    def close(self) -> None:
        """End what still waits for the guest."""
        for end in (*self.ours.values(), *self.theirs.values()):
            end.close()

    @staticmethod
    def _copy(
        read: Callable[[], bytes], write: Callable[[bytes], None], end: socket.socket | None
    ) -> threading.Thread:
        def copy() -> None:
            with contextlib.suppress(OSError):  # the other side has gone
                while data := read():
                    write(data)
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=copy, daemon=True)
        thread.start()
        return thread


class Guest:
    """One guest, from start to end; a context manager that leaves no process behind."""

    def __init__(
        self, qemu: Qemu, kernel: Kernel, machine: Machine, files: Files, *, timeout_s: float | None = None
    ) -> None:
        """``timeout_s`` is how long a run may take in all; a guest that boots or ends late is ended anyway."""
        self.qemu = qemu
        self.kernel = kernel
        self.machine = machine
        self.files = files
        self.timeout_s = timeout_s
        self._processes: list[subprocess.Popen[bytes]] = []
        self._reports = -1
        self._started = time.monotonic()

    def __enter__(self) -> "Guest":
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        for name in ("initrd", *self._sockets()):
            (self.files.directory / name).unlink(missing_ok=True)

    def run(self, instructions: Instructions, environment: Path) -> Outcome:
        """Boot, run the command with our standard files as its own, and say how it ended."""
        counter = tsc.measure()
        self.files.scratch.mkdir(parents=True, exist_ok=True)
        files = ("terminal",) if instructions.terminal else ("stdin", "stdout", "stderr")
        channels = Channels(("status", "checks", *files))
        initrd.write(self.files.directory / "initrd", self.kernel, environment, instructions)
        emulator = self._start_emulator() if self.machine.gpus else None
        machine = self._start_qemu(channels, counter)
        channels.handed_over()
        if instructions.terminal:
            channels.copy_out("terminal", sys.stdout.buffer)
        else:
            channels.copy_out("stdout", sys.stdout.buffer)
            channels.copy_out("stderr", sys.stderr.buffer)

        def on_ready() -> None:
            if instructions.terminal:
                channels.copy_in("terminal", sys.stdin.buffer)
            else:
                channels.copy_in("stdin", sys.stdin.buffer)

        with self.files.checks.open("wb") as checks:
            if emulator is not None:
                channels.pass_on("checks", self._reports, checks)
                # A machine whose GPU has gone only waits for it.
                threading.Thread(target=kill_after, args=(emulator, machine), daemon=True).start()
            outcome = self._watch(channels.ours["status"], on_ready, machine, emulator)
            for process in self._processes:
                process.kill()
            channels.drain()
        channels.close()
        return outcome

    def _sockets(self) -> list[str]:
        # Relative to the run's directory: an address of a Unix socket has at most 107 characters.
        return [f"gpu{index}.sock" for index in range(self.machine.gpus)]

    def _spawn(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command,
            cwd=self.files.directory,
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent,  # noqa: PLW1509 (no thread has been started yet)
            start_new_session=True,  # an interrupt from the terminal is for us to handle
            **options,
        )
        self._processes.append(process)
        return process

    def _start_emulator(self) -> subprocess.Popen[bytes]:
        """The emulated GPUs, each listening on its socket."""
        reports, report = os.pipe()
        command = [sys.executable, "-m", "guest.emulator", "--reports", f"fd:{report}"]
        for name in self._sockets():
            command += ["--socket", name]
        command += self.machine.emulator
        with (self.files.directory / "emulator.log").open("wb") as log:
            environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
            process = self._spawn(command, env=environment, stdout=log, stderr=log, pass_fds=[report])
        os.close(report)
        self._reports = reports
        deadline = time.monotonic() + EMULATOR_DEADLINE_S
        while not all((self.files.directory / name).exists() for name in self._sockets()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise GuestError(
                    f"the emulated GPU does not start: {last_line(self.files.directory / 'emulator.log')}"
                )
            time.sleep(POLL_S)
        return process

    def _start_qemu(self, channels: Channels, counter: tsc.Measure | None) -> subprocess.Popen[bytes]:
        wiring = Wiring(
            kernel=self.kernel.boot,
            initrd=self.files.directory / "initrd",
            console=self.files.console,
            scratch=self.files.scratch,
            sockets=self._sockets(),
            ports=channels.descriptors(),
        )
        chosen = accelerator.choose(self.qemu, self.kernel.boot)
        machine = self.machine
        if counter is not None and chosen.startswith("tcg"):
            told = f"tsc_early_khz={counter.khz()}"
            machine = dataclasses.replace(machine, options=(told, *machine.options))
        arguments = command_line(machine, wiring, chosen)
        with (self.files.directory / "qemu.log").open("wb") as log:
            return self._spawn(
                [*self.qemu.command, *arguments],
                env={**os.environ, **self.qemu.environment},
                stdout=log,
                stderr=log,
                pass_fds=list(channels.descriptors().values()),
            )

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
                deadlines["its kernel shows no sign of life"] = time.monotonic() + SILENCE_S
                if event["event"] == "ready":
                    del deadlines["it did not boot"]
                    on_ready()
                elif event["event"] == "exit":
                    return Outcome(event["code"])
                elif event["event"] == "failed":
                    return Outcome(LOST, f"the guest did not come up: {event['message']}")
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
        """Why QEMU has gone: the emulated GPU, QEMU itself, or the guest's kernel."""
        code = machine.wait()
        if emulator is not None and emulator.poll() is not None:
            return f"the emulated GPU ended with status {emulator.returncode}, see emulator.log"
        if code < 0:
            return f"QEMU was killed by signal {-code}"
        if code:
            return f"QEMU ended with status {code}, see qemu.log"
        return "the guest's kernel panicked or powered off"
