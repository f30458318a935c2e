# SPDX-License-Identifier: MIT
"""VM_CREATE that fails half-way (xe_vm.c: xe_vm_create, from the error labels on)."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterable

import pytest

from fixtures import FAULTING, LONG_RUNNING, PLAIN, acts, behaviour, failing, landed, needs, wait_until
from fixtures.given import MakeBo, MakeVm, Sentinel
from fixtures.sizes import SZ_64K
from fixtures.xe.device import Device
from fixtures.xe.flags import SCRATCH
from fixtures.xe.vm import Vm

AT = 1 << 32

TIMES = 8
"""VMs that fail in a row: what each of them left would add up."""

pytestmark = needs("fault-injection")


def used(device: Device) -> dict[int, int]:
    """Bytes of each memory region that are in use now."""
    return {region.instance: device.region(region.instance).used for region in device.known_regions}


def destroyed(device: Device, ids: Iterable[int]) -> list[int]:
    """Destroys the ids that named a VM, and returns them."""
    found = []
    for number in ids:
        with contextlib.suppress(FileNotFoundError):
            Vm.existing(device, number).close()
            found.append(number)
    return found


@pytest.fixture
def leaves_nothing(
    device: Device, plain_vm: Vm, make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel
) -> Callable[[], None]:
    """Checks that no VM but ``plain_vm`` is there and no more memory in use than was, and that a VM can be made."""
    made, value, before = bo(SZ_64K), sentinel(), used(device)

    def check() -> None:
        assert not destroyed(device, {*range(1, plain_vm.id + TIMES)} - {plain_vm.id})
        wait_until(lambda: used(device) == before, what="the release of what the failed VMs had")
        another = make_vm()
        another.map(made, AT)
        another.queue().store(AT, value)
        landed(made.map(), 0, value)

    return check


@behaviour("vm.create.failed-create-no-leak")
@acts("refusal", "store")
@pytest.mark.parametrize(
    ("step", "flags"),
    [
        pytest.param("xe_pt_create", PLAIN, id="page-table"),
        pytest.param("xe_pt_create", LONG_RUNNING, id="page-table-lr"),
        pytest.param("xe_pt_create", FAULTING, id="page-table-fault", marks=needs("page-faults")),
        pytest.param("xe_vm_create_scratch", PLAIN | SCRATCH, id="scratch"),
        pytest.param("xe_vm_create_scratch", LONG_RUNNING | SCRATCH, id="scratch-lr"),
        pytest.param("xe_exec_queue_create_bind", PLAIN, id="bind-queue"),
        pytest.param("xe_exec_queue_create_bind", LONG_RUNNING | SCRATCH, id="bind-queue-scratch-lr"),
        pytest.param(
            "xe_exec_queue_create_bind", FAULTING, id="bind-queue-fault", marks=needs("page-faults")
        ),
    ],
)
def test_vm_create_failing_at_any_step_leaks_nothing(
    device: Device, leaves_nothing: Callable[[], None], step: str, flags: int
) -> None:
    """If a step of VM_CREATE fails, the ioctl returns its ENOMEM, creates no VM, and leaks no memory."""
    for _ in range(TIMES):
        # If the device forces scratch pages, the kernel sets them in the flags even if the call fails.
        with failing.refused_at(step, errno.ENOMEM, may_change=["flags"]):
            Vm(device, flags)
    leaves_nothing()


@behaviour("vm.create.failed-create-no-leak")
@acts("ioctl", "store")
@pytest.mark.parametrize(
    "flags", [PLAIN | SCRATCH, LONG_RUNNING, pytest.param(FAULTING, marks=needs("page-faults"))], ids=hex
)
def test_failing_vm_create_allocations_leak_nothing(
    device: Device, leaves_nothing: Callable[[], None], flags: int
) -> None:
    """Whichever allocation of VM_CREATE fails, it gives ENOMEM or creates a VM, and leaks nothing."""
    made: list[Vm] = []
    codes = set()
    for code in failing.each_allocation(lambda: made.append(Vm(device, flags))):
        assert bool(code) != bool(made)
        codes.add(code)
        while made:
            made.pop().close()
    assert codes == {0, errno.ENOMEM}
    leaves_nothing()
