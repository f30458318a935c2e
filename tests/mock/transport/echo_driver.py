# SPDX-License-Identifier: MIT
"""A driver with a few ioctls of its own, to test the transport with: mock --driver echo_driver:EchoDriver."""

from __future__ import annotations

import errno
import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mock.kernel import PAGE_SIZE, Change, Deferred, MapRequest, PciDevice, Stalled
from mock.linux.instructions import NAME
from mock.memory.migrate import Migration
from mock.memory.work import Work
from mock.memory.zap import Zapper


def number(nr: int) -> int:
    """Request numbers: _IOWR('d', nr, 64 bytes)."""
    return 3 << 30 | 64 << 16 | ord("d") << 8 | nr


ADD = number(0x01)
"""args[2] = args[0] + args[1]."""
FAIL_FAULTS = number(0x17)
"""The next args[0] CPU faults fail."""
FAIL = number(0x02)
"""Fails with errno args[0]."""
READ = number(0x03)
"""args[2] = first 8 bytes at address args[0], by copy_from_user."""
WRITE = number(0x04)
"""Store args[1] at address args[0], by copy_to_user."""
NOTHING = number(0x05)
"""Return 0 at once."""
MIRROR = number(0x06)
"""Watch [args[0], args[0] + args[1])."""
ISOLATE = number(0x07)
"""Isolate [args[0], args[0] + args[1]); args[2] = number of pages now with the driver."""
EVENTS = number(0x08)
"""args[2] = number of notifications counted so far of kind args[0] (see KINDS)."""
WAIT = number(0x09)
"""Sleep until POKE, or a signal: EINTR if args[0] is 1, ERESTARTSYS if 2, not interruptible if 0."""
POKE = number(0x0A)
"""Wake everyone in WAIT; args[2] = how many."""
CRASH = number(0x0B)
"""The mock dies of signal args[0]; 0: raises an exception."""
GPU_ADD = number(0x0C)
"""GPU atomic: add args[1] to the 8 bytes at args[0]; args[2] = the old value."""
GPU_READ = number(0x0D)
"""args[2] = 8 bytes at args[0], read as the GPU: from the driver's copy if isolated."""
GPU_WRITE = number(0x0E)
"""Store args[1] at args[0] as the GPU: into the driver's copy if isolated."""
VMAS = number(0x0F)
"""args[2] = number of mappings in [args[0], args[0] + args[1]), args[3] = flags rwxspa of the first."""
EXPORT = number(0x10)
"""args[2] = descriptor of a new anonymous file, of an event file if args[0]."""
LOOKUP = number(0x11)
"""args[2] = 1 if descriptor args[0] is a file made by EXPORT, else 0."""
SIGNAL = number(0x12)
"""Signal all event files."""
RESTORE = number(0x13)
"""Give back [args[0], args[0] + args[1])."""
STATE = number(0x14)
"""args[2] = isolated pages as the driver sees it, args[3] = open files, args[4] = uid, args[5] =
CAP_SYS_NICE.
"""
POPULATE = number(0x15)
"""populate [args[0], args[0] + args[1])."""
ISOLATE_SOON = number(0x18)
"""As ISOLATE, but some milliseconds later."""
TELL = number(0x16)
"""Add 1 to the caller's eventfd args[0]."""

KINDS = (
    "unmap",
    "remove",
    "fork",
    "remap",
    "forked",
    "cpu-fault",
    "exited",
    "released",
    "mmap",
    "file-released",
)

ARGS = struct.Struct("=8Q")


def _pause_copied() -> None:
    copy = Migration._copy_out

    def slow(*args: Any) -> None:
        copy(*args)
        time.sleep(_PAUSE)

    Migration._copy_out = staticmethod(slow)  # type: ignore[method-assign]


def _pause_zap() -> None:
    zap = Zapper.zap

    def slow(self: Zapper, start: int, end: int) -> Work[bool]:
        time.sleep(_PAUSE)
        return zap(self, start, end)

    Zapper.zap = slow  # type: ignore[method-assign]


