# SPDX-License-Identifier: MIT
"""Memory behind a physical address: this GPU's VRAM, the guest's RAM, or the VRAM of a peer behind its
BAR.

VRAM and the guest's RAM are shared mappings of file descriptors, so the CPU's stores are here at once and
nothing of them is trapped. A ``Span`` is one contiguous piece; whatever holds one keeps its mapping alive, so
translations are dropped before memory goes away.
"""

from __future__ import annotations

import mmap
import os
from array import array
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, overload

PAGE = 4096


class Clock:
    """Orders the driver's allocations and frees, over all GPUs that can access each other's memory."""

    def __init__(self) -> None:
        self.now = 0

    def tick(self) -> int:
        """The current moment: later than all earlier events, earlier than all later ones."""
        self.now += 1
        return self.now - 1


class Words(Protocol):
    """Memory as integers of 8 bytes."""

    @overload
    def __getitem__(self, at: int, /) -> int: ...
    @overload
    def __getitem__(self, at: slice, /) -> memoryview: ...


class Tables(Protocol):
    """Memory that has page tables, ``size`` bytes."""

    @property
    def size(self) -> int: ...
    @property
    def qwords(self) -> Words: ...


class Vram:
    """The memory of one GPU, ``size`` bytes (none on an integrated one), as a file that a client can map."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.descriptor = os.memfd_create(f"{name}-vram", os.MFD_CLOEXEC)
        os.truncate(self.descriptor, size)
        self.view = memoryview(mmap.mmap(self.descriptor, size, mmap.MAP_SHARED) if size else b"")
        self.qwords: Words = self.view.cast("Q") if size else memoryview(array("Q"))

    def clear(self, offset: int, size: int) -> None:
        """Fill with zeros. Memory that was never touched stays so: the driver clears memory that may never be used."""
        try:
            first = os.lseek(self.descriptor, offset, os.SEEK_DATA)
        except OSError:  # no data up to the end
            return
        if first < offset + size:
            self.view[offset : offset + size] = bytes(size)


@dataclass(frozen=True, slots=True)
class Span:
    """A contiguous piece of memory: where its bytes are, and in which VRAM at which offset (or at which bus
    address). An IOMMU may allow reads only.
    """

    view: memoryview
    vram: Vram | None
    offset: int
    writable: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class _File:
    """Guest RAM: a whole file. Mapping each page would exhaust the mappings of a process."""

    view: memoryview


@dataclass(frozen=True, slots=True)
class _Ram:
    """Guest RAM at a range of bus addresses: the file, and the place of the first byte in it."""

    start: int
    end: int
    file: _File
    offset: int
    writable: bool


_Page = tuple[_File, int, bool]
"""Guest RAM at one page of bus addresses: the file, the place in it, whether it may be written."""

LARGE = 16 << 20
"""Bytes from which a mapping is kept as a range: RAM as such. An IOMMU's mappings are kept page by page."""


