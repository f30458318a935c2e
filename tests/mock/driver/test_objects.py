# SPDX-License-Identifier: MIT
"""GEM_CREATE, GEM_MMAP_OFFSET, mmap checks, GEM_CLOSE, PRIME, eviction."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from gpu import Batch
from ioctl import drm, xe
from mock.driver.lib.sizes import SZ_4K, MiB
from mock.kernel import MapRequest
from tests.mock.driver.double import Client, Services, Task, fields
from tests.mock.driver.gpu_client import BATCH, DATA, FAULT, LR, Gpu, out_syncobj, user_fence

CREATE = xe.DRM_IOCTL_XE_GEM_CREATE
OFFSET = xe.DRM_IOCTL_XE_GEM_MMAP_OFFSET


def vram_used(gpu: Gpu) -> int:
    vram = gpu.client.file.device.tiles[0].vram
    assert vram is not None
    return vram.used


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"pad": [0, 0, 1]}, errno.EINVAL),
        ({"reserved": [1, 0]}, errno.EINVAL),
        ({"placement": 0}, errno.EINVAL),
        ({"placement": 4, "cpu_caching": 2}, errno.EINVAL),
        ({"flags": 1 << 4}, errno.EINVAL),
        ({"handle": 1}, errno.EINVAL),
        ({"size": 0}, errno.EINVAL),
        ({"size": 100}, errno.EINVAL),
        ({"cpu_caching": 0}, errno.EINVAL),
        ({"cpu_caching": 3}, errno.EINVAL),
        ({"placement": 2, "cpu_caching": 1}, errno.EINVAL),
        ({"placement": 3, "cpu_caching": 1}, errno.EINVAL),
        ({"flags": xe.DRM_XE_GEM_CREATE_FLAG_SCANOUT, "cpu_caching": 1}, errno.EINVAL),
        ({"flags": xe.DRM_XE_GEM_CREATE_FLAG_NEEDS_VISIBLE_VRAM}, errno.EINVAL),
        ({"vm_id": 5}, errno.ENOENT),
        ({"placement": 2, "cpu_caching": 2, "size": 512 * MiB}, errno.E2BIG),
        ({"size": 1 << 45}, errno.ENOSPC),
        ({"size": 1 << 39}, errno.ENOMEM),
        ({"extensions": 16}, errno.EFAULT),
    ],
)
def test_bad_object_is_refused(gpu: Gpu, values: dict[str, Any], expected: int) -> None:
    arg = fields(xe.drm_xe_gem_create, **{"size": 0x10000, "placement": 1, "cpu_caching": 1, **values})
    assert gpu.client.refused(CREATE, arg) == expected
    device = gpu.client.file.device
    assert (device.ttm.system_used, vram_used(gpu)) == (0, 0)


def test_no_compression_is_for_xe2_and_later_kernels(open_client: Any) -> None:
    flag = xe.DRM_XE_GEM_CREATE_FLAG_NO_COMPRESSION
    for platform, level, expected in (
        ("bmg", "7.3", None),
        ("pvc", "7.3", errno.EOPNOTSUPP),
        ("bmg", "6.18", errno.EINVAL),
    ):
        arg = xe.drm_xe_gem_create(size=0x10000, placement=1, cpu_caching=1, flags=flag)
        assert open_client(platform, level).refused(CREATE, arg) == expected


def test_vram_of_64k_pages_wants_sizes_of_64k(open_client: Any) -> None:
    client = open_client("pvc")
    arg = xe.drm_xe_gem_create(size=SZ_4K, placement=2, cpu_caching=2)
    assert client.refused(CREATE, arg) == errno.EINVAL


def extension(client: Client, count: int = 1, **values: Any) -> int:
    address = 0
    for _ in range(count):
        ext = fields(
            xe.drm_xe_ext_set_property, **{k: v for k, v in values.items() if not k.startswith("base_")}
        )
        ext.base.next_extension = address
        for name, value in values.items():
            if name.startswith("base_"):
                setattr(ext.base, name.removeprefix("base_"), value)
        address = client.put(ext)
    return address


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [
        ({}, 1, None),
        ({}, 16, None),
        ({}, 17, errno.E2BIG),
        ({"base_pad": 1}, 1, errno.EINVAL),
        ({"base_name": 1}, 1, errno.EINVAL),
        ({"property": 1}, 1, errno.EINVAL),
        ({"pad": 1}, 1, errno.EINVAL),
        ({"value": 1}, 1, errno.ENODEV),
        ({"value": 2}, 1, errno.EINVAL),
    ],
)
def test_extensions_of_objects(gpu: Gpu, values: dict[str, int], count: int, expected: int | None) -> None:
    chain = extension(gpu.client, count, **values)
    arg = xe.drm_xe_gem_create(size=0x10000, placement=1, cpu_caching=1, extensions=chain)
    assert gpu.client.refused(CREATE, arg) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"extensions": 1}, errno.EINVAL),
        ({"reserved": [0, 1]}, errno.EINVAL),
        ({"flags": 2}, errno.EINVAL),
        ({"handle": 77}, errno.ENOENT),
        ({"flags": 1, "handle": 1}, errno.EINVAL),
    ],
)
def test_bad_mmap_offset_is_refused(gpu: Gpu, values: dict[str, Any], expected: int) -> None:
    assert gpu.client.refused(OFFSET, fields(xe.drm_xe_gem_mmap_offset, **values)) == expected


def test_pci_barrier_is_for_discrete_gpus(open_client: Any) -> None:
    arg = xe.drm_xe_gem_mmap_offset(flags=xe.DRM_XE_MMAP_OFFSET_FLAG_PCI_BARRIER)
    open_client("bmg").call(OFFSET, arg)
    assert arg.offset == 0x50 << 12
    arg = xe.drm_xe_gem_mmap_offset(flags=xe.DRM_XE_MMAP_OFFSET_FLAG_PCI_BARRIER)
    assert open_client("lnl").refused(OFFSET, arg) == errno.EINVAL


def mmap(who: Client, offset: int, **values: Any) -> int | None:
    """Errno of an mmap() of the node."""
    request = {"offset": offset, "length": 0x10000, "readable": True, "writable": True, "shared": True}
    try:
        who.driver.mmap(who.file, who.task, MapRequest(**{**request, **values}))
    except OSError as error:
        return error.errno
    return None


def test_deferred_memory_takes_no_vram_when_it_is_mapped(gpu: Gpu) -> None:
    deferred = xe.DRM_XE_GEM_CREATE_FLAG_DEFER_BACKING
    arg = fields(xe.drm_xe_gem_create, size=MiB, placement=2, cpu_caching=2, flags=deferred)
    gpu.client.call(CREATE, arg)
    offset = gpu.offset(arg.handle)
    assert vram_used(gpu) == 0
    assert mmap(gpu.client, offset, length=MiB) is None
    assert vram_used(gpu) == 0


def test_mmap_needs_the_offset_the_size_and_the_handle(gpu: Gpu, services: Services) -> None:
    client = gpu.client
    offset = gpu.offset(gpu.bo())
    assert mmap(client, offset) is None
    assert mmap(client, offset, length=0x1000) is None
    assert mmap(client, offset, length=0x11000) == errno.EINVAL
    assert mmap(client, offset + 0x1000, length=0x1000) == errno.EINVAL
    assert mmap(client, offset, shared=False) == errno.EINVAL
    assert mmap(Client(client.driver, services), offset) == errno.EACCES


def purge_state(gpu: Gpu, vm: int, state: int) -> bool:
    """Mark the BO at DATA as DONTNEED, or WILLNEED. Returns whether its contents are retained."""
    retained = gpu.client.put(bytes(4))
    arg = fields(
        xe.drm_xe_madvise, vm_id=vm, start=DATA, range=0x10000, type=xe.DRM_XE_VMA_ATTR_PURGEABLE_STATE
    )
    arg.purge_state_val.val = state
    arg.purge_state_val.retained_ptr = retained
    gpu.client.call(xe.DRM_IOCTL_XE_MADVISE, arg)
    return bool(gpu.client.u32(retained))


def test_object_not_needed_is_purged_by_pressure_and_refused_everywhere(gpu: Gpu) -> None:
    client, vm, other = gpu.client, gpu.vm(), gpu.vm()
    kept, lost = gpu.bo(placement=2), gpu.bo(placement=2)
    gpu.map(vm, lost, DATA)
    offset = gpu.offset(lost)

    def refused() -> list[int | None]:
        bind = gpu.bind_arg(other, gpu.op(obj=lost, addr=DATA, range=0x10000))
        fd = drm.drm_prime_handle(handle=lost)
        return [
            mmap(client, offset),
            client.refused(xe.DRM_IOCTL_XE_VM_BIND, bind),
            client.refused(drm.DRM_IOCTL_PRIME_HANDLE_TO_FD, fd),
        ]

    dontneed, willneed = xe.DRM_XE_VMA_PURGEABLE_STATE_DONTNEED, xe.DRM_XE_VMA_PURGEABLE_STATE_WILLNEED
    gpu.write(kept, 0, b"kept")
    assert purge_state(gpu, vm, dontneed)
    assert refused() == [errno.EBUSY] * 3
    assert purge_state(gpu, vm, willneed)
    assert mmap(client, offset) is None
    assert purge_state(gpu, vm, dontneed)
    for _ in range(4):
        gpu.bo(64 * MiB, placement=2)
    assert not purge_state(gpu, vm, willneed)
    assert refused() == [errno.EINVAL] * 3
    assert gpu.read(kept) == b"kept"


def test_imported_object_is_mapped_through_its_exporter_only(gpu: Gpu, services: Services) -> None:
    """The mock cannot do this, and says so."""
    arg = drm.drm_prime_handle(fd=export(gpu.client, gpu.bo()))
    other = Gpu(Client(gpu.client.driver, services, task=gpu.client.task))
    other.client.call(drm.DRM_IOCTL_PRIME_FD_TO_HANDLE, arg)
    assert mmap(other.client, other.offset(arg.handle)) == errno.EOPNOTSUPP


def test_object_outlives_its_handle_while_it_is_bound(gpu: Gpu) -> None:
    vm, handle = gpu.vm(), gpu.bo(placement=2)
    gpu.map(vm, handle, DATA)
    close = drm.drm_gem_close(handle=handle)
    gpu.client.call(drm.DRM_IOCTL_GEM_CLOSE, close)
    assert gpu.client.refused(drm.DRM_IOCTL_GEM_CLOSE, close) == errno.EINVAL
    assert vram_used(gpu) == 0x10000
    gpu.unmap(vm, DATA)
    gpu.client.run(1)
    assert vram_used(gpu) == 0


def test_mapping_keeps_an_object_until_it_is_unmapped(gpu: Gpu) -> None:
    client = gpu.client
    handle = gpu.bo(placement=2)
    gpu.write(handle, 0, b"kept")
    bo = client.file.bos.get(handle)
    assert bo is not None
    request = MapRequest(gpu.offset(handle), 0x10000, readable=True, writable=True, shared=True)
    client.driver.mmap(client.file, client.task, request)
    address = client.mm.map(0x10000)
    area = next(area for area in client.mm.areas if area.start == address)
    area.file, area.offset = client.memory, request.offset
    client.call(drm.DRM_IOCTL_GEM_CLOSE, drm.drm_gem_close(handle=handle))
    other = gpu.bo(placement=2)
    assert vram_used(gpu) == 0x20000
    assert gpu.offset(other) != request.offset
    assert bo.storage.read(0, 4) == b"kept"
    client.mm.unmap(address)
    client.call(drm.DRM_IOCTL_GEM_CLOSE, drm.drm_gem_close(handle=other))
    assert vram_used(gpu) == 0


# PRIME


def export(client: Client, handle: int, flags: int = 0) -> int:
    arg = drm.drm_prime_handle(handle=handle, flags=flags)
    client.call(drm.DRM_IOCTL_PRIME_HANDLE_TO_FD, arg)
    return int(arg.fd)


def test_export_refuses_private_objects_and_bad_arguments(gpu: Gpu) -> None:
    private = gpu.bo(vm_id=gpu.vm())
    request = drm.DRM_IOCTL_PRIME_HANDLE_TO_FD
    for arg, expected in (
        (drm.drm_prime_handle(handle=private), errno.EPERM),
        (drm.drm_prime_handle(handle=99), errno.ENOENT),
        (drm.drm_prime_handle(handle=private, flags=1), errno.EINVAL),
    ):
        assert gpu.client.refused(request, arg) == expected


def test_import_gives_the_same_handle_in_a_file_and_the_same_object_in_a_device(
    gpu: Gpu, services: Services
) -> None:
    handle = gpu.bo()
    fd = export(gpu.client, handle)
    back = drm.drm_prime_handle(fd=fd)
    gpu.client.call(drm.DRM_IOCTL_PRIME_FD_TO_HANDLE, back)
    assert back.handle == handle
    other = Client(gpu.client.driver, services, task=gpu.client.task)
    back = drm.drm_prime_handle(fd=fd)
    other.call(drm.DRM_IOCTL_PRIME_FD_TO_HANDLE, back)
    assert other.file.bos.get(back.handle) is gpu.client.file.bos.get(handle)
    for bad, expected in ((50, errno.EBADF), (-1, errno.EBADF)):
        arg = drm.drm_prime_handle(fd=bad)
        assert other.refused(drm.DRM_IOCTL_PRIME_FD_TO_HANDLE, arg) == expected


@pytest.mark.parametrize(
    ("platform", "placement", "expected"),
    [("bmg2", 2, None), ("bmg2-far", 2, errno.EOPNOTSUPP), ("bmg2-far", 3, None), ("bmg2-far", 1, None)],
)
def test_import_between_devices_needs_a_link_or_system_memory(
    open_client: Any, services: Services, platform: str, placement: int, expected: int | None
) -> None:
    first = Gpu(open_client(platform))
    second = Client(first.client.driver, services, minor=129, task=first.client.task)
    handle = first.bo(placement=placement)
    arg = drm.drm_prime_handle(fd=export(first.client, handle))
    before = bytes(arg)
    result = None
    try:
        second.call(drm.DRM_IOCTL_PRIME_FD_TO_HANDLE, arg)
    except OSError as error:
        result = error.errno
        assert bytes(arg) == before
    assert result == expected
    if expected is None:
        gpu = Gpu(second)
        vm = gpu.vm()
        for pat in (0, 9):
            # An imported object may be cached by anyone: incoherent and compressing entries are refused.
            op = gpu.op(obj=arg.handle, addr=DATA, range=0x10000, pat_index=pat)
            assert second.refused(xe.DRM_IOCTL_XE_VM_BIND, gpu.bind_arg(vm, op)) == errno.EINVAL
        gpu.map(vm, arg.handle, DATA)
        first.write(handle, 0, b"data")
        assert second.file.vms.get(vm).spaces[0].read(DATA, 4) == b"data"  # type: ignore[union-attr]


# Eviction


def test_vram_that_is_full_evicts_the_least_recently_used(gpu: Gpu) -> None:
    handles = [gpu.bo(64 * MiB, placement=3) for _ in range(5)]
    resident = [gpu.client.file.bos.get(handle).in_vram for handle in handles]  # type: ignore[union-attr]
    assert resident == [False, True, True, True, True]


def test_object_for_vram_only_is_evicted_and_comes_back_for_a_job(gpu: Gpu) -> None:
    vm = gpu.vm()
    batch, data = gpu.bo(placement=2), gpu.bo(64 * MiB, placement=2)
    gpu.map(vm, batch, BATCH)
    gpu.map(vm, data, DATA, 64 * MiB)
    gpu.write(data, 0x1000, b"keep")
    others = [gpu.bo(64 * MiB, placement=2) for _ in range(4)]
    bo = gpu.client.file.bos.get(data)
    assert bo is not None
    assert not bo.in_vram
    for handle in others[:2]:
        gpu.client.call(drm.DRM_IOCTL_GEM_CLOSE, drm.drm_gem_close(handle=handle))
    gpu.batch(batch, Batch().copy_mem(DATA + 0x2000, DATA + 0x1000).end())
    done = gpu.syncobj()
    gpu.execute(gpu.queue(vm), syncs=(out_syncobj(done),))
    gpu.wait(done)
    assert bo.in_vram
    assert gpu.read(data, 0x2000) == b"keep"


def test_objects_of_one_vm_do_not_evict_each_other_for_its_job(gpu: Gpu) -> None:
    vm = gpu.vm()
    first, second = (gpu.bo(192 * MiB, placement=2, vm_id=vm) for _ in range(2))
    batch = gpu.bo()
    gpu.map(vm, batch, BATCH)
    gpu.map(vm, first, DATA, 192 * MiB)
    gpu.map(vm, second, DATA + (1 << 30), 192 * MiB)
    gpu.batch(batch, Batch().end())
    assert gpu.client.refused(xe.DRM_IOCTL_XE_EXEC, gpu.exec_arg(gpu.queue(vm))) == errno.ENOMEM


def test_fault_vm_overcommits_its_own_objects(gpu: Gpu) -> None:
    vm = gpu.vm(FAULT)
    first, second = (gpu.bo(192 * MiB, placement=2, vm_id=vm) for _ in range(2))
    batch = gpu.bo()
    gpu.map(vm, batch, BATCH)
    gpu.map(vm, first, DATA, 192 * MiB)
    gpu.map(vm, second, DATA + (1 << 30), 192 * MiB)
    gpu.batch(
        batch, Batch().store_dword(DATA, 1).store_dword(DATA + (1 << 30), 2).store_dword(DATA + 4, 3).end()
    )
    gpu.execute(gpu.queue(vm), syncs=(user_fence(BATCH + 0x1000, 9),))
    gpu.client.run(1)
    assert [gpu.value(first), gpu.value(second), gpu.value(first, 4)] == [1, 2, 3]
    assert gpu.read(batch, 0x1000, 8) == (9).to_bytes(8, "little")


def test_preempt_fence_vm_is_rebound_after_eviction(gpu: Gpu) -> None:
    vm = gpu.vm(LR)
    batch, data = gpu.bo(), gpu.bo(64 * MiB, placement=3)
    gpu.map(vm, batch, BATCH)
    gpu.map(vm, data, DATA, 64 * MiB)
    queue = gpu.queue(vm)
    gpu.batch(batch, Batch().semaphore_wait(DATA, 1).store_dword(DATA + 8, 5).end())
    gpu.execute(queue)
    gpu.client.services.loop.run_until(lambda: False, 0.01)
    for _ in range(4):
        gpu.bo(64 * MiB, placement=2)
    gpu.client.services.loop.run_until(lambda: False, 0.05)
    gpu.write(data, 0, b"\1\0\0\0")
    gpu.client.run(1)
    assert gpu.value(data, 8) == 5
    assert not gpu.banned(queue)


def test_preempt_fence_vm_without_a_queue_keeps_the_entries_of_an_evicted_object(gpu: Gpu) -> None:
    vm = gpu.vm(LR)
    batch, data = gpu.bo(), gpu.bo(64 * MiB, placement=3)
    gpu.map(vm, batch, BATCH)
    gpu.map(vm, data, DATA, 64 * MiB)
    for _ in range(4):
        gpu.bo(64 * MiB, placement=2)
    queue = gpu.queue(vm)
    gpu.batch(batch, Batch().store_dword(DATA + 8, 5).store_dword(BATCH + 0x800, 6).end())
    gpu.execute(queue)
    gpu.client.run(1)
    assert gpu.value(batch, 0x800) == 6
    assert gpu.value(data, 8) == 0


def test_release_frees_everything(gpu: Gpu, services: Services) -> None:
    vm = gpu.vm()
    gpu.map(vm, gpu.bo(placement=2), DATA)
    gpu.client.driver.release(gpu.client.file)
    device = gpu.client.file.device
    assert (vram_used(gpu), device.ttm.system_used) == (0, 0)
    assert len(gpu.client.file.scheduler.vms) == 0
    assert Client(gpu.client.driver, services, task=Task())