def _stop_zap() -> None:
    """Each client is stopped at the moment in which pages are to be taken from it."""
    zap = Zapper.zap

    def stopping(self: Zapper, start: int, end: int) -> Work[bool]:
        os.kill(self._pid, signal.SIGSTOP)
        while not stopped(self._pid):
            time.sleep(0.0005)
        return zap(self, start, end)

    Zapper.zap = stopping  # type: ignore[method-assign]


def stopped(pid: int) -> bool:
    """Whether its adviser is stopped."""
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        name, _, rest = status.read_text().rpartition(") ")
        if name.endswith(f"({NAME}"):
            return rest[0] == "T"
    return False


_PAUSE = 0.005
"""Seconds, usually enough for a client to change a mapping meanwhile."""
PLATFORMS: dict[str, Callable[[], None]] = {
    "echo": lambda: None,
    "echo-pause-copied": _pause_copied,
    "echo-pause-zap": _pause_zap,
    "echo-stop-zap": _stop_zap,
}
"""The others are slow, or stop the client, where a change of its mappings matters."""


class EchoDriver:
    """Implements kernel.Driver and kernel.Notifier."""

    def __init__(self, platform: str, level: str, services: Any) -> None:
        if platform not in PLATFORMS:
            raise ValueError(f"platform {platform} is not echo")
        PLATFORMS[platform]()
        self.level = level
        self.services = services
        self.counts = dict.fromkeys(KINDS, 0)
        self.copies: dict[Any, dict[int, bytes]] = {}
        self.sleepers: list[Deferred] = []
        self.exports: set[Any] = set()
        self.events: list[Any] = []
        self.open_files = 0
        self.failing = 0
        """The number of CPU faults to fail from now on."""
        self.written = {"/sys/kernel/debug/failslab/times": b""}
        """Files that can be written, with what each write brought in brackets."""

    def nodes(self) -> dict[str, int]:
        return {"card0": 0, "renderD128": 128}

    def pci(self, minor: int) -> PciDevice:
        return PciDevice("0000:03:00.0", 0x8086, 0xE20B, 0x8086, 0x1100, 4)

    def open(self, minor: int, task: Any, memory: Any) -> Any:
        os.pwrite(memory.fileno(), b"buffer object", 1 << 32)
        self.open_files += 1
        return [minor, memory]

    def release(self, file: Any) -> None:
        self.open_files -= 1
        self.counts["released"] += 1

    def mmap(self, file: Any, task: Any, request: MapRequest) -> None:
        self.counts["mmap"] += 1
        if request.offset != 1 << 32:
            raise OSError(errno.EINVAL, "no object there")

    def read_file(self, path: str) -> bytes | None:
        if path == "/sys/kernel/debug/dri/128/gt0/stats":
            return b"".join(b"%s: %d\n" % (kind.encode(), count) for kind, count in self.counts.items())
        if path.endswith("/fail-nth"):
            return path.split("/")[2].encode()
        return self.written.get(path)

    def writable_file(self, path: str) -> bool:
        return path in self.written

    def write_file(self, path: str, data: bytes) -> None:
        if data == b"refused":
            raise OSError(errno.EINVAL, "as asked")
        self.written[path] += b"[%s]" % data

    def ioctl(self, file: Any, task: Any, request: int, argument: int) -> int | Deferred:
        if request == NOTHING:
            return 0
        args = list(ARGS.unpack(task.mm.read(argument, ARGS.size)))
        handler = HANDLERS.get(request)
        if handler is None:
            raise OSError(errno.EINVAL, "unknown request")
        deferred = Deferred()

        def attempt() -> int | Deferred:
            try:
                return handler(self, task, args)
            except Stalled as stalled:
                stalled.mm.when_settled(again)
                return deferred

        def again() -> None:
            try:
                result = attempt()
                if isinstance(result, int):
                    task.mm.write(argument, ARGS.pack(*args))
                    deferred.resolve(result)
            except OSError as error:
                deferred.fail(error.errno or errno.EIO)

        result = attempt()
        if result is not deferred:
            task.mm.write(argument, ARGS.pack(*args))
        return result

    # Memory.

    def copies_of(self, mm: Any) -> dict[int, bytes]:
        mm.register(self)
        return self.copies.setdefault(mm, {})

    def invalidated(self, mm: Any, start: int, end: int, change: Change) -> None:
        self.counts[{Change.UNMAP: "unmap", Change.REMOVE: "remove", Change.FORK: "fork"}[change]] += 1
        if change is not Change.FORK:
            for page in range(start, end, PAGE_SIZE):
                self.copies[mm].pop(page, None)

    def remapped(self, mm: Any, old: int, new: int, size: int) -> None:
        self.counts["remap"] += 1
        copies = self.copies[mm]
        moved = {page: copies.pop(page) for page in list(copies) if old <= page < old + size}
        copies.update({page - old + new: data for page, data in moved.items()})

    def forked(self, mm: Any, child: Any) -> None:
        self.counts["forked"] += 1
        for page in child.isolated(0, 1 << 56):
            child.restore(page, self.copies[mm].get(page))

    def cpu_fault(self, mm: Any, address: int, *, write: bool, tid: int | None) -> None:
        self.counts["cpu-fault"] += 1
        if self.failing:
            self.failing -= 1
            raise OSError(errno.ENOMEM, "as asked")
        copies = self.copies[mm]
        if address in copies and not mm.restore(address, copies[address]):
            del copies[address]

    def exited(self, mm: Any) -> None:
        self.counts["exited"] += 1
        self.copies.pop(mm, None)


