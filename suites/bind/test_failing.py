# SPDX-License-Identifier: MIT
"""VM_BIND that fails half-way: its errno, and that it is undone (xe_vm.c: xe_vm_bind_ioctl, from unwind_ops on)."""

from __future__ import annotations

import errno

import pytest

from fixtures import acts, behaviour, driver_only, failing, gpu_finds, known, needs
from fixtures.given import MakeBo, Sentinel
from fixtures.sizes import SZ_64K
from fixtures.xe.flags import UNMAP
from fixtures.xe.queue import Queue
from fixtures.xe.sync import UserFence
from fixtures.xe.vm import Vm
from ioctl import errno_name

AT = 1 << 32

STEPS = (
    "xe_sync_entry_parse",
    "vm_bind_ioctl_ops_create",
    "xe_vma_ops_alloc",
    "vm_bind_ioctl_ops_execute",
    "xe_pt_update_ops_prepare",
    "xe_pt_update_ops_run",
)
"""Steps of VM_BIND that the kernel lets fail, in their order."""

pytestmark = needs("fault-injection")


class Change:
    """Two BOs over parts of a third one, by one VM_BIND of as many operations as asked for."""

    def __init__(self, queue: Queue, bo: MakeBo, sentinel: Sentinel) -> None:
        self.queue, self.vm = queue, queue.vm
        self.old, self.new = bo(4 * SZ_64K), [bo(SZ_64K), bo(SZ_64K)]
        self.vm.map(self.old, AT)
        self.before = {AT + index * SZ_64K: sentinel() for index in range(4)}
        queue.store_all(self.before)
        self.stored = [sentinel() for _ in self.new]
        for made, value in zip(self.new, self.stored, strict=True):
            made.map().set_u32(0, value)

    def prepare(self, count: int) -> None:
        """So that ``bind`` needs no memory but the kernel's."""
        self.operations = [
            self.vm.operation(addr=AT + (2 * index + 1) * SZ_64K, range=SZ_64K, obj=made.handle)
            for index, made in enumerate(self.new[:count])
        ]
        self.fence = UserFence(self.vm.device)
        self.syncs = [self.fence.sync()]

    def bind(self) -> None:
        """VM_BIND of the BOs over the second block, or the second and the fourth. Does not wait."""
        self.vm.bind_array(self.operations, syncs=self.syncs)

    def areas(self) -> list[bytes]:
        """Values of the four blocks."""
        return [bytes(area) for area in self.vm.attributes(AT, 4 * SZ_64K)]

    def has_not_happened(self) -> None:
        """The GPU finds what it found before."""
        gpu_finds(self.queue, self.before)

    def has_happened(self) -> None:
        """The GPU finds the BOs in their places and the rest as it was."""
        self.fence.wait()
        places = [operation.addr for operation in self.operations]
        gpu_finds(self.queue, self.before | dict(zip(places, self.stored, strict=False)))

    def undo(self) -> None:
        """All of it is the old BO again."""
        self.vm.map(self.old, AT)


@pytest.fixture
def change(lr_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> Change:
    """A change to a VM whose old state is known."""
    return Change(lr_vm.queue(), bo, sentinel)


@behaviour("bind.array.atomic", "bind.unwind.remap", "bind.errors.synchronous")
@acts("refusal", "load")
@needs("range-attributes")
@pytest.mark.parametrize(
    ("step", "count", "after"),
    [(step, count, 0) for step in STEPS for count in (1, 2)] + [("vm_bind_ioctl_ops_create", 2, 1)],
)
def test_bind_failing_at_any_step_changes_nothing(change: Change, step: str, count: int, after: int) -> None:
    """If a step of VM_BIND fails, the ioctl returns its errno, nothing changes for the GPU, and a retry works."""
    change.prepare(count)
    before = change.areas()
    with failing.refused_at(step, errno.ENOMEM, after=after):
        change.bind()
    change.has_not_happened()
    assert change.areas() == before
    change.bind()
    change.has_happened()


@behaviour("bind.unmap.never-resource-fails")
@acts("ioctl", "load")
@known(
    "UNMAP fails where an allocation fails",
    first="6.17",
    signature="UNMAP gave ENOMEM",
    acts=("load",),
)
@pytest.mark.parametrize("part", ["whole", "start", "middle", "end"])
def test_unmap_without_memory_succeeds(change: Change, part: str) -> None:
    """UNMAP of a mapping or a part of it is carried out, whichever allocation fails."""
    blocks = {"whole": range(4), "start": range(1), "middle": range(1, 3), "end": range(3, 4)}[part]
    fence = UserFence(change.vm.device)
    syncs = [fence.sync()]

    def unmap() -> None:
        change.vm.bind(UNMAP, addr=AT + blocks.start * SZ_64K, range=len(blocks) * SZ_64K, syncs=syncs)

    codes = []
    for code in failing.each_allocation(unmap):
        codes.append(code)
        if code:
            change.has_not_happened()
    assert codes[-1] == 0
    gpu_finds(
        change.queue,
        {at: value for at, value in change.before.items() if (at - AT) // SZ_64K not in blocks},
    )
    failed = [errno_name(code) for code in codes if code]
    assert not failed, f"UNMAP gave {failed[0]}"


@behaviour("bind.enobufs-array-of-2", "bind.array.atomic")
@acts("ioctl", "load")
@pytest.mark.parametrize("count", [1, 2], ids=["single", "array"])
def test_array_bind_without_memory_is_enobufs(change: Change, count: int) -> None:
    """Whichever allocation fails, two binds give ENOBUFS or ENOMEM, one gives ENOMEM, and nothing changes."""
    codes = []
    change.prepare(count)
    for code in failing.each_allocation(change.bind):
        codes.append(code)
        if code:
            change.has_not_happened()
        else:
            change.has_happened()
            change.undo()
            change.prepare(count)
    assert set(codes) <= {0, errno.ENOMEM, errno.ENOBUFS}
    assert errno.ENOMEM in codes
    if count == 1:
        with driver_only("bind.enobufs-array-of-2"):
            assert errno.ENOBUFS not in codes
    else:
        with driver_only("bind.enobufs-array-of-2"):
            assert codes.count(errno.ENOBUFS) >= 2, "the array of operations, and that of page table updates"
