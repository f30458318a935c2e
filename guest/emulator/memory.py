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
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

PAGE = 4096


class Clock:
    """Orders the driver's allocations and frees, over all GPUs that can access each other's memory."""

    def __init__(self) -> None:
        self.now = 0

    def tick(self) -> int:
        """The current moment: later than all earlier events, earlier than all later ones."""
        self.now += 1
        return self.now - 1


class Vram:
    """The memory of one GPU, ``size`` bytes, as a file that a client can map."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.descriptor = os.memfd_create(f"{name}-vram", os.MFD_CLOEXEC)
        os.truncate(self.descriptor, size)
        self.view = memoryview(mmap.mmap(self.descriptor, size, mmap.MAP_SHARED))
        self.qwords = self.view.cast("Q")

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
    address).
    """

    view: memoryview
    vram: Vram | None
    offset: int


@dataclass(frozen=True, slots=True)
class _Ram:
    start: int
    end: int
    view: memoryview


class Bus:
    """Memory that a GPU reaches by bus address: the guest's RAM, as its client maps it, and the BARs of ``peers``.

    A peer is asked each time where its BAR is (bus address and size) and what is behind: the firmware and the
    kernel move BARs while they start.
    """

    def __init__(self) -> None:
        self._ram: list[_Ram] = []
        self._starts: list[int] = []
        self.peers: list[Callable[[], tuple[int, int, Vram] | None]] = []

    def map(self, address: int, size: int, descriptor: int, offset: int) -> None:
        """Guest RAM appears at ``address``; the descriptor may be closed afterwards."""
        mapped = mmap.mmap(descriptor, size, mmap.MAP_SHARED, offset=offset)
        self._ram.append(_Ram(address, address + size, memoryview(mapped)))
        self._sort()

    def unmap(self, address: int, size: int) -> None:
        """Guest RAM that lies in [address, address + size) is gone; the last user of a piece frees its
        mapping.
        """
        self._ram = [ram for ram in self._ram if not (address <= ram.start and ram.end <= address + size)]
        self._sort()

    def clear(self) -> None:
        """The client has disconnected: drop all its memory."""
        self._ram.clear()
        self._sort()

    def _sort(self) -> None:
        self._ram.sort(key=lambda ram: ram.start)
        self._starts = [ram.start for ram in self._ram]

    def resolve(self, address: int, size: int) -> Span | None:
        """The memory at a bus address, None where nothing (or not one contiguous thing) answers."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0:
            ram = self._ram[index]
            if address + size <= ram.end:
                at = address - ram.start
                return Span(ram.view[at : at + size], None, address)
        for peer in self.peers:
            if (window := peer()) is not None:
                start, length, vram = window
                if start <= address and address + size <= start + length:
                    at = address - start
                    return Span(vram.view[at : at + size], vram, at)
        return None