def _add(driver: EchoDriver, task: Any, args: list[int]) -> int:
    args[2] = args[0] + args[1]
    return 7


def _fail(driver: EchoDriver, task: Any, args: list[int]) -> int:
    raise OSError(args[0], "as asked")


def _fail_faults(driver: EchoDriver, task: Any, args: list[int]) -> int:
    driver.failing = args[0]
    return 0


def _read(driver: EchoDriver, task: Any, args: list[int]) -> int:
    args[2] = int.from_bytes(task.mm.read(args[0], 8), "little")
    return 0


def _write(driver: EchoDriver, task: Any, args: list[int]) -> int:
    task.mm.write(args[0], args[1].to_bytes(8, "little"))
    return 0


def _mirror(driver: EchoDriver, task: Any, args: list[int]) -> int:
    driver.copies_of(task.mm)
    task.mm.watch(args[0], args[0] + args[1])
    return 0


def _isolate(driver: EchoDriver, task: Any, args: list[int]) -> int:
    taken = task.mm.isolate(args[0], args[0] + args[1])
    driver.copies_of(task.mm).update({page: data or bytes(PAGE_SIZE) for page, data in taken.items()})
    args[2] = len(taken)
    return 0


def _isolate_soon(driver: EchoDriver, task: Any, args: list[int]) -> int:
    def isolate() -> None:
        try:
            _isolate(driver, task, args)
        except Stalled as stalled:
            stalled.mm.when_settled(isolate)

    driver.services.loop.call_at(driver.services.loop.time() + 0.02, isolate)
    return 0


def _restore(driver: EchoDriver, task: Any, args: list[int]) -> int:
    copies = driver.copies_of(task.mm)
    for page in sorted(copies):
        if args[0] <= page < args[0] + args[1] and not task.mm.restore(page, copies[page]):
            del copies[page]
    return 0


def _events(driver: EchoDriver, task: Any, args: list[int]) -> int:
    args[2] = driver.counts[KINDS[args[0]]]
    return 0


def _wait(driver: EchoDriver, task: Any, args: list[int]) -> Deferred:
    from mock.kernel import ERESTARTSYS

    deferred = Deferred()
    driver.sleepers.append(deferred)
    deferred.on_abandon(lambda: driver.sleepers.remove(deferred))
    if args[0]:

        def interrupted() -> None:
            driver.sleepers.remove(deferred)
            deferred.fail(errno.EINTR if args[0] == 1 else ERESTARTSYS)

        deferred.on_signal(interrupted)
    return deferred


