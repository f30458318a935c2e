# SPDX-License-Identifier: MIT
"""A kernel in miniature for the driver's own tests: address spaces are dictionaries, time is a counter."""

from __future__ import annotations

import ctypes
import errno
import heapq
import itertools
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mock.kernel
from ioctl import Request
from mock.driver.driver import Driver
from mock.kernel import PAGE_SIZE, Ability, Change, Deferred, Isolated, Notifier, Vma

TICK = 200e-6
"""Seconds by which the clock advances at each read, so that time passes equally in every run."""


class Loop:
    """Work in the order of its time. Nothing runs until ``run`` or ``run_until``."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._soon: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._serial = itertools.count()

    def time(self) -> float:
        self._now += TICK
        return self._now

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (when, next(self._serial), timer))
        return timer

    def step(self) -> bool:
        """Do one piece of work, after waiting for it in virtual time. False if there is none."""
        if self._soon:
            self._soon.popleft()()
            return True
        while self._timers:
            when, _, timer = heapq.heappop(self._timers)
            if timer.callback is None:
                continue
            self._now = max(self._now, when)
            timer.callback()
            return True
        return False

    def run_until(self, condition: Callable[[], bool], seconds: float = 60.0) -> bool:
        """Work until the condition holds. False if ``seconds`` of virtual time have passed, or no work is left."""
        end = self._now + seconds
        while not condition():
            if self._now > end or not self.step():
                return condition()
        return True

    @property
    def idle(self) -> bool:
        return not self._soon and all(timer.callback is None for _, _, timer in self._timers)


@dataclass
class Timer:
    callback: Callable[[], object] | None

    def cancel(self) -> None:
        self.callback = None


@dataclass(eq=False)
class Area:
    start: int
    data: bytearray
    readable: bool = True
    writable: bool = True
    file: Any = None
    offset: int = 0

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class Mm:
    """One address space: private anonymous memory only."""

    def __init__(self) -> None:
        self.abilities = frozenset(
            {Ability.USERFAULTFD, Ability.ZAP, Ability.KERNEL_FAULTS, Ability.FORK_EVENTS}
        )
        self.alive = True
        self.areas: list[Area] = []
        self.notifiers: list[Notifier] = []
        self._isolated: set[int] = set()
        self.waiting: list[Callable[[], object]] = []
        self._next = 0x7F00_0000_0000

    # For tests

    def map(
        self,
        size: int,
        *,
        address: int = 0,
        readable: bool = True,
        writable: bool = True,
        align: int = PAGE_SIZE,
    ) -> int:
        """Fresh zeroed memory; returns its address."""
        size = -(-size // PAGE_SIZE) * PAGE_SIZE
        if not address:
            address = -(-self._next // align) * align
            self._next = address + size + PAGE_SIZE
        self.areas.append(Area(address, bytearray(size), readable, writable))
        self.areas.sort(key=lambda area: area.start)
        return address

    def unmap(self, address: int) -> None:
        area = self._area(address)
        self.areas.remove(area)
        gone = {page for page in self._isolated if area.start <= page < area.end}
        self._isolated -= gone
        for notifier in list(self.notifiers):
            notifier.invalidated(self, area.start, area.end, Change.UNMAP)

    def _area(self, address: int) -> Area:
        for area in self.areas:
            if area.start <= address < area.end:
                return area
        raise OSError(errno.EFAULT, f"nothing at {address:#x}")

    def _pieces(self, address: int, size: int) -> list[tuple[Area, int, int]]:
        pieces = []
        while size:
            area = self._area(address)
            count = min(size, area.end - address)
            pieces.append((area, address - area.start, count))
            address += count
            size -= count
        return pieces

    # mock.kernel.Mm

    def register(self, notifier: Notifier) -> None:
        if notifier not in self.notifiers:
            self.notifiers.append(notifier)

    def unregister(self, notifier: Notifier) -> None:
        if notifier in self.notifiers:
            self.notifiers.remove(notifier)

    def _fault_in(self, address: int, size: int, *, write: bool) -> None:
        for page in range(address & ~(PAGE_SIZE - 1), address + size, PAGE_SIZE):
            if page in self._isolated:
                for notifier in list(self.notifiers):
                    notifier.cpu_fault(self, page, write=write, tid=None)

    def read(self, address: int, size: int) -> bytes:
        self._fault_in(address, size, write=False)
        pieces = self._pieces(address, size)
        if not all(area.readable for area, _, _ in pieces):
            raise OSError(errno.EFAULT, "not readable")
        return b"".join(bytes(area.data[at : at + count]) for area, at, count in pieces)

    def write(self, address: int, data: bytes) -> None:
        self._fault_in(address, len(data), write=True)
        done = 0
        pieces = self._pieces(address, len(data))
        if not all(area.writable for area, _, _ in pieces):
            raise OSError(errno.EFAULT, "not writable")
        for area, at, count in pieces:
            area.data[at : at + count] = data[done : done + count]
            done += count

    def _check_isolated(self, address: int, size: int) -> None:
        for page in range(address & ~(PAGE_SIZE - 1), address + size, PAGE_SIZE):
            if page in self._isolated:
                raise Isolated(page)

    def gpu_read(self, address: int, size: int) -> bytes:
        self._check_isolated(address, size)
        return self.read(address, size)

    def gpu_write(self, address: int, data: bytes) -> None:
        self._check_isolated(address, len(data))
        self.write(address, data)

    def gpu_atomic(self, address: int, size: int, operation: Callable[[int], int]) -> int:
        old = int.from_bytes(self.gpu_read(address, size), "little")
        self.gpu_write(address, operation(old).to_bytes(size, "little"))
        return old

    def vmas_of(self, file: File) -> list[Vma]:
        return [vma for vma in self.vmas(0, 1 << 64) if vma.file is file]

    def vmas(self, start: int, end: int) -> list[Vma]:
        return [
            Vma(
                area.start,
                area.end,
                area.readable,
                area.writable,
                executable=False,
                shared=area.file is not None,
                anonymous=area.file is None,
                inode=0,
                file=area.file,
                offset=area.offset,
                page_size=PAGE_SIZE,
            )
            for area in self.areas
            if area.start < end and start < area.end
        ]

    def when_settled(self, callback: Callable[[], object]) -> None:
        self.waiting.append(callback)

    def populate(self, start: int, end: int) -> None:
        pass

    def watch(self, start: int, end: int) -> None:
        pass

    def unwatch(self, start: int, end: int) -> None:
        pass

    def isolate(self, start: int, end: int) -> dict[int, bytes | None]:
        pages: dict[int, bytes | None] = {}
        for page in range(start, end, PAGE_SIZE):
            try:
                area = self._area(page)
            except OSError:
                continue
            if page not in self._isolated:
                pages[page] = bytes(area.data[page - area.start : page - area.start + PAGE_SIZE])
                self._isolated.add(page)
        return pages

    def restore(self, address: int, data: bytes | None) -> list[int]:
        data = data or bytes(PAGE_SIZE)
        for offset in range(0, len(data), PAGE_SIZE):
            page = address + offset
            if page in self._isolated:
                self._isolated.remove(page)
                area = self._area(page)
                area.data[page - area.start : page - area.start + PAGE_SIZE] = data[
                    offset : offset + PAGE_SIZE
                ]
        return []

    def present(self, start: int, end: int) -> list[bool]:
        return [
            page not in self._isolated and any(area.start <= page < area.end for area in self.areas)
            for page in range(start, end, PAGE_SIZE)
        ]

    def isolated(self, start: int, end: int) -> list[int]:
        return sorted(page for page in self._isolated if start <= page < end)


class File:
    """A memfd."""

    _inodes = itertools.count(1)

    def __init__(self) -> None:
        self.inode = next(self._inodes)
        self._fd = os.memfd_create("test")
        os.ftruncate(self._fd, (1 << 63) - 1)

    def fileno(self) -> int:
        return self._fd

    def __del__(self) -> None:
        os.close(self._fd)


class EventFile(File):
    def __init__(self) -> None:
        super().__init__()
        self.signaled = False

    def signal(self) -> None:
        self.signaled = True


class EventFd:
    def __init__(self) -> None:
        self.value = 0

    def signal(self) -> None:
        self.value += 1


@dataclass(eq=False)
class Task:
    mm: Mm = field(default_factory=Mm)
    capabilities: set[str] = field(default_factory=lambda: {"CAP_SYS_NICE", "CAP_SYS_ADMIN"})
    tgid: int = 100
    tid: int = 100
    uid: int = 0
    comm: str = "test"
    files: dict[int, mock.kernel.File] = field(default_factory=dict)
    eventfds: dict[int, EventFd] = field(default_factory=dict)

    def capable(self, capability: str) -> bool:
        return capability in self.capabilities

    def alive(self) -> bool:
        return True

    def install(self, file: mock.kernel.File, *, cloexec: bool = True) -> int:
        fd = next(number for number in itertools.count(3) if number not in self.files)
        self.files[fd] = file
        return fd

    def lookup(self, fd: int) -> mock.kernel.File | None:
        return self.files.get(fd)

    def eventfd(self, fd: int) -> EventFd:
        try:
            return self.eventfds[fd]
        except KeyError:
            raise OSError(errno.EINVAL if fd in self.files else errno.EBADF, "no eventfd") from None


class Services:
    def __init__(self) -> None:
        self.loop = Loop()
        self.messages: list[str] = []
        self.errors: list[tuple[str, BaseException]] = []
        self.released: dict[File, Callable[[], None]] = {}

    def create_file(self, name: str, released: Callable[[], None]) -> File:
        file = File()
        self.released[file] = released
        return file

    def create_event_file(self, released: Callable[[], None]) -> EventFile:
        file = EventFile()
        self.released[file] = released
        return file

    def log(self, message: str) -> None:
        self.messages.append(message)

    def internal_error(self, what: str, error: BaseException) -> None:
        self.errors.append((what, error))


class Client:
    """A process with one open node: ioctls on structures in its own memory."""

    def __init__(
        self, driver: Driver, services: Services, *, minor: int = 128, task: Task | None = None
    ) -> None:
        self.driver = driver
        self.services = services
        self.task = task or Task()
        self.mm = self.task.mm
        self.memory = File()
        self.file = driver.open(minor, self.task, self.memory)
        self._arguments = self.mm.map(1 << 20)
        self._used = 0

    def put(self, data: bytes | ctypes.Structure) -> int:
        """A copy of the bytes in the client's memory; returns the address, qword aligned."""
        data = bytes(data)
        if self._used + len(data) + 8 > 1 << 20:
            self._used = 0
        address = self._arguments + self._used
        self._used += -(-len(data) // 8) * 8
        self.mm.write(address, data)
        return address

    def array(self, *items: ctypes.Structure) -> int:
        return self.put(b"".join(bytes(item) for item in items))

    def u64(self, address: int) -> int:
        return int.from_bytes(self.mm.read(address, 8), "little")

    def u32(self, address: int) -> int:
        return int.from_bytes(self.mm.read(address, 4), "little")

    def start(self, request: Request, arg: ctypes.Structure) -> tuple[int | Deferred, int]:
        """Make the call. Returns the driver's answer, and the address of the argument."""
        address = self.put(arg)
        return self.driver.ioctl(self.file, self.task, request.number, address), address

    def call(self, request: Request, arg: ctypes.Structure) -> int:
        """ioctl(2): changes ``arg`` in place as the kernel does; raises OSError."""
        address = self.put(arg)
        size = ctypes.sizeof(arg)
        try:
            result = self.driver.ioctl(self.file, self.task, request.number, address)
            if isinstance(result, Deferred):
                result = self.settle(result)
        finally:
            ctypes.memmove(ctypes.addressof(arg), self.mm.read(address, size), size)
        return result

    def settle(self, deferred: Deferred, seconds: float = 60.0) -> int:
        """Wait for a sleeping ioctl."""
        answers: list[int] = []
        deferred.deliver_to(answers.append)
        assert self.services.loop.run_until(lambda: bool(answers), seconds), "the ioctl never ends"
        if answers[0] < 0:
            raise OSError(-answers[0], os.strerror(-answers[0]))
        return answers[0]

    def refused(self, request: Request, arg: ctypes.Structure) -> int | None:
        """The errno of a failed call, whose argument must be unchanged; None if it succeeds."""
        before = bytes(arg)
        try:
            self.call(request, arg)
        except OSError as error:
            assert bytes(arg) == before, "the argument changed on error"
            return error.errno
        return None

    def run(self, seconds: float = 60.0) -> None:
        """Let the driver work until it has nothing to do."""
        self.services.loop.run_until(lambda: self.services.loop.idle, seconds)


def fields(kind: type[ctypes.Structure], **values: Any) -> ctypes.Structure:
    """A structure with some fields set; arrays take lists."""
    arg = kind()
    for name, value in values.items():
        current = getattr(arg, name)
        if isinstance(current, ctypes.Array):
            for index, item in enumerate(value):
                current[index] = item
        else:
            setattr(arg, name, value)
    return arg
