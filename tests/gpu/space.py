# SPDX-License-Identifier: MIT
"""An address space for tests: pages in a dictionary, each of them with its own rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gpu import Access, Batch, Execution, GpuFault, Stop
from gpu.address import PAGE_SIZE

BATCH, SECOND, DATA = 0x10_0000, 0x20_0000, 0x30_0000


class Pages:
    """Memory of 4 KiB pages. What is not in ``memory`` faults; so does a write to a page in ``read_only``, an atomic on
    one in ``no_atomics``, and the first access of each page in ``absent`` (which ``serve`` takes out of it again).
    """

    def __init__(self, pages: Iterable[int] = ()) -> None:
        self.memory = {page: bytearray(PAGE_SIZE) for page in pages}
        self.absent: set[int] = set()
        self.read_only: set[int] = set()
        self.no_atomics: set[int] = set()
        self.stores: list[tuple[int, int]] = []

    def serve(self, fault: GpuFault) -> None:
        self.absent.discard(fault.address // PAGE_SIZE)

    def _check(self, address: int, size: int, access: Access) -> None:
        for page in range(address // PAGE_SIZE, (address + size - 1) // PAGE_SIZE + 1):
            where = max(address, page * PAGE_SIZE)
            if page not in self.memory or page in self.absent:
                raise GpuFault(where, access)
            if access is not Access.READ and page in self.read_only:
                raise GpuFault(where, access, violation=True)
            if access is Access.ATOMIC and page in self.no_atomics:
                raise GpuFault(where, access, violation=True)

    def peek(self, address: int, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            page, offset = divmod(address + len(data), PAGE_SIZE)
            data += self.memory[page][offset : offset + size - len(data)]
        return bytes(data)

    def poke(self, address: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            page, offset = divmod(address + done, PAGE_SIZE)
            part = data[done : done + PAGE_SIZE - offset]
            self.memory[page][offset : offset + len(part)] = part
            done += len(part)

    def u32(self, address: int) -> int:
        return int.from_bytes(self.peek(address, 4), "little")

    def u64(self, address: int) -> int:
        return int.from_bytes(self.peek(address, 8), "little")

    def read(self, address: int, size: int) -> bytes:
        self._check(address, size, Access.READ)
        return self.peek(address, size)

    def write(self, address: int, data: bytes) -> None:
        self._check(address, len(data), Access.WRITE)
        self.stores.append((address, len(data)))
        self.poke(address, data)

    def atomic(self, address: int, size: int, operation: Callable[[int], int]) -> int:
        assert address % size == 0
        self._check(address, size, Access.ATOMIC)
        old = int.from_bytes(self.peek(address, size), "little")
        self.stores.append((address, size))
        self.poke(address, operation(old).to_bytes(size, "little"))
        return old


def stopped(space: Pages, batch: Batch, budget: int = 10_000) -> tuple[Execution, Stop]:
    space.poke(BATCH, batch.encode(BATCH))
    execution = Execution(space, BATCH)
    return execution, execution.run(budget)