def _poke(driver: EchoDriver, task: Any, args: list[int]) -> int:
    args[2] = len(driver.sleepers)
    sleepers, driver.sleepers = driver.sleepers, []
    for deferred in sleepers:
        deferred.resolve(1)
    return 0


def _crash(driver: EchoDriver, task: Any, args: list[int]) -> int:
    if args[0]:
        os.kill(os.getpid(), args[0])
    raise RuntimeError("as asked")


def _gpu_add(driver: EchoDriver, task: Any, args: list[int]) -> int:
    args[2] = task.mm.gpu_atomic(args[0], 8, lambda old: old + args[1])
    return 0


def _gpu_read(driver: EchoDriver, task: Any, args: list[int]) -> int:
    page, at = args[0] & -PAGE_SIZE, args[0] % PAGE_SIZE
    copy = driver.copies_of(task.mm).get(page)
    data = copy[at : at + 8] if copy is not None else task.mm.gpu_read(args[0], 8)
    args[2] = int.from_bytes(data, "little")
    return 0


def _gpu_write(driver: EchoDriver, task: Any, args: list[int]) -> int:
    page, at = args[0] & -PAGE_SIZE, args[0] % PAGE_SIZE
    data = args[1].to_bytes(8, "little")
    copies = driver.copies_of(task.mm)
    if page in copies:
        copies[page] = copies[page][:at] + data + copies[page][at + 8 :]
    else:
        task.mm.gpu_write(args[0], data)
    return 0


def _vmas(driver: EchoDriver, task: Any, args: list[int]) -> int:
    vmas = task.mm.vmas(args[0], args[0] + args[1])
    args[2] = len(vmas)
    if vmas:
        first = vmas[0]
        bits = (
            first.readable,
            first.writable,
            first.executable,
            first.shared,
            not first.anonymous,
            first.file,
        )
        args[3] = sum(1 << index for index, bit in enumerate(bits) if bit)
    return 0


def _export(driver: EchoDriver, task: Any, args: list[int]) -> int:
    def released() -> None:
        driver.counts["file-released"] += 1
        driver.exports.discard(file)

    if args[0]:
        file = driver.services.create_event_file(released)
        driver.events.append(file)
    else:
        file = driver.services.create_file("test", released)
    driver.exports.add(file)
    args[2] = task.install(file)
    return 0


def _lookup(driver: EchoDriver, task: Any, args: list[int]) -> int:
    args[2] = int(task.lookup(args[0]) in driver.exports)
    return 0


def _signal(driver: EchoDriver, task: Any, args: list[int]) -> int:
    for file in driver.events:
        file.signal()
    return 0


def _state(driver: EchoDriver, task: Any, args: list[int]) -> int:
    args[2] = len(driver.copies_of(task.mm))
    args[3] = driver.open_files
    args[4] = task.uid
    args[5] = task.capable("CAP_SYS_NICE")
    args[6] = len(driver.sleepers)
    return 0


def _tell(driver: EchoDriver, task: Any, args: list[int]) -> int:
    task.eventfd(args[0]).signal()
    return 0


def _populate(driver: EchoDriver, task: Any, args: list[int]) -> int:
    task.mm.populate(args[0], args[0] + args[1])
    return 0


HANDLERS = {
    ADD: _add,
    FAIL: _fail,
    FAIL_FAULTS: _fail_faults,
    READ: _read,
    WRITE: _write,
    MIRROR: _mirror,
    ISOLATE: _isolate,
    ISOLATE_SOON: _isolate_soon,
    RESTORE: _restore,
    EVENTS: _events,
    WAIT: _wait,
    POKE: _poke,
    CRASH: _crash,
    GPU_ADD: _gpu_add,
    GPU_READ: _gpu_read,
    GPU_WRITE: _gpu_write,
    VMAS: _vmas,
    EXPORT: _export,
    LOOKUP: _lookup,
    SIGNAL: _signal,
    STATE: _state,
    POPULATE: _populate,
    TELL: _tell,
}
