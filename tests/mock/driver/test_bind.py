# SPDX-License-Identifier: MIT
"""VM_BIND: argument rules, every kind of mapping, splits, arrays all or nothing, syncs."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from gpu import Batch
from ioctl import drm, xe
from mock.driver.lib.fence import Fence
from mock.driver.lib.sizes import SZ_2M, SZ_4K
from tests.mock.driver.double import fields
from tests.mock.driver.gpu_client import (
    BATCH,
    DATA,
    FAULT,
    LR,
    SCRATCH,
    Gpu,
    in_syncobj,
    out_syncobj,
    user_fence,
)

REQUEST = xe.DRM_IOCTL_XE_VM_BIND
MAP = xe.DRM_XE_VM_BIND_OP_MAP
UNMAP = xe.DRM_XE_VM_BIND_OP_UNMAP
USERPTR = xe.DRM_XE_VM_BIND_OP_MAP_USERPTR
UNMAP_ALL = xe.DRM_XE_VM_BIND_OP_UNMAP_ALL
PREFETCH = xe.DRM_XE_VM_BIND_OP_PREFETCH
NULL = xe.DRM_XE_VM_BIND_FLAG_NULL
MIRROR = xe.DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR
DECOMPRESS = xe.DRM_XE_VM_BIND_FLAG_DECOMPRESS
AUTORESET = xe.DRM_XE_VM_BIND_FLAG_MADVISE_AUTORESET
IMMEDIATE = xe.DRM_XE_VM_BIND_FLAG_IMMEDIATE
READONLY = xe.DRM_XE_VM_BIND_FLAG_READONLY
SIZE = 0x10000
INCOHERENT, COMPRESSED, RESERVED_PAT = 0, 9, 17


def layout(gpu: Gpu, vm: int) -> list[tuple[int, int, str, int]]:
    """(start, end, kind, offset) of the VMAs."""
    found = gpu.client.file.vms.get(vm)
    assert found is not None
    return [(vma.start, vma.end, vma.kind.value, vma.offset) for vma in found.vmas]


def mapped(gpu: Gpu, vm: int) -> list[tuple[int, int]]:
    """Runs of present page table entries."""
    found = gpu.client.file.vms.get(vm)
    assert found is not None
    return [(run.start, run.end) for run in found.page_tables[0].runs(0, 1 << 57) if run.present]


# Argument rules

HEADER = {
    "pad": {"pad": 1},
    "pad2": {"pad2": 1},
    "reserved": {"reserved": [0, 1]},
    "extensions": {"extensions": 8},
    "too many syncs": {"num_syncs": xe.DRM_XE_MAX_SYNCS + 1},
}


@pytest.mark.parametrize("values", HEADER.values(), ids=HEADER.keys())
def test_bad_header_is_einval(gpu: Gpu, values: dict[str, Any]) -> None:
    arg = gpu.bind_arg(gpu.vm(), gpu.op(obj=gpu.bo(), addr=0, range=SIZE))
    for name, value in values.items():
        if isinstance(value, list):
            arg.reserved[1] = 1
        else:
            setattr(arg, name, value)
    assert gpu.client.refused(REQUEST, arg) == errno.EINVAL


@pytest.mark.parametrize(
    ("values", "flags", "expected"),
    [
        ({"op": 5}, 0, errno.EINVAL),
        ({"flags": 1 << 8}, 0, errno.EINVAL),
        ({"pat_index": 32}, 0, errno.EINVAL),
        ({"pat_index": RESERVED_PAT}, 0, errno.EINVAL),
        ({"obj": 0}, 0, errno.EINVAL),
        ({"obj": 99}, 0, errno.ENOENT),
        ({"flags": NULL}, 0, errno.EINVAL),
        ({"obj": 0, "flags": NULL, "obj_offset": SZ_4K}, 0, errno.EINVAL),
        ({"obj": 0, "flags": MIRROR}, 0, errno.EINVAL),
        ({"obj": 0, "flags": MIRROR}, LR, errno.EINVAL),
        ({"flags": MIRROR}, FAULT, errno.EINVAL),
        ({"obj": 0, "flags": MIRROR, "obj_offset": SZ_4K}, FAULT, errno.EINVAL),
        ({"obj": 0, "op": UNMAP, "flags": NULL}, 0, errno.EINVAL),
        ({"obj": 0, "op": UNMAP, "flags": MIRROR}, FAULT, errno.EINVAL),
        ({"obj": 0, "op": PREFETCH, "flags": MIRROR}, FAULT, errno.EINVAL),
        ({"op": UNMAP}, 0, errno.EINVAL),
        ({"op": UNMAP_ALL, "obj": 0, "addr": 0, "range": 0}, 0, errno.EINVAL),
        ({"op": UNMAP_ALL, "addr": SZ_4K, "range": 0}, 0, errno.EINVAL),
        ({"op": UNMAP_ALL, "addr": 0}, 0, errno.EINVAL),
        ({"op": USERPTR}, 0, errno.EINVAL),
        ({"op": USERPTR, "obj": 0, "pat_index": INCOHERENT}, 0, errno.EINVAL),
        ({"op": USERPTR, "obj": 0, "pat_index": COMPRESSED}, 0, errno.EINVAL),
        ({"op": PREFETCH}, 0, errno.EINVAL),
        ({"op": PREFETCH, "obj": 0, "prefetch_mem_region_instance": 2}, 0, errno.EINVAL),
        ({"op": PREFETCH, "obj": 0, "prefetch_mem_region_instance": 32}, 0, errno.EINVAL),
        ({"prefetch_mem_region_instance": 1}, 0, errno.EINVAL),
        ({"flags": AUTORESET}, FAULT, errno.EINVAL),
        ({"flags": DECOMPRESS, "pat_index": COMPRESSED}, 0, errno.EINVAL),
        ({"op": UNMAP, "obj": 0, "flags": DECOMPRESS}, 0, errno.EINVAL),
        ({"obj_offset": 8, "range": SZ_4K}, 0, errno.EINVAL),
        ({"addr": 8}, 0, errno.EINVAL),
        ({"range": 8}, 0, errno.EINVAL),
        ({"range": 0}, 0, errno.EINVAL),
        ({"op": UNMAP, "obj": 0, "range": 0}, 0, errno.EINVAL),
        ({"range": SIZE + SZ_4K}, 0, errno.EINVAL),
        ({"obj_offset": SZ_4K}, 0, errno.EINVAL),
        ({"obj_offset": (1 << 64) - SZ_4K}, 0, errno.EINVAL),
        ({"addr": (1 << 48) - SZ_4K}, 0, errno.EINVAL),
        ({"obj": 0, "op": UNMAP, "addr": 0, "range": (1 << 48) + SZ_4K}, 0, errno.EINVAL),
        ({"pat_index": INCOHERENT}, 0, errno.EINVAL),
    ],
)
def test_bad_operation_is_refused(gpu: Gpu, values: dict[str, Any], flags: int, expected: int) -> None:
    base = {"obj": gpu.bo(), "addr": DATA, "range": SIZE}
    arg = gpu.bind_arg(gpu.vm(flags), gpu.op(**{**base, **values}))
    assert gpu.client.refused(REQUEST, arg) == expected


def test_decompress_needs_a_discrete_xe2(open_client) -> None:  # type: ignore[no-untyped-def]
    for platform, expected in (("bmg", None), ("lnl", errno.EOPNOTSUPP)):
        gpu = Gpu(open_client(platform))
        arg = gpu.bind_arg(gpu.vm(), gpu.op(obj=gpu.bo(), addr=DATA, range=SIZE, flags=DECOMPRESS))
        assert gpu.client.refused(REQUEST, arg) == expected


def test_incoherent_mirror_is_only_for_discrete_gpus(open_client) -> None:  # type: ignore[no-untyped-def]
    for platform, expected in (("bmg", None), ("lnl", errno.EINVAL)):
        gpu = Gpu(open_client(platform))
        op = gpu.op(range=SIZE, flags=MIRROR, pat_index=INCOHERENT)
        assert gpu.client.refused(REQUEST, gpu.bind_arg(gpu.vm(FAULT), op)) == expected


def test_flags_of_later_kernels_are_unknown_to_older_ones(open_client) -> None:  # type: ignore[no-untyped-def]
    gpu = Gpu(open_client("bmg", "6.17"))
    op = gpu.op(range=SIZE, flags=MIRROR | AUTORESET)
    assert gpu.client.refused(REQUEST, gpu.bind_arg(gpu.vm(FAULT), op)) == errno.EINVAL
    gpu.mirror(gpu.vm(FAULT))


def test_unknown_vm_is_einval_and_unknown_queue_enoent(gpu: Gpu) -> None:
    op = gpu.op(range=SIZE, flags=NULL)
    assert gpu.client.refused(REQUEST, gpu.bind_arg(9, op)) == errno.EINVAL
    vm = gpu.vm()
    assert gpu.client.refused(REQUEST, gpu.bind_arg(vm, op, queue=9)) == errno.ENOENT
    assert gpu.client.refused(REQUEST, gpu.bind_arg(vm, op, queue=gpu.queue(vm))) == errno.EINVAL
    assert (
        gpu.client.refused(REQUEST, gpu.bind_arg(vm, op, queue=gpu.queue(gpu.vm(), (5, 0, 0))))
        == errno.EINVAL
    )


def test_vram_of_64k_pages_wants_aligned_binds(open_client) -> None:  # type: ignore[no-untyped-def]
    gpu = Gpu(open_client("pvc"))
    vm, bo = gpu.vm(), gpu.bo(0x20000, placement=2)
    for values in ({"addr": SZ_4K}, {"range": SZ_4K}, {"obj_offset": SZ_4K}):
        op = gpu.op(**{"obj": bo, "addr": 0, "range": SIZE, "pat_index": 3, **values})
        assert gpu.client.refused(REQUEST, gpu.bind_arg(vm, op)) == errno.EINVAL
    gpu.bind(vm, gpu.op(obj=bo, addr=SIZE, range=SIZE, obj_offset=SIZE, pat_index=3))


def test_array_out_of_memory_is_efault_and_an_absurd_one_enobufs(gpu: Gpu) -> None:
    vm = gpu.vm()
    for count, expected in ((2, errno.EFAULT), (1 << 31, errno.ENOBUFS)):
        arg = xe.drm_xe_vm_bind(vm_id=vm, num_binds=count, vector_of_binds=64)
        assert gpu.client.refused(REQUEST, arg) == expected


# Mappings


def test_partial_unmap_leaves_both_ends(gpu: Gpu) -> None:
    vm, bo = gpu.vm(), gpu.bo()
    gpu.map(vm, bo, DATA)
    gpu.unmap(vm, DATA + 0x4000, 0x4000)
    assert layout(gpu, vm) == [
        (DATA, DATA + 0x4000, "bo", 0),
        (DATA + 0x8000, DATA + 0x10000, "bo", 0x8000),
    ]
    assert mapped(gpu, vm) == [(DATA, DATA + 0x4000), (DATA + 0x8000, DATA + 0x10000)]


def test_map_over_a_mapping_replaces_that_part(gpu: Gpu) -> None:
    vm, bo, other = gpu.vm(), gpu.bo(), gpu.bo()
    gpu.map(vm, bo, DATA)
    gpu.map(vm, other, DATA + 0x4000, 0x4000)
    gpu.write(bo, 0x4000, b"old!")
    gpu.write(other, 0, b"new!")
    space = gpu.client.file.vms.get(vm).spaces[0]  # type: ignore[union-attr]
    assert space.read(DATA + 0x4000, 4) == b"new!"
    assert len(layout(gpu, vm)) == 3


def test_null_mapping_reads_zero_and_drops_writes(gpu: Gpu) -> None:
    vm = gpu.vm()
    gpu.bind(vm, gpu.op(addr=DATA, range=SIZE, flags=NULL, pat_index=0))
    space = gpu.client.file.vms.get(vm).spaces[0]  # type: ignore[union-attr]
    space.write(DATA, b"gone")
    assert space.read(DATA, 4) == bytes(4)


def test_unmap_all_takes_every_mapping_of_the_object(gpu: Gpu) -> None:
    vm, bo, other = gpu.vm(), gpu.bo(), gpu.bo()
    for index in range(3):
        gpu.map(vm, bo, DATA + index * 0x100000)
    gpu.map(vm, other, BATCH)
    gpu.bind(vm, gpu.op(UNMAP_ALL, obj=bo))
    assert layout(gpu, vm) == [(BATCH, BATCH + SIZE, "bo", 0)]


def test_userptr_shows_the_clients_memory_and_bad_memory_is_efault(gpu: Gpu) -> None:
    vm = gpu.vm()
    memory = gpu.client.mm.map(SIZE)
    gpu.bind(vm, gpu.op(USERPTR, userptr=memory, addr=DATA, range=SIZE))
    gpu.client.mm.write(memory, b"hello")
    assert gpu.client.file.vms.get(vm).spaces[0].read(DATA, 5) == b"hello"  # type: ignore[union-attr]
    arg = gpu.bind_arg(vm, gpu.op(USERPTR, userptr=0x1000, addr=BATCH, range=SIZE))
    assert gpu.client.refused(REQUEST, arg) == errno.EFAULT
    assert len(layout(gpu, vm)) == 1
    readonly = gpu.client.mm.map(SIZE, writable=False)
    op = gpu.op(USERPTR, userptr=readonly, addr=BATCH, range=SIZE)
    assert gpu.client.refused(REQUEST, gpu.bind_arg(vm, op)) == errno.EPERM
    op.flags = READONLY
    gpu.bind(vm, op)


def test_map_of_a_fault_vm_waits_for_the_first_access(gpu: Gpu) -> None:
    vm, batch, data = gpu.vm(FAULT), gpu.bo(), gpu.bo()
    gpu.map(vm, batch, BATCH)
    gpu.map(vm, data, DATA, flags=IMMEDIATE)
    assert mapped(gpu, vm) == [(DATA, DATA + SIZE)]
    gpu.batch(batch, Batch().store_dword(DATA, 3).end())
    gpu.execute(gpu.queue(vm), syncs=(user_fence(DATA + 8, 1),))
    gpu.client.run(1)
    assert mapped(gpu, vm) == [(BATCH, BATCH + SIZE), (DATA, DATA + SIZE)]
    stats = gpu.client.file.device.gts[0].stats
    assert (stats["vma_pagefault_count"], stats["vma_pagefault_kb"]) == (1, SIZE // 1024)


def test_write_to_a_readonly_mapping_fails_with_eperm(gpu: Gpu) -> None:
    vm, batch, data = gpu.vm(FAULT), gpu.bo(), gpu.bo()
    gpu.map(vm, batch, BATCH)
    gpu.map(vm, data, DATA, flags=READONLY | IMMEDIATE)
    queue = gpu.queue(vm)
    gpu.batch(batch, Batch().store_dword(DATA, 3).end())
    gpu.execute(queue)
    gpu.client.run(1)
    assert gpu.banned(queue)
    assert "EPERM" in "".join(gpu.client.services.messages)


# CPU address mirrors


def test_mirrors_next_to_each_other_merge_and_take_the_flags_of_the_last(gpu: Gpu) -> None:
    vm = gpu.vm(FAULT)
    gpu.mirror(vm, 0, 1 << 40)
    gpu.mirror(vm, 1 << 40, SZ_2M, flags=READONLY)
    assert layout(gpu, vm) == [(0, (1 << 40) + SZ_2M, "cpu-addr-mirror", 0)]
    assert next(iter(gpu.client.file.vms.get(vm).vmas)).read_only  # type: ignore[union-attr]


def test_mirror_with_an_in_sync_is_refused_and_out_syncs_signal(gpu: Gpu) -> None:
    vm = gpu.vm(FAULT)
    sync = gpu.syncobj(drm.DRM_SYNCOBJ_CREATE_SIGNALED)
    op = gpu.op(range=SIZE, flags=MIRROR)
    assert gpu.client.refused(REQUEST, gpu.bind_arg(vm, op, syncs=(in_syncobj(sync),))) == errno.EOPNOTSUPP
    fence = gpu.client.mm.map(SZ_4K)
    gpu.bind(vm, op, syncs=(user_fence(fence, 77),))
    gpu.client.run(1)
    assert gpu.client.u64(fence) == 77


# Arrays


def test_array_is_all_or_nothing(gpu: Gpu) -> None:
    vm, bo, other = gpu.vm(), gpu.bo(), gpu.bo()
    gpu.map(vm, bo, DATA)
    before = layout(gpu, vm), mapped(gpu, vm)
    ops = (
        gpu.op(obj=other, addr=DATA + 0x4000, range=0x4000),
        gpu.op(UNMAP, addr=DATA, range=0x4000),
        gpu.op(UNMAP_ALL, obj=bo),
        gpu.op(USERPTR, userptr=0x1000, addr=BATCH, range=SIZE),
    )
    assert gpu.client.refused(REQUEST, gpu.bind_arg(vm, *ops)) == errno.EFAULT
    assert (layout(gpu, vm), mapped(gpu, vm)) == before
    gpu.bind(vm, *ops[:3])
    assert layout(gpu, vm) == [(DATA + 0x4000, DATA + 0x8000, "bo", 0)]


def test_no_operations_signal_syncobjs_but_not_user_fences(gpu: Gpu) -> None:
    vm, done = gpu.vm(), gpu.syncobj()
    gpu.bind(vm, syncs=(out_syncobj(done),))
    gpu.wait(done)
    fence = user_fence(gpu.client.mm.map(SZ_4K), 1)
    assert gpu.client.refused(REQUEST, gpu.bind_arg(vm, syncs=(fence,))) == errno.EOPNOTSUPP


# Syncs


def test_bind_waits_for_its_in_sync(gpu: Gpu) -> None:
    vm, bo, gate, done = gpu.vm(), gpu.bo(), gpu.syncobj(), gpu.syncobj()
    blocker, batch = gpu.vm(), gpu.bo()
    gpu.map(blocker, batch, BATCH)
    gpu.batch(batch, Batch().semaphore_wait(BATCH + 0x1000, 1).end())
    gpu.execute(gpu.queue(blocker), syncs=(out_syncobj(gate),))
    gpu.bind(vm, gpu.op(obj=bo, addr=DATA, range=SIZE), syncs=(in_syncobj(gate), out_syncobj(done)))
    gpu.client.services.loop.run_until(lambda: False, 0.05)
    assert mapped(gpu, vm) == []
    assert len(layout(gpu, vm)) == 1
    gpu.write(batch, 0x1000, b"\1\0\0\0")
    gpu.wait(done)
    assert mapped(gpu, vm) == [(DATA, DATA + SIZE)]


def test_user_fence_stores_its_value_and_unmap_before_is_ebusy(gpu: Gpu) -> None:
    vm, bo = gpu.vm(), gpu.bo()
    fence = gpu.client.mm.map(SZ_4K)
    gpu.bind(vm, gpu.op(obj=bo, addr=DATA, range=SIZE), syncs=(user_fence(fence, 0xFEED),))
    unmap = gpu.bind_arg(vm, gpu.op(UNMAP, addr=DATA, range=SIZE))
    assert gpu.client.refused(REQUEST, unmap) == errno.EBUSY
    assert len(layout(gpu, vm)) == 1
    gpu.client.run(1)
    assert gpu.client.u64(fence) == 0xFEED
    gpu.client.call(REQUEST, unmap)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda address: (user_fence(address, 1), user_fence(address + 8, 2)), errno.EINVAL),
        (lambda address: (user_fence(address + 4, 1),), errno.EINVAL),
        (lambda address: (user_fence(8, 1),), errno.EFAULT),
        (lambda address: (fields(xe.drm_xe_sync, type=2, addr=address),), errno.EOPNOTSUPP),
    ],
)
def test_bad_user_fence_is_refused(gpu: Gpu, make: Any, expected: int) -> None:
    syncs = make(gpu.client.mm.map(SZ_4K))
    arg = gpu.bind_arg(gpu.vm(), gpu.op(range=SIZE, flags=NULL), syncs=syncs)
    assert gpu.client.refused(REQUEST, arg) == expected


# Placement


def test_prefetch_moves_the_object(gpu: Gpu) -> None:
    vm, both, system = gpu.vm(), gpu.bo(placement=3), gpu.bo()
    gpu.map(vm, both, DATA)
    gpu.map(vm, system, BATCH)
    bo = gpu.client.file.bos.get(both)
    assert bo is not None
    assert bo.in_vram
    gpu.bind(vm, gpu.op(PREFETCH, addr=DATA, range=SIZE))
    assert not bo.in_vram
    gpu.bind(vm, gpu.op(PREFETCH, addr=DATA, range=SIZE, prefetch_mem_region_instance=1))
    assert bo.in_vram
    arg = gpu.bind_arg(vm, gpu.op(PREFETCH, addr=BATCH, range=SIZE, prefetch_mem_region_instance=1))
    assert gpu.client.refused(REQUEST, arg) == errno.EINVAL


def test_prefetch_of_nothing_is_no_error(gpu: Gpu) -> None:
    gpu.bind(gpu.vm(), gpu.op(PREFETCH, addr=DATA, range=SIZE))


def test_mapping_of_a_scratch_fault_vm_leaves_the_scratch_page(gpu: Gpu) -> None:
    vm, bo = gpu.vm(FAULT | SCRATCH), gpu.bo()
    gpu.map(vm, bo, DATA)
    found = gpu.client.file.vms.get(vm)
    assert found is not None
    runs = list(found.page_tables[0].runs(0, 1 << 48))
    assert [(run.start, run.end, run.present) for run in runs] == [(DATA, DATA + SIZE, False)]


def test_binds_wait_for_each_other_only_when_they_change_the_same_page_tables(gpu: Gpu) -> None:
    vm, bo = gpu.vm(), gpu.bo()
    gate = gpu.client.file.syncobjs.get(gpu.syncobj())
    assert gate is not None
    fence = Fence()
    gate.replace(fence)
    slow, quick = gpu.queue(vm, (5, 0, 0)), gpu.queue(vm, (5, 0, 0))
    gpu.map(vm, bo, DATA)
    gpu.bind(vm, gpu.op(obj=bo, addr=1 << 30, range=SIZE), syncs=(in_syncobj(1),), queue=slow)
    gpu.bind(vm, gpu.op(obj=bo, addr=1 << 40, range=SIZE), queue=quick)
    assert (1 << 40, (1 << 40) + SIZE) in mapped(gpu, vm)
    gpu.bind(vm, gpu.op(obj=bo, addr=(1 << 30) + (1 << 20), range=SIZE), queue=gpu.queue(vm, (5, 0, 0)))
    assert mapped(gpu, vm) == [(DATA, DATA + SIZE), (1 << 40, (1 << 40) + SIZE)]
    fence.signal()
    assert len(mapped(gpu, vm)) == 4


def test_pat_index_and_the_objects_compression_and_caching(gpu: Gpu) -> None:
    vm = gpu.vm()
    plain = gpu.bo(caching=2)
    bare = gpu.bo(caching=2, flags=xe.DRM_XE_GEM_CREATE_FLAG_NO_COMPRESSION)
    for obj, pat, flags, expected in (
        (plain, COMPRESSED, 0, None),
        (plain, COMPRESSED, DECOMPRESS, errno.EINVAL),
        (plain, INCOHERENT, 0, None),
        (bare, COMPRESSED, 0, errno.EINVAL),
        (bare, INCOHERENT, 0, None),
    ):
        op = gpu.op(obj=obj, addr=DATA, range=SIZE, pat_index=pat, flags=flags)
        assert gpu.client.refused(REQUEST, gpu.bind_arg(vm, op)) == expected


def test_banned_vm_takes_no_binds_queues_or_jobs(gpu: Gpu) -> None:
    vm = gpu.vm()
    queue = gpu.queue(vm)
    found = gpu.client.file.vms.get(vm)
    assert found is not None
    found.banned = True
    assert gpu.client.refused(REQUEST, gpu.bind_arg(vm, gpu.op(range=SIZE, flags=NULL))) == errno.ENOENT
    assert gpu.client.refused(xe.DRM_IOCTL_XE_EXEC, gpu.exec_arg(queue)) == errno.ECANCELED
    for engine in ((1, 0, 0), (5, 0, 0)):
        create = gpu.queue_arg(vm, engine)
        assert gpu.client.refused(xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, create) == errno.ENOENT


def test_mirror_that_the_gpu_maps_is_busy(gpu: Gpu) -> None:
    vm, batch = gpu.vm(FAULT), gpu.bo()
    memory = gpu.client.mm.map(0x10000, align=0x10000)
    gpu.mirror(vm, memory, 0x10000)
    gpu.map(vm, batch, BATCH)

    def unmap(address: int, size: int) -> int | None:
        op = gpu.op(xe.DRM_XE_VM_BIND_OP_UNMAP, addr=address, range=size)
        return gpu.client.refused(REQUEST, gpu.bind_arg(vm, op))

    gpu.batch(batch, Batch().store_dword(memory + 0x4000, 7).end())
    gpu.execute(gpu.queue(vm))
    gpu.client.run(1)
    assert gpu.client.u32(memory + 0x4000) == 7
    gpu.execute(gpu.queue(vm))
    gpu.client.run(1)
    assert unmap(memory, 0x8000) == errno.EBUSY
    assert unmap(memory, 0x10000) == errno.EBUSY
    gpu.client.mm.unmap(memory)
    gpu.client.run(1)
    assert unmap(memory, 0x8000) is None
    assert unmap(memory + 0x8000, 0x8000) is None
