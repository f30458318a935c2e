# SPDX-License-Identifier: MIT
"""VM_BIND: what a bind does to the GPU's view of memory: order, arrays, unbinding, fences (xe_vm.c)."""

from __future__ import annotations

import errno

import pytest

from fixtures import acts, behaviour, driver_only, gpu_fault, gpu_sees, known, landed, needs, refused
from fixtures.given import MakeBo, MakeSyncobj, MakeVm, Memory, OpenDevice, Sentinel
from fixtures.sizes import SZ_1G, SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.flags import IMMEDIATE, MAP, NULL, UNMAP, UNMAP_ALL
from fixtures.xe.sync import UserFence
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

AT = 0x10_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""


@behaviour("bind.unmap.munmap-semantics")
@acts("load", "ioctl")
@needs("range-attributes")
def test_unmap_across_bindings_keeps_both_ends(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """UNMAP across the ends of two mappings leaves the rest of both, with their data."""
    left, right = bo(2 * SZ_64K), bo(2 * SZ_64K)
    contents = left.map(), right.map()
    values = [sentinel() for _ in range(2)]
    contents[0].set_u32(0, values[0])
    contents[1].set_u32(SZ_64K, values[1])
    plain_vm.map(left, AT)
    plain_vm.map(right, AT + 3 * SZ_64K)
    plain_vm.unmap(AT + SZ_64K, 3 * SZ_64K)
    gpu_sees(plain_vm.queue(), AT, values[0])
    gpu_sees(plain_vm.queue(), AT + 4 * SZ_64K, values[1])
    spans = [(area.start, area.end) for area in plain_vm.attributes(AT, 5 * SZ_64K)]
    assert spans == [(AT, AT + SZ_64K), (AT + 4 * SZ_64K, AT + 5 * SZ_64K)]


@behaviour("bind.unmap.munmap-semantics", "fault.no-gpu-vma")
@acts("store", "refusal")
@needs("page-faults")
def test_partial_unmap_of_bo_keeps_rest(fault_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """After UNMAP of part of a BO in use, a store to that part fails, and one to the rest lands."""
    target = bo(2 * SZ_64K)
    content, queue, kept = target.map(), fault_vm.queue(), sentinel()
    fault_vm.map(target, AT)
    for offset, value in ((0, kept), (SZ_64K, sentinel())):
        queue.store(AT + offset, value)
        landed(content, offset, value)
    fault_vm.unmap(AT, SZ_64K)
    with driver_only("fault.no-gpu-vma"), gpu_fault(fault_vm.queue()) as other:
        other.store(AT, sentinel())
    assert content.u32(0) == kept
    value = sentinel()
    queue.store(AT + SZ_64K + 8, value)
    landed(content, SZ_64K + 8, value)


@behaviour("bind.array.order")
@acts("ioctl")
@needs("range-attributes")
@pytest.mark.parametrize(("first", "bound"), [(MAP, 1), (UNMAP, 2)], ids=["map-unmap", "unmap-map"])
def test_array_ops_take_effect_in_order(plain_vm: Vm, bo: MakeBo, first: int, bound: int) -> None:
    """MAP of two blocks then UNMAP of one in an array leaves one mapped; the reverse order leaves both mapped."""
    map_both = plain_vm.operation(MAP, addr=AT, range=2 * SZ_64K, obj=bo(2 * SZ_64K).handle)
    unmap_one = plain_vm.operation(UNMAP, addr=AT, range=SZ_64K)
    fence = UserFence(plain_vm.device)
    plain_vm.bind_array(
        [map_both, unmap_one] if first == MAP else [unmap_one, map_both], syncs=[fence.sync()]
    )
    fence.wait()
    (area,) = plain_vm.attributes(AT, 2 * SZ_64K)
    assert (area.start, area.end) == (AT + (2 - bound) * SZ_64K, AT + 2 * SZ_64K)


@behaviour("bind.array.atomic", "bind.errors.synchronous")
@acts("refusal", "load")
@needs("range-attributes")
@pytest.mark.parametrize("wrong", [0, 1, 3], ids=["first", "second", "last"])
def test_array_with_one_bad_bind_does_nothing(
    plain_vm: Vm, bo: MakeBo, sentinel: Sentinel, wrong: int
) -> None:
    """One unknown handle in an array gives ENOENT and undoes the rest: mappings and data are unchanged."""
    old, new = bo(2 * SZ_64K), bo(2 * SZ_64K)
    value = sentinel()
    old.map().set_u32(0, value)
    new.map().set_u32(0, sentinel())
    plain_vm.map(old, AT)
    operations = [
        plain_vm.operation(UNMAP, addr=AT, range=SZ_64K),
        plain_vm.operation(MAP, addr=AT, range=SZ_64K, obj=new.handle),
        plain_vm.operation(UNMAP, addr=AT + SZ_64K, range=SZ_64K),
        plain_vm.operation(MAP, addr=AT + 4 * SZ_64K, range=SZ_64K, obj=new.handle),
    ]
    operations[wrong] = plain_vm.operation(MAP, addr=AT, range=SZ_64K, obj=0x1234_5678)
    before = [bytes(area) for area in plain_vm.attributes(AT, 8 * SZ_64K)]
    with refused(errno.ENOENT):
        plain_vm.bind_array(operations)
    assert [bytes(area) for area in plain_vm.attributes(AT, 8 * SZ_64K)] == before
    gpu_sees(plain_vm.queue(), AT, value)


@behaviour("bind.array.atomic")
@acts("refusal", "ioctl")
@needs("page-faults", "range-attributes")
@known(
    "An array of binds that fails leaves a mirror split",
    first="6.15",
    last="6.18",
    signature="assert [bytes(area) for area in mirror_vm.attributes(#, mirror_vm.size)] == before",
)
def test_array_failing_with_ebusy_does_nothing(
    mirror_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """An array whose last bind gives EBUSY does not change the VMA that its first bind affects."""
    idle, used = memory(SZ_2M, align=SZ_2M), memory(SZ_2M, align=SZ_2M)
    value = sentinel()
    mirror_vm.queue().store(used.address, value)
    landed(used, 0, value)
    before = [bytes(area) for area in mirror_vm.attributes(0, mirror_vm.size)]
    with refused(errno.EBUSY):
        mirror_vm.bind_array(
            [
                mirror_vm.operation(MAP, addr=idle.address, range=SZ_64K, obj=bo(SZ_64K).handle),
                mirror_vm.operation(UNMAP, addr=used.address, range=used.size),
            ]
        )
    assert [bytes(area) for area in mirror_vm.attributes(0, mirror_vm.size)] == before


@behaviour("bind.null.rules", "fault.null-vma")
@acts("load")
@pytest.mark.parametrize("mode", ["plain_vm", pytest.param("fault_vm", marks=needs("page-faults"))])
def test_null_binding_reads_zero_and_drops_stores(
    request: pytest.FixtureRequest, bo: MakeBo, sentinel: Sentinel, mode: str
) -> None:
    """The GPU reads zeros from a NULL binding, also where it stored something, and stores there go nowhere."""
    vm = request.getfixturevalue(mode)
    vm.bind_and_wait(MAP, addr=AT, range=SZ_64K, flags=NULL)
    gpu_sees(vm.queue(), AT, 0)
    vm.queue().store(AT, sentinel())
    gpu_sees(vm.queue(), AT, 0)


@behaviour("bind.unmap-all.rules")
@acts("ioctl")
@needs("range-attributes")
def test_unmap_all_removes_every_binding_of_bo(plain_vm: Vm, bo: MakeBo) -> None:
    """UNMAP_ALL of a BO removes all of its mappings and none of another BO."""
    gone, kept = bo(SZ_64K), bo(SZ_64K)
    for index, obj in enumerate([gone, kept, gone]):
        plain_vm.map(obj, AT + index * SZ_64K)
    plain_vm.bind_and_wait(UNMAP_ALL, obj=gone.handle)
    assert [(area.start, area.end) for area in plain_vm.attributes(AT, 3 * SZ_64K)] == [
        (AT + SZ_64K, AT + 2 * SZ_64K)
    ]


@behaviour("bind.fence.after-effect")
@acts("store")
def test_batch_after_bind_fence_sees_binding(
    plain_vm: Vm, bo: MakeBo, syncobj: MakeSyncobj, sentinel: Sentinel
) -> None:
    """A batch that waits for the out-sync of a bind sees the new mapping."""
    target, done, value = bo(SZ_64K), syncobj(), sentinel()
    content = target.map()
    plain_vm.bind(MAP, addr=AT, range=SZ_64K, obj=target.handle, syncs=[done.sync()])
    plain_vm.queue().start(Batch().store_dword(AT, value).end(), syncs=[done.waiting()]).wait()
    landed(content, 0, value)


@behaviour("bind.order.same-queue", "bind.order.other-queue")
@acts("ioctl")
def test_waiting_bind_blocks_only_its_own_queue(
    plain_vm: Vm, bo: MakeBo, syncobj: MakeSyncobj, sentinel: Sentinel
) -> None:
    """Binds on a queue complete in order behind one that waits; a bind on another queue overtakes them."""
    binds = xe.drm_xe_engine_class_instance(engine_class=xe.DRM_XE_ENGINE_CLASS_VM_BIND)
    slow, quick, running = plain_vm.queue(binds), plain_vm.queue(binds), plain_vm.queue()
    gate, held, behind, passing = syncobj(), syncobj(), syncobj(), syncobj()
    target, go = bo(4 * SZ_64K), sentinel()
    content = target.map()
    plain_vm.map(target, AT)
    job = running.start(Batch().semaphore_wait(AT, go), syncs=[gate.sync()])
    place = {"obj": target.handle, "range": SZ_64K}
    plain_vm.bind(MAP, addr=AT + SZ_1G, syncs=[gate.waiting(), held.sync()], queue=slow.id, **place)
    plain_vm.bind(MAP, addr=AT + 2 * SZ_1G, syncs=[behind.sync()], queue=slow.id, **place)
    plain_vm.bind(MAP, addr=AT + (1 << 40), syncs=[passing.sync()], queue=quick.id, **place)
    passing.wait()
    assert not held.signalled
    assert not behind.signalled
    content.set_u32(0, go)
    job.wait()
    behind.wait()
    assert held.signalled


@behaviour("bind.deferred", "fault.bo-vma", "obs.vma-fault-counters")
@acts("fault", "store")
@needs("page-faults", "debugfs")
def test_bo_in_fault_mode_vm_is_mapped_on_fault(
    fault_vm: Vm, bo: MakeBo, sentinel: Sentinel, counters: Counters
) -> None:
    """In a fault-mode VM a MAP without IMMEDIATE signals its fence, and the first access faults it in."""
    target, value = bo(SZ_64K), sentinel()
    content = target.map()
    queue = fault_vm.queue()
    queue.run(Batch().noop())
    fault_vm.map(target, AT)
    before = counters.snapshot()
    queue.store(AT, value)
    with driver_only("obs.vma-fault-counters"):
        counters.rose("vma_pagefault_count", since=before)
    landed(content, 0, value)


@behaviour("bind.immediate", "obs.vma-fault-counters")
@acts("store")
@needs("page-faults", "debugfs")
def test_immediate_bo_bind_does_not_fault(
    fault_vm: Vm, bo: MakeBo, sentinel: Sentinel, counters: Counters
) -> None:
    """MAP with IMMEDIATE in a fault-mode VM maps the BO at once: the first access does not fault."""
    target, value = bo(SZ_64K), sentinel()
    content = target.map()
    queue = fault_vm.queue()
    queue.run(Batch().noop())
    fault_vm.map(target, AT, flags=IMMEDIATE)
    before = counters.snapshot()
    queue.store(AT, value)
    with driver_only("obs.vma-fault-counters"):
        counters.still("vma_pagefault_count", since=before)
    landed(content, 0, value)


@behaviour("bind.map.unknown-obj")
@acts("refusal")
@needs("range-attributes")
def test_bo_handle_of_other_file_is_enoent(
    plain_vm: Vm, make_vm: MakeVm, open_device: OpenDevice, bo: MakeBo
) -> None:
    """A handle belongs to the file that created it: another file gets ENOENT and binds nothing."""
    strangers = make_vm(device=open_device())
    mine = [bo(SZ_64K) for _ in range(4)]
    with refused(errno.ENOENT):
        strangers.bind(MAP, addr=AT, range=SZ_64K, obj=mine[-1].handle)
    assert strangers.attributes(AT, SZ_64K) == []
