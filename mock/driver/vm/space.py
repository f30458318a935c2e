# SPDX-License-Identifier: MIT
"""The address space of a VM on one tile: the AddressSpace of gpu.Execution."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gpu import Access, GpuFault
from mock.driver.vm.pagetable import Mapping, PageTable
from mock.kernel import Isolated, Mm, Stalled

Lost = Callable[[int], bool]
"""Called with a GPU address whose backing is gone. True: it is unmapped, the access faults. False: drop the access."""


class Stall(GpuFault):
    """The access is valid, and has to be repeated once ``mm`` is settled."""

    def __init__(self, address: int, access: Access, mm: Mm) -> None:
        super().__init__(address, access)
        self.mm = mm


class VmSpace:
    """Translates with the page table of the tile.

    scratch  unmapped addresses read as zero and drop writes, without a fault (DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE)
    """

    def __init__(self, table: PageTable, size: int, lost: Lost, *, scratch: bool) -> None:
        self._table = table
        self._size = size
        self._lost = lost
        self._scratch = scratch

    def read(self, address: int, size: int) -> bytes:
        parts = [self._read(*piece) for piece in self._walk(address, size, Access.READ)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self, run: Mapping | None, address: int, size: int) -> bytes:
        if run is None or run.backing is None:
            return bytes(size)
        try:
            return run.backing.read(run.offset + address - run.start, size)
        except Stalled as stalled:
            raise Stall(address, Access.READ, stalled.mm) from None
        except (Isolated, OSError):
            self._fault_if_lost(address, Access.READ)
            return bytes(size)

    def write(self, address: int, data: bytes) -> None:
        # Find all faults before the first byte is stored.
        for run, where, count in list(self._walk(address, len(data), Access.WRITE)):
            if run is None or run.backing is None:
                continue
            start = where - address
            try:
                run.backing.write(run.offset + where - run.start, data[start : start + count])
            except Stalled as stalled:
                raise Stall(where, Access.WRITE, stalled.mm) from None
            except (Isolated, OSError):
                self._fault_if_lost(where, Access.WRITE)

    def atomic(self, address: int, size: int, operation: Callable[[int], int]) -> int:
        mask = (1 << size * 8) - 1
        run, _, _ = next(self._walk(address, size, Access.ATOMIC))
        if run is None or run.backing is None:
            return 0
        try:
            return run.backing.atomic(
                run.offset + address - run.start, size, lambda old: operation(old) & mask
            )
        except Stalled as stalled:
            raise Stall(address, Access.ATOMIC, stalled.mm) from None
        except (Isolated, OSError):
            self._fault_if_lost(address, Access.ATOMIC)
            return 0

    def _fault_if_lost(self, address: int, access: Access) -> None:
        """System memory behind a mapping is gone: the driver has yet to be notified of a change in the client."""
        if self._lost(address):
            raise GpuFault(address, access)

    def _walk(self, address: int, size: int, access: Access) -> Iterator[tuple[Mapping | None, int, int]]:
        """Pieces of (run, address, bytes). Raises GpuFault at the first byte that does not allow the access."""
        end = address + size
        while address < end:
            run = self._table.lookup(address)
            if run is None:
                if not self._scratch or address >= self._size:
                    raise GpuFault(address, access)
                following = next(self._table.runs(address, end), None)
                stop = following.start if following else end
            elif not run.present:
                raise GpuFault(address, access)
            elif (access is not Access.READ and not run.writable) or (
                access is Access.ATOMIC and not run.atomic
            ):
                raise GpuFault(address, access, violation=True)
            else:
                stop = min(end, run.end)
            yield run, address, stop - address
            address = stop
