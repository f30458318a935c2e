# SPDX-License-Identifier: MIT
"""Attributes that MADVISE_AUTORESET resets, according to the header (xe_drm.h: MADVISE_AUTORESET)."""

from __future__ import annotations

import ctypes

import pytest

from fixtures import acts, behaviour, known, landed, needs
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.sizes import SZ_2M
from fixtures.xe.flags import ATOMIC
from fixtures.xe.vm import Vm
from ioctl import xe
from ioctl.transcript import cannot

CPU = xe.DRM_XE_ATOMIC_CPU
FINDING = "An autoreset goes by ranges, not by what was unmapped"

pytestmark = needs("page-faults", "range-attributes", "cpu-addr-mirror")


@pytest.fixture
def vm(memory: Memory, fault_vm: Vm) -> Vm:
    """A VM that mirrors everything, with MADVISE_AUTORESET. It is closed before the test's memory is unmapped."""
    fault_vm.mirror(flags=xe.DRM_XE_VM_BIND_FLAG_MADVISE_AUTORESET)
    return fault_vm


@pytest.fixture
def buffer(vm: Vm, memory: Memory) -> Buffer:
    """Two chunks of memory, and advice for more than that."""
    made = memory(2 * SZ_2M, align=SZ_2M)
    vm.madvise(made.address - SZ_2M, made.size + 2 * SZ_2M, ATOMIC, val=CPU)
    return made


def mode(vm: Vm, address: int) -> int:
    """The atomic mode of the page at an address."""
    (area,) = vm.attributes(address, PAGE)
    value: int = area.atomic.val
    return value


def collect(vm: Vm, elsewhere: Buffer) -> None:
    """Run the garbage collector: MADVISE does that first, and this one changes nothing."""
    vm.madvise(elsewhere.address, elsewhere.size, ATOMIC, val=0)


@behaviour("madvise.autoreset.free-not-unmap")
@acts("store", "ioctl")
def test_free_keeps_attributes_if_nothing_is_unmapped(vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """free(3) without munmap keeps the attributes: the next malloc(3) there has them."""
    cannot("its memory is that of malloc(3)")
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    elsewhere, size, value = memory(PAGE), 8 * PAGE, sentinel()
    address, keeper = libc.malloc(size), libc.malloc(size)  # the heap does not shrink below the second
    try:
        page = -(-address // PAGE) * PAGE
        vm.madvise(page, PAGE, ATOMIC, val=CPU)
        vm.queue().store(page, value)
        landed(Buffer(page, PAGE), 0, value)
    finally:
        libc.free(address)
    collect(vm, elsewhere)
    assert mode(vm, page) == CPU
    libc.free(keeper)


@behaviour("madvise.autoreset.needs-range")
@acts("ioctl")
@known(FINDING, first="6.18", signature="assert mode(vm, address) == #: # == #")
def test_memory_the_gpu_never_touched_is_reset(vm: Vm, memory: Memory, buffer: Buffer) -> None:
    """munmap(2) of memory that the GPU never accessed resets its attributes."""
    elsewhere, address = memory(PAGE), buffer.address
    buffer.munmap(0, SZ_2M)
    collect(vm, elsewhere)
    assert mode(vm, address + SZ_2M) == CPU
    assert mode(vm, address) == 0


@behaviour("madvise.autoreset.granularity")
@acts("store", "ioctl")
@known(
    FINDING,
    first="6.18",
    signature="assert [mode(vm, address + other) for other in others] == [CPU, CPU]: [#, #] == [#, #]",
)
@pytest.mark.parametrize("offset", [0, SZ_2M // 2, SZ_2M - PAGE], ids=["first", "middle", "last"])
def test_only_the_unmapped_page_is_reset(
    vm: Vm, memory: Memory, buffer: Buffer, sentinel: Sentinel, offset: int
) -> None:
    """munmap(2) of one page of a range resets the attributes of that page, and not of adjacent pages."""
    elsewhere, value, address = memory(PAGE), sentinel(), buffer.address
    vm.queue().store(address + PAGE, value)
    landed(buffer, PAGE, value)
    buffer.munmap(offset, PAGE)
    collect(vm, elsewhere)
    assert mode(vm, address + offset) == 0
    others = [other for other in (0, SZ_2M // 2, SZ_2M - PAGE) if other != offset]
    assert [mode(vm, address + other) for other in others] == [CPU, CPU]
