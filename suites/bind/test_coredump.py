# SPDX-License-Identifier: MIT
"""DUMPABLE: what of a VM the driver keeps when a batch fails (xe_vm.c: xe_vm_snapshot_capture)."""

import errno

import pytest

from fixtures import acts, behaviour, coredump, needs, refused
from fixtures.vm import FAULTING, PLAIN, Vm
from ioctl import xe

DUMPABLE = xe.DRM_XE_VM_BIND_FLAG_DUMPABLE

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
UNIT = 1 << 16

pytestmark = needs("coredump")

MODES = pytest.mark.parametrize(
    "mode",
    [pytest.param(PLAIN, id="plain"), pytest.param(FAULTING, id="fault", marks=needs("page-faults"))],
)


def dumped(vm: Vm) -> dict[int, coredump.DumpedArea]:
    """The areas in the dump of a batch that stores where nothing is bound."""

    def fail() -> None:
        with refused(errno.EIO):
            vm.queue().store(AT - UNIT, 1)

    return coredump.areas(coredump.dump(vm.device, fail))


@behaviour("bind.dumpable")
@acts("refusal")
@MODES
def test_dumpable_bos_are_in_devcoredump(make_vm, bo, rng, mode: int) -> None:
    """The memory of an object bound with DUMPABLE is in the device core dump, and that of one without it is not."""
    vm, data = make_vm(mode), rng.randbytes(UNIT)
    kept, other = bo(UNIT), bo(UNIT)
    kept.map().write(0, data)
    other.map().write(0, rng.randbytes(UNIT))
    vm.map(kept, AT, flags=DUMPABLE)
    vm.map(other, AT + UNIT)
    assert dumped(vm) == {AT: coredump.DumpedArea(UNIT, data, 0)}


@behaviour("userptr.snapshot")
@acts("refusal")
@MODES
def test_dumpable_userptrs_are_in_devcoredump(make_vm, memory, rng, mode: int) -> None:
    """Process memory bound with DUMPABLE is in the device core dump as it is in the process."""
    vm, data = make_vm(mode), rng.randbytes(UNIT)
    buffer, other = memory(UNIT), memory(UNIT)
    buffer.write(0, data)
    vm.map_userptr(AT, buffer.address, UNIT, flags=DUMPABLE)
    vm.map_userptr(AT + UNIT, other.address, UNIT)
    assert dumped(vm) == {AT: coredump.DumpedArea(UNIT, data, 0)}


@behaviour("userptr.snapshot")
@acts("refusal")
@MODES
def test_unmapped_userptr_is_efault_in_devcoredump(make_vm, memory, mode: int) -> None:
    """Of process memory that was unmapped the device core dump says EFAULT in place of data."""
    vm, buffer = make_vm(mode), memory(UNIT)
    vm.map_userptr(AT, buffer.address, UNIT, flags=DUMPABLE)
    buffer.munmap()
    assert dumped(vm) == {AT: coredump.DumpedArea(UNIT, None, errno.EFAULT)}


@behaviour("bind.dumpable")
@acts("refusal")
@needs("page-faults")
def test_dumpable_mirror_is_enoent_in_devcoredump(fault_vm: Vm) -> None:
    """A mirror bound with DUMPABLE is in the device core dump with ENOENT in place of data."""
    fault_vm.mirror(AT, UNIT, flags=DUMPABLE)
    assert dumped(fault_vm) == {AT: coredump.DumpedArea(UNIT, None, errno.ENOENT)}
