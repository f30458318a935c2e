# SPDX-License-Identifier: MIT
"""The processes below this one: their kinds, and killing one of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mock.linux.syscall import syscall

_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWNS = 0x20000
_MS_PRIVATE_REC = 1 << 18 | 1 << 14
_libc = ctypes.CDLL(None)
SHARED = Path("/dev/shm")


@dataclass(frozen=True)
class Process:
    """A process, as /proc shows it at some time."""

    pid: int
    parent: int
    words: tuple[str, ...]
    """Its command line; empty for a zombie."""

    def __str__(self) -> str:
        return f"{self.pid} ({' '.join(self.words)[:120]})"


def adopt() -> None:
    """Adopt orphans below this process, so that nothing that a run started is lost from sight."""
    syscall("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def unshare() -> bool:
    """Mount an empty /dev/shm that only this process and those below it see; False without the rights for it."""
    return not (
        _libc.unshare(_CLONE_NEWNS)
        or _libc.mount(None, b"/", None, ctypes.c_ulong(_MS_PRIVATE_REC), None)
        or _libc.mount(b"tmpfs", bytes(SHARED), b"tmpfs", ctypes.c_ulong(0), b"mode=1777")
    )


def descendants() -> list[Process]:
    """All processes below this one."""
    children: dict[int, list[Process]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (process := _look(int(entry.name))):
            children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    above = [os.getpid()]
    while above:
        below = children.get(above.pop(), [])
        found += below
        above += [process.pid for process in below]
    return found


def _look(pid: int) -> Process | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return None
    parent = int(stat.rpartition(")")[2].split()[1])
    return Process(pid, parent, tuple(os.fsdecode(word) for word in words))


def reap(spare: int) -> None:
    """Collect the orphans that have ended, but not process ``spare``, whose status another function waits for."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid == spare:
                return
            os.waitpid(ended.si_pid, 0)


def kill(process: Process) -> bool:
    """Send SIGKILL to the process, if its id has not been reused."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        if (now := _look(process.pid)) is None or now.words != process.words:
            return False
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _is_mock(process: Process) -> bool:
    return process.words[1:3] == ("-m", "mock")


def _controller(run: int, found: list[Process]) -> Iterator[Process]:
    return (process for process in found if process.pid == run)


def _workers(run: int, found: list[Process]) -> Iterator[Process]:
    code = "import sys;exec(eval(sys.stdin.readline()))"
    return (process for process in found if process.parent == run and code in process.words)


def _mocks(run: int, found: list[Process]) -> Iterator[Process]:
    del run
    keepers = {process.pid for process in found if _is_mock(process)}
    return (process for process in found if _is_mock(process) and process.parent in keepers)


def _keepers(run: int, found: list[Process]) -> Iterator[Process]:
    parents = {process.parent for process in _mocks(run, found)}
    return (process for process in found if process.pid in parents and process.parent == os.getpid())


def _qemus(run: int, found: list[Process]) -> Iterator[Process]:
    del run
    return (process for process in found if any("qemu-system" in word for word in process.words[:5]))


def _emulators(run: int, found: list[Process]) -> Iterator[Process]:
    del run
    return (process for process in found if process.words[1:3] == ("-m", "guest.emulator"))


TARGETS: dict[str, Callable[[int, list[Process]], Iterator[Process]]] = {
    "controller": _controller,
    "worker": _workers,
    "mock": _mocks,
    "keeper": _keepers,
    "QEMU": _qemus,
    "emulator": _emulators,
}
"""Candidates to kill, from the run and all processes below this one."""
