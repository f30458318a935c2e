# SPDX-License-Identifier: MIT
"""Defects of MMU notifications, and of the driver's state of process memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

from mock.defects.migration import freed_vram_stays
from mock.defects.patch import nothing, replace
from mock.driver.pagemap.process import Mirror, Process
from mock.driver.svm.range import Guarded
from mock.driver.svm.svm import Svm
from mock.driver.vm.userptr import UserptrState
from mock.kernel import PAGE_SIZE, Change, Mm
from mock.memory.space import AddressSpace


class _Freed:
    """Pages of processes that were freed, and that the GPU still uses because the driver was not notified.

    Their contents are unknown: they read as POISON, and stores to them have no effect that the process can see.
    """

    POISON = b"\xdd"

    def __init__(self) -> None:
        self._pages: WeakKeyDictionary[Mm, set[int]] = WeakKeyDictionary()

    def of(self, mm: Mm) -> set[int]:
        return self._pages.setdefault(mm, set())

    def pieces(self, mm: Mm, address: int, size: int) -> Iterator[tuple[int, int, bool]]:
        """(address, bytes, freed) of each page of an access."""
        freed, end = self.of(mm), address + size
        while address < end:
            page = address & -PAGE_SIZE
            count = min(end, page + PAGE_SIZE) - address
            yield address, count, page in freed
            address += count


def ignore_munmap() -> None:
    """The driver is not notified of munmap, MAP_FIXED or MADV_DONTNEED: the GPU keeps the pages that were freed."""
    freed = _Freed()
    read, write, atomic = AddressSpace.gpu_read, AddressSpace.gpu_write, AddressSpace.gpu_atomic
    watch, check, remove = AddressSpace.watch, Guarded._check, Process.remove

    def unmapped(self: AddressSpace, start: int, end: int, change: Change) -> None:
        freed.of(self).update(range(start, end, PAGE_SIZE))

    def gpu_read(self: AddressSpace, address: int, size: int) -> bytes:
        return b"".join(
            freed.POISON * count if gone else read(self, at, count)
            for at, count, gone in freed.pieces(self, address, size)
        )

    def gpu_write(self: AddressSpace, address: int, data: bytes) -> None:
        for at, count, gone in freed.pieces(self, address, len(data)):
            if not gone:
                write(self, at, data[at - address : at - address + count])

    def gpu_atomic(self: AddressSpace, address: int, size: int, operation: Callable[[int], int]) -> int:
        if address & -PAGE_SIZE in freed.of(self):
            return int.from_bytes(freed.POISON * size)
        return atomic(self, address, size, operation)

    def watched(self: AddressSpace, start: int, end: int) -> None:
        # The driver looks at this memory again: from here on the GPU gets the current pages.
        freed.of(self).difference_update(range(start, end, PAGE_SIZE))
        watch(self, start, end)

    def checked(self: Guarded, offset: int, size: int) -> None:
        if not all(gone for _, _, gone in freed.pieces(self.mm, offset + self.delta, size)):
            check(self, offset, size)

    def removed(self: Process, mirror: Mirror) -> None:
        remove(self, mirror)
        if not self._mirrors:  # the last VM of a test: the next one finds the current memory
            for page in freed.of(self.mm):
                self.vram.drop(page, page + PAGE_SIZE)
            freed.of(self.mm).clear()

    replace(AddressSpace, "unmapped", unmapped)
    replace(AddressSpace, "gpu_read", gpu_read)
    replace(AddressSpace, "gpu_write", gpu_write)
    replace(AddressSpace, "gpu_atomic", gpu_atomic)
    replace(AddressSpace, "watch", watched)
    replace(Guarded, "_check", checked)
    replace(Process, "remove", removed)


def ignore_mremap() -> None:
    """The driver is not notified of mremap: what was in VRAM does not follow its mapping."""
    replace(AddressSpace, "moved", nothing)


def mprotect_unheard() -> None:
    """The GPU keeps its access when the process restricts its own memory with mprotect."""
    replace(Guarded, "_check", nothing)


def no_gc() -> None:
    """Ranges of memory that was unmapped are never collected."""
    replace(Svm, "collect", nothing)


def neighbours_deaf() -> None:
    """Only the newest of several VMs that mirror a process is notified of changes."""
    freed_vram_stays()

    def notify(self: Process, start: int, end: int, *, unmapped: bool = False) -> None:
        for mirror in self._mirrors[-1:]:
            mirror.changed(start, end, unmapped=unmapped)

    replace(Process, "notify", notify)


def userptr_deaf() -> None:
    """Bound user memory is not invalidated when its pages change."""
    replace(UserptrState, "changed", nothing)


DEFECTS = {
    "ignore-munmap": ignore_munmap,
    "ignore-mremap": ignore_mremap,
    "mprotect-unheard": mprotect_unheard,
    "no-gc": no_gc,
    "neighbours-deaf": neighbours_deaf,
    "userptr-deaf": userptr_deaf,
}