class Bus:
    """Memory that a GPU reaches by bus address: the guest's RAM, as its client maps it, and the BARs of ``peers``.

    Without an IOMMU that is all of the RAM, in large ranges; with one, the pages that the kernel has mapped for the
    device. A peer is asked each time where its BAR is (bus address and size) and what is behind: the firmware and the
    kernel move BARs while they start.
    """

    def __init__(self) -> None:
        self._files: dict[tuple[int, int], _File] = {}
        """By device and inode."""
        self._ram: list[_Ram] = []
        self._starts: list[int] = []
        self._pages: dict[int, _Page] = {}
        self.peers: list[Callable[[], tuple[int, int, Vram] | None]] = []
        self.changes = 0
        """How often memory came or went."""

    def map(self, address: int, size: int, descriptor: int, offset: int, *, writable: bool = True) -> None:
        """Guest RAM appears at ``address``; the descriptor may be closed afterwards."""
        self.changes += 1
        file = self._file(descriptor)
        if size >= LARGE:
            self._ram.append(_Ram(address, address + size, file, offset, writable))
            self._sort()
            return
        for at in range(0, size, PAGE):
            self._pages[address + at >> 12] = file, offset + at, writable

    def _file(self, descriptor: int) -> _File:
        status = os.fstat(descriptor)
        key = status.st_dev, status.st_ino
        if key not in self._files:
            self._files[key] = _File(memoryview(mmap.mmap(descriptor, 0, mmap.MAP_SHARED)))
        return self._files[key]

    def unmap(self, address: int, size: int) -> list[int]:
        """Guest RAM that lies in [address, address + size) is gone: the numbers of the single pages among it."""
        self.changes += 1
        first, end = address >> 12, address + size >> 12
        if end - first < len(self._pages):
            gone = [page for page in range(first, end) if page in self._pages]
        else:
            gone = [page for page in self._pages if first <= page < end]
        for page in gone:
            del self._pages[page]
        kept = [ram for ram in self._ram if not (address <= ram.start and ram.end <= address + size)]
        if len(kept) < len(self._ram):
            self._ram = kept
            self._sort()
        return gone

    def clear(self) -> None:
        """The client has disconnected: drop all its memory."""
        self.changes += 1
        self._files.clear()
        self._pages.clear()
        self._ram.clear()
        self._sort()

    @property
    def in_pages(self) -> bool:
        """Whether memory that is contiguous on the bus may be scattered pages."""
        return not self._ram

    def _sort(self) -> None:
        self._ram.sort(key=lambda ram: ram.start)
        self._starts = [ram.start for ram in self._ram]

    def resolve(self, address: int, size: int) -> Span | None:
        """The memory at a bus address, None where nothing (or not one contiguous thing) answers."""
        if page := self._pages.get(address >> 12):
            file, place, writable = page
            at = place + (address & PAGE - 1)
            if self._is_one(address, size, page):
                return Span(file.view[at : at + size], None, address, writable)
            return None
        index = bisect_right(self._starts, address) - 1
        if index >= 0:
            ram = self._ram[index]
            if address + size <= ram.end:
                at = ram.offset + address - ram.start
                return Span(ram.file.view[at : at + size], None, address, ram.writable)
        for peer in self.peers:
            if (window := peer()) is not None:
                start, length, vram = window
                if start <= address and address + size <= start + length:
                    at = address - start
                    return Span(vram.view[at : at + size], vram, at)
        return None

    def _is_one(self, address: int, size: int, first: _Page) -> bool:
        """Whether ``size`` bytes from ``address``, which is in page ``first``, are one piece."""
        file, place, writable = first
        start = address >> 12
        for page in range(start + 1, (address + size - 1 >> 12) + 1):
            if self._pages.get(page) != (file, place + (page - start << 12), writable):
                return False
        return True


class RamTables:
    """The memory behind a bus as the place of page tables: those of a GPU without VRAM.

    ``missing`` gets an address where nothing answers; entries there read as not present.
    """

    size = 1 << 52

    def __init__(self, bus: Bus, missing: Callable[[int], None]) -> None:
        self._bus = bus
        self._missing = missing
        self._views: dict[int, memoryview] = {}
        self._changes = bus.changes

    @property
    def qwords(self) -> Words:
        """Its integers."""
        return self

    @overload
    def __getitem__(self, at: int, /) -> int: ...
    @overload
    def __getitem__(self, at: slice, /) -> memoryview: ...
    def __getitem__(self, at: int | slice, /) -> int | memoryview:
        """An integer, or several of one page, by the bus address in units of 8 bytes."""
        first = at if isinstance(at, int) else at.start
        view = self._page(first >> 9)
        if isinstance(at, int):
            return int(view[first & 511])
        return view[first & 511 : (first & 511) + at.stop - first]

    def _page(self, page: int) -> memoryview:
        if self._changes != self._bus.changes:
            self._views.clear()
            self._changes = self._bus.changes
        if page not in self._views:
            span = self._bus.resolve(page << 12, PAGE)
            if span is None:
                self._missing(page << 12)
                return memoryview(bytes(PAGE)).cast("Q")
            self._views[page] = span.view.cast("Q")
        return self._views[page]
