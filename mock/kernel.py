# SPDX-License-Identifier: MIT
"""The kernel as the driver sees it: the interface between the transport and mock.driver.

The driver is written as code in the kernel would be. The transport implements the Protocols here except
``Driver`` and ``Notifier``, which the driver implements. Everything runs on one thread: the transport calls the
driver, the driver runs to the end of that call (or hands out a ``Deferred``) and never waits. Callbacks never
nest: what happens to an address space while the driver is in a call is delivered after that call has
returned, and before the next ioctl, GPU work or timer.

Errors are OSError with the errno a kernel function would return. ``Isolated`` and ``Stalled`` are exceptions of our
own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

PAGE_SIZE = 4096

ERESTARTSYS = 512
"""Fail a ``Deferred`` with it (include/linux/errno.h): the ioctl is repeated after a signal handler with
SA_RESTART and without a handler, and fails with EINTR after other handlers. Only allowed from an
``on_signal`` callback.
"""


class Isolated(Exception):  # noqa: N818 - a condition the driver handles, as a device-private page is in hmm_range_fault
    """A GPU access met an isolated page: the driver has its contents."""

    def __init__(self, address: int) -> None:
        super().__init__(f"page at {address:#x} is isolated")
        self.address = address


class Stalled(Exception):  # noqa: N818 - a condition, not a failure
    """Pages of ``mm`` are on their way out of the client, which is stopped or slow, so the call does not wait.

    Nothing has to be undone. Try again once ``Mm.when_settled`` calls back; pages taken by then are kept for that.
    """

    def __init__(self, mm: Mm) -> None:
        super().__init__(f"{mm} does not run")
        self.mm = mm


class Ability:
    """Operations on an address space (``Mm.abilities``). Some need privileges."""

    USERFAULTFD = "userfaultfd"
    """``watch`` works, and the Notifier is called."""
    ZAP = "zap"
    """``isolate`` works: memory can migrate. Implies USERFAULTFD."""
    KERNEL_FAULTS = "kernel-faults"
    """System calls of the client that touch isolated memory (write(2) from it) bring it back as loads do.
    Without it they fail with EFAULT."""
    FORK_EVENTS = "fork-events"
    """Children made by fork(2) get isolated memory back too. Without it they read zeros there."""


@dataclass(frozen=True, slots=True)
class Vma:
    """One mapping of an address space, as it is now. ``end`` is exclusive; bytes."""

    start: int
    end: int
    readable: bool
    writable: bool
    executable: bool
    shared: bool
    """MAP_SHARED."""
    anonymous: bool
    """Private and without a file: the only kind that ``isolate`` accepts."""
    inode: int
    """Inode of the mapped file (shared anonymous memory has one too), 0 without one."""
    file: File | None
    """The mapped file if it is one of this mock, for example the memory of a buffer object."""
    offset: int
    """Bytes into the file."""
    page_size: int
    """4096, or more for hugetlb memory, which cannot be watched or isolated in parts."""


class Change(Enum):
    """Reason for a call of ``Notifier.invalidated``."""

    UNMAP = "munmap"
    """The mapping of the range is gone: munmap(2), mremap(2) shrinking, mmap(2) over it. Something else may be mapped
    there already: look up ``vmas`` at the next access."""
    REMOVE = "remove"
    """The pages go, the mapping stays: madvise(2) with DONTNEED, FREE or REMOVE. Private memory reads as
    zero, shared memory as its file.
    """
    FORK = "fork"
    """fork(2): pages became copy-on-write. The kernel invalidates the mirror of every private
    writable VMA.
    """


class Notifier(Protocol):
    """The driver's side of an address space (struct mmu_interval_notifier_ops, dev_pagemap_ops); see
    Mm.register.
    """

    def invalidated(self, mm: Mm, start: int, end: int, change: Change) -> None:
        """[start, end), page aligned, changed. Pages isolated in it are forgotten by the transport: the driver frees
        its copies (UNMAP, REMOVE). Called only for watched memory; may cover more than was watched.
        """

    def remapped(self, mm: Mm, old: int, new: int, size: int) -> None:
        """mremap(2) moved [old, old + size) to new; isolated pages in it are now isolated at their new
        address.

        As in the kernel the pages move and the mirror does not: invalidate what was mirrored at the old
        address as for UNMAP (which also comes, unless MREMAP_DONTUNMAP left the old mapping there, empty).
        Watches do not move.
        """

    def forked(self, mm: Mm, child: Mm) -> None:
        """fork(2) made ``child``, which has the same isolated pages. Before it returns, the driver gives the child the
        contents of each of them with ``child.restore``; the parent's stay isolated. ``invalidated(mm, ..., FORK)``
        follows for the watched parts of the parent.
        """

    def cpu_fault(self, mm: Mm, address: int, *, write: bool, tid: int | None) -> None:
        """The CPU touched an isolated page (dev_pagemap_ops.migrate_to_ram); ``address`` is page aligned.

        Every notifier is called; the one that has the page must ``restore`` at least that page before it returns, or
        the access faults again. OSError if the page is not available: the thread ``tid``, whose access it is, gets
        SIGBUS (VM_FAULT_SIGBUS). Also called from inside Mm.read and Mm.write when they meet an isolated page, without
        a thread; they give EFAULT then.
        """

    def exited(self, mm: Mm) -> None:
        """The address space is gone (exit or exec): every access raises EFAULT from now on. May come before
        or after the release of the files the process had open.
        """


class Mm(Protocol):
    """One client address space (struct mm_struct). Shared by all threads; hashable, compared by identity."""

    @property
    def abilities(self) -> frozenset[str]:
        """Values of Ability. A child of fork gets ZAP with its first system call on a device, not before."""

    @property
    def alive(self) -> bool:
        """False once the address space is gone."""

    def register(self, notifier: Notifier) -> None:
        """Deliver this address space's callbacks to ``notifier`` too (a child of fork starts with none, except
        during ``forked``, when its own faults wait). Registering twice is once.
        """

    def unregister(self, notifier: Notifier) -> None:
        """No more callbacks to ``notifier``. The driver restores what it isolated before that."""

    def read(self, address: int, size: int) -> bytes:
        """copy_from_user: ``size`` bytes. Faults pages in, isolated ones through Notifier.cpu_fault.
        OSError(EFAULT) when some of it is not mapped readable; then nothing was read.
        """

    def write(self, address: int, data: bytes) -> None:
        """copy_to_user, in the same way. OSError(EFAULT) when some of it is not mapped writable; the bytes before
        may have been written then, as with copy_to_user.
        """

    def gpu_read(self, address: int, size: int) -> bytes:
        """GPU load from system memory: as ``read``, but raises ``Isolated`` for isolated pages, ``Stalled`` for those
        on their way out, and makes no callbacks.
        """

    def gpu_write(self, address: int, data: bytes) -> None:
        """GPU store to system memory: as ``write``, but raises ``Isolated`` or ``Stalled``, before anything is written.
        Aligned stores of up to 8 bytes are single-copy atomic for the CPU.
        """

    def gpu_atomic(self, address: int, size: int, operation: Callable[[int], int]) -> int:
        """GPU atomic on system memory: replace the little-endian unsigned integer of 4 or 8 bytes by
        operation(old); returns old. Raises as gpu_write. Atomic towards the CPU for memory that ``isolate``
        takes (done by isolating the page for the moment); for other memory a concurrent CPU store can be
        lost.
        """

    def vmas(self, start: int, end: int) -> list[Vma]:
        """Mappings overlapping [start, end), in order, not clipped. Looked up now: cheap (about 3 us each),
        so ask at each access that matters, since mprotect(2) is not notified.
        """

    def vmas_of(self, file: File) -> list[Vma]:
        """Mappings of a file of the mock, wherever they are. Cheaper than all mappings."""

    def populate(self, start: int, end: int) -> None:
        """hmm_range_fault's faulting in: give every page of [start, end) that has none a zero page (or its
        file's). Isolated pages stay so. Pages that cannot be isolated are left out.
        """

    def present(self, start: int, end: int) -> list[bool]:
        """Whether each page of [start, end) is populated: in system memory or in swap, not isolated."""

    def watch(self, start: int, end: int) -> None:
        """mmu_interval_notifier_insert: from now on changes of what is mapped in [start, end) are called back. What is
        mapped there later is not included: watch again when the mirror meets it. Watches are counted: each needs its
        unwatch. Without Ability.USERFAULTFD, and for mappings that cannot be watched, it does nothing.
        """

    def unwatch(self, start: int, end: int) -> None:
        """Undo watch(). Callbacks may still come for a while. Never fails."""

    def isolate(self, start: int, end: int) -> dict[int, bytes | None]:
        """migrate_vma_setup, copy and zap of [start, end), page aligned: takes pages away from the CPU, whose
        next touch becomes Notifier.cpu_fault. No CPU store is lost.

        Returns page address -> contents (PAGE_SIZE bytes), None for a page that was never populated (it reads as
        zeros). Pages missing from the result could not be isolated (not private anonymous memory, isolated already,
        unmapped or changed in the meantime): migrate_vma leaves such pages out too. Without Ability.ZAP: empty. Watches
        the range's mappings for as long as pages of them are isolated. Raises ``Stalled`` if the client does not run.
        """

    def when_settled(self, callback: Callable[[], object]) -> None:
        """Call back once no page is on its way out of the client, or it has died: soon, if that is already so. Until
        then no system call of its processes is started or answered, and no change of its memory is reported.
        """

    def restore(self, address: int, data: bytes | None) -> list[int]:
        """migrate_vma_finalize towards system memory: put ``data`` (whole pages) at page aligned ``address``.

        Threads waiting for the pages continue. None stands for one page of zeros. Pages that are not isolated are not
        changed. Returns the pages that could not be put back and stay isolated, normally none: their memory was just
        moved or unmapped, and ``remapped`` or ``invalidated`` will be called for them. Keep their contents.
        """

    def isolated(self, start: int, end: int) -> list[int]:
        """Addresses of isolated pages in [start, end), ascending."""


class File(Protocol):
    """An open file (struct file) that the mock gave to a client: survives dup, fork, exec and lives in
    mappings. Hashable, compared by identity.
    """

    @property
    def inode(self) -> int:
        """Unique among the living files of this mock."""

    def fileno(self) -> int:
        """The mock's own descriptor of it, for pread, pwrite, ftruncate, fallocate and mmap. A sparse memfd: the client
        maps buffer objects natively at their fake offset. That of a device node has the maximum size of a file; the
        driver sets the size of others.
        """


class EventFile(File, Protocol):
    """A file that clients can poll(2), such as a sync_file. Has no memory."""

    def signal(self) -> None:
        """From now on poll reports POLLIN."""


class EventCounter(Protocol):
    """An eventfd of a client, open as long as this object exists."""

    def signal(self) -> None:
        """Add 1 to it."""


class Task(Protocol):
    """The thread that made a system call (struct task_struct). The same object may serve several calls."""

    @property
    def tgid(self) -> int: ...

    @property
    def tid(self) -> int: ...

    @property
    def mm(self) -> Mm: ...

    @property
    def uid(self) -> int:
        """Effective user id."""

    @property
    def comm(self) -> str:
        """Name of the thread."""

    def capable(self, capability: str) -> bool:
        """Whether it has e.g. "CAP_SYS_NICE" in effect (names of capabilities(7))."""

    def alive(self) -> bool: ...

    def install(self, file: File, *, cloexec: bool = True) -> int:
        """fd_install: a new descriptor of ``file`` in the caller. Only inside Driver.ioctl, as its last step
        that can fail. Raises OSError (EMFILE; ESRCH when the caller was killed).
        """

    def lookup(self, fd: int) -> File | None:
        """fget: the mock's file that the caller has open as ``fd``; None if it is closed or not the mock's."""

    def eventfd(self, fd: int) -> EventCounter:
        """eventfd_ctx_fdget: the eventfd that the caller has open as ``fd``. Raises OSError: EBADF when it is closed,
        EINVAL when it is not an eventfd.
        """


class Deferred:
    """The result of an ioctl that sleeps: return one from Driver.ioctl, settle it later, once.

    The caller stays in ioctl(2) in the meantime. Settling it before it is returned is allowed. When the caller dies
    ``on_abandon`` is called and settling has no effect any more.
    """

    def __init__(self) -> None:
        self._result: int | None = None
        self._reply: Callable[[int], None] | None = None
        self._abandon: Callable[[], None] = lambda: None
        self._signal: Callable[[], None] = lambda: None

    @property
    def settled(self) -> bool:
        return self._result is not None

    def resolve(self, value: int = 0) -> None:
        """ioctl(2) returns ``value`` (not negative)."""
        self._settle(value)

    def fail(self, errno: int) -> None:
        """ioctl(2) fails with ``errno`` (positive), see also ERESTARTSYS."""
        self._settle(-errno)

    def on_abandon(self, callback: Callable[[], None]) -> None:
        """Called when the waiting thread was killed: clean up."""
        self._abandon = callback

    def on_signal(self, callback: Callable[[], None]) -> None:
        """Called, perhaps repeatedly, while an unblocked signal waits for the thread
        (signal_pending(current)). An interruptible wait settles the Deferred then; without this callback
        the wait is as TASK_KILLABLE.
        """
        self._signal = callback

    def _settle(self, result: int) -> None:
        if self._result is None:
            self._result = result
            if self._reply is not None:
                self._reply(result)

    # The transport's side.

    def deliver_to(self, reply: Callable[[int], None]) -> None:
        """Call ``reply`` with the value or negative errno once it is settled, at once if it is."""
        self._reply = reply
        if self._result is not None:
            reply(self._result)

    def abandoned(self) -> None:
        """The waiting thread died."""
        if self._result is None:
            self._result = 0
            self._reply = None
            self._abandon()

    def signalled(self) -> None:
        """The waiting thread has a signal to handle."""
        if self._result is None:
            self._signal()


class Timer(Protocol):
    """A call scheduled with Loop.call_at."""

    def cancel(self) -> None:
        """Cancel the call; does nothing if it was made."""


class Loop(Protocol):
    """Deferred work, all on one thread. Exceptions go to Services.internal_error."""

    def time(self) -> float:
        """CLOCK_MONOTONIC, seconds."""

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call once, after system calls and faults that wait now have been answered (a work item; GPU time
        slices are run this way: do some milliseconds at most, and call_soon again).
        """

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call once at ``when``, seconds of CLOCK_MONOTONIC (hrtimer)."""


class Services(Protocol):
    """The other services that the driver gets when it is created."""

    @property
    def loop(self) -> Loop: ...

    def create_file(self, name: str, released: Callable[[], None]) -> File:
        """anon_inode_getfile with memory (dma-buf, syncobj): pass it to a client with Task.install. ``released`` is
        called once, when the client's last descriptor and mapping of it are gone, even if there never was one.
        """

    def create_event_file(self, released: Callable[[], None]) -> EventFile:
        """The same for a file to poll (sync_file)."""

    def log(self, message: str) -> None:
        """A log line (drm_dbg): shown by ``svmcts mock --verbose`` and when the mock dies."""

    def internal_error(self, what: str, error: BaseException) -> None:
        """A bug of the mock: logged with its traceback, counted, shown by the attachment. The mock continues."""


@dataclass(frozen=True, slots=True)
class PciDevice:
    """A device as sysfs shows it. ``slot`` is its address, such as 0000:03:00.0; ``memory_bar`` the size of BAR 2."""

    slot: str
    vendor: int
    device: int
    subsystem_vendor: int
    subsystem_device: int
    revision: int
    memory_bar: int = 0


@dataclass(frozen=True, slots=True)
class MapRequest:
    """An mmap(2) of a DRM file at a fake offset (4 GiB and up); bytes."""

    offset: int
    length: int
    readable: bool
    writable: bool
    shared: bool


class Driver(Protocol):
    """The driver's entry points: mock.driver.driver.Driver(platform, level, services)."""

    def nodes(self) -> Mapping[str, int]:
        """Names below /dev/dri, with their minor numbers: {"card0": 0, "renderD128": 128}."""

    def pci(self, minor: int) -> PciDevice:
        """The device of a node."""

    def open(self, minor: int, task: Task, memory: File) -> Any:
        """A device node is being opened; ``memory`` is the file the client gets. Returns the driver's own
        object, handed to the other entry points. Raises OSError, which open(2) then fails with.
        """

    def ioctl(self, file: Any, task: Task, request: int, argument: int) -> int | Deferred:
        """An ioctl of type d on an open node: the result (not negative), raises OSError to fail.
        ``request`` has 32 bits, ``argument`` 64.
        """

    def mmap(self, file: Any, task: Task, request: MapRequest) -> None:
        """Mapping an open node at 4 GiB or above is about to happen; raise OSError to fail it (EINVAL:
        nothing at this offset, EACCES: not yours).
        """

    def release(self, file: Any) -> None:
        """The last descriptor and mapping of an open node are gone."""

    def read_file(self, path: str) -> bytes | None:
        """Contents at the moment of open(2) of a file in debugfs, such as /sys/kernel/debug/dri/128/gt0/stats, of
        /proc/TID/fail-nth, or of /proc/kallsyms; None without such a file.
        """

    def writable_file(self, path: str) -> bool:
        """Whether such a file may be written."""

    def write_file(self, path: str, data: bytes) -> None:
        """One write(2) to such a file. Raises OSError, which is not reported: the write is over by then."""
