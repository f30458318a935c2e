# SPDX-License-Identifier: MIT
"""DUMPABLE: which memory of a VM the driver dumps when a batch fails (xe_vm.c: xe_vm_snapshot_capture)."""

from __future__ import annotations

import errno
import random

import pytest

from fixtures import acts, behaviour, gpu_fault, needs
from fixtures.given import MakeBo, MakeVm, Memory
from fixtures.sizes import SZ_64K
from fixtures.xe import coredump
from fixtures.xe.flags import DUMPABLE
from fixtures.xe.vm import FAULTING, PLAIN, Vm

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""

pytestmark = needs("coredump")

MODES = pytest.mark.parametrize(
    "mode",
    [pytest.param(PLAIN, id="plain"), pytest.param(FAULTING, id="fault", marks=needs("page-faults"))],
)


def dumped(vm: Vm) -> dict[int, coredump.DumpedArea]:
    """The VMAs in the dump of a batch that stores where nothing is bound."""

    def fail() -> None:
        with gpu_fault(vm.queue()) as queue:
            queue.store(AT - SZ_64K, 1)

    return coredump.areas(coredump.dump(vm.device, fail))


@behaviour("bind.dumpable")
@acts("refusal")
@MODES
def test_dumpable_bos_are_in_devcoredump(make_vm: MakeVm, bo: MakeBo, rng: random.Random, mode: int) -> None:
    """The device core dump has the memory of a BO bound with DUMPABLE, and not that of one bound without it."""
    vm, data = make_vm(mode), rng.randbytes(SZ_64K)
    kept, other = bo(SZ_64K), bo(SZ_64K)
    kept.map().write(0, data)
    other.map().write(0, rng.randbytes(SZ_64K))
    vm.map(kept, AT, flags=DUMPABLE)
    vm.map(other, AT + SZ_64K)
    assert dumped(vm) == {AT: coredump.DumpedArea(SZ_64K, data, 0)}


@behaviour("userptr.snapshot")
@acts("refusal")
@MODES
def test_dumpable_userptrs_are_in_devcoredump(
    make_vm: MakeVm, memory: Memory, rng: random.Random, mode: int
) -> None:
    """The device core dump has the contents of process memory bound with DUMPABLE."""
    vm, data = make_vm(mode), rng.randbytes(SZ_64K)
    buffer, other = memory(SZ_64K), memory(SZ_64K)
    buffer.write(0, data)
    vm.map_userptr(AT, buffer.address, SZ_64K, flags=DUMPABLE)
    vm.map_userptr(AT + SZ_64K, other.address, SZ_64K)
    assert dumped(vm) == {AT: coredump.DumpedArea(SZ_64K, data, 0)}


@behaviour("userptr.snapshot")
@acts("refusal")
@MODES
def test_unmapped_userptr_is_efault_in_devcoredump(make_vm: MakeVm, memory: Memory, mode: int) -> None:
    """For process memory that was unmapped the device core dump has EFAULT instead of data."""
    vm, buffer = make_vm(mode), memory(SZ_64K)
    vm.map_userptr(AT, buffer.address, SZ_64K, flags=DUMPABLE)
    buffer.munmap()
    assert dumped(vm) == {AT: coredump.DumpedArea(SZ_64K, None, errno.EFAULT)}


@behaviour("bind.dumpable")
@acts("refusal")
@needs("page-faults")
def test_dumpable_mirror_is_enoent_in_devcoredump(fault_vm: Vm) -> None:
    """For a mirror bound with DUMPABLE the device core dump has ENOENT instead of data."""
    fault_vm.mirror(AT, SZ_64K, flags=DUMPABLE)
    assert dumped(fault_vm) == {AT: coredump.DumpedArea(SZ_64K, None, errno.ENOENT)}
