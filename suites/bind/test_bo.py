# SPDX-License-Identifier: MIT
"""Checks on the BO of a bind: caching, compression, its VM, protection, page size (xe_vm.c).

``xe_vm_bind_ioctl_validate_bo`` holds most of it. The indices are those of the page attribute table of Xe2.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs, refused
from fixtures.choices import chose
from fixtures.given import MakeBo, MakeVm, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.bo import SYSTEM
from fixtures.xe.device import Device
from fixtures.xe.flags import DONTNEED, MAP
from fixtures.xe.vm import Vm
from ioctl import errno_name, xe

AT = 0x10_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""

COHERENT, INCOHERENT, COMPRESSED = 1, 3, 9
"""PAT indices of Xe2: 1-way coherent, not coherent, compressed (xe_pat.c: xe2_pat_table)."""


@pytest.fixture
def imported(devices: list[Device], bo: MakeBo) -> Callable[[], int]:
    """``imported()``: the handle, on the first device, of a BO of the second one that came by dma-buf."""

    def make() -> int:
        return bo(SZ_64K, device=devices[1]).handle_on(devices[0])

    return make


@behaviour("bind.bo.coherency")
@acts("refusal", "ioctl")
@needs("xe2")
@pytest.mark.parametrize("mode", ["plain_vm", pytest.param("fault_vm", marks=needs("page-faults"))])
def test_wb_bo_with_incoherent_pat_is_einval(request: pytest.FixtureRequest, bo: MakeBo, mode: str) -> None:
    """An incoherent PAT index gives EINVAL for a write-back BO, and is accepted for a write-combined one."""
    vm = request.getfixturevalue(mode)
    cached = bo(SZ_64K, caching=xe.DRM_XE_GEM_CPU_CACHING_WB)
    combined = bo(SZ_64K, caching=xe.DRM_XE_GEM_CPU_CACHING_WC)
    with refused(errno.EINVAL):
        vm.bind(MAP, addr=AT, range=SZ_64K, obj=cached.handle, pat_index=INCOHERENT)
    vm.bind_and_wait(MAP, addr=AT, range=SZ_64K, obj=cached.handle, pat_index=COHERENT)
    vm.bind_and_wait(MAP, addr=AT + SZ_64K, range=SZ_64K, obj=combined.handle, pat_index=INCOHERENT)


@behaviour("bind.pat.pre-mtl-buckets")
@acts("refusal", "ioctl")
@needs("pre-mtl")
def test_pre_mtl_write_back_alone_is_coherent(plain_vm: Vm, bo: MakeBo) -> None:
    """On old platforms a write-back object takes the PAT indices of write-back and no other; another takes all."""
    device = plain_vm.device
    cached = bo(SZ_64K, caching=xe.DRM_XE_GEM_CPU_CACHING_WB)
    combined = bo(SZ_64K, caching=xe.DRM_XE_GEM_CPU_CACHING_WC)
    indices = range(8 if device.write_back_pat == 3 else 4)
    assert set(device.coherent_pats) < set(indices)
    for index in indices:
        if index in device.coherent_pats:
            plain_vm.bind_and_wait(MAP, addr=AT, range=SZ_64K, obj=cached.handle, pat_index=index)
        else:
            with refused(errno.EINVAL):
                plain_vm.bind(MAP, addr=AT, range=SZ_64K, obj=cached.handle, pat_index=index)
        plain_vm.bind_and_wait(MAP, addr=AT + SZ_64K, range=SZ_64K, obj=combined.handle, pat_index=index)
    with refused(errno.EINVAL):
        plain_vm.bind(MAP, addr=AT, range=SZ_64K, obj=combined.handle, pat_index=len(indices))


@behaviour("bind.bo.coherency", "bind.bo.compression")
@acts("refusal", "ioctl")
@needs("xe2", "two-devices")
@pytest.mark.parametrize("index", [INCOHERENT, COMPRESSED], ids=["incoherent", "compressed"])
def test_imported_bo_needs_coherent_uncompressed_pat(
    plain_vm: Vm, imported: Callable[[], int], index: int
) -> None:
    """An imported dma-buf, whose caching is unknown, gives EINVAL with an incoherent or a compressing PAT index."""
    handle = imported()
    with refused(errno.EINVAL):
        plain_vm.bind(MAP, addr=AT, range=SZ_64K, obj=handle, pat_index=index)
    plain_vm.bind_and_wait(MAP, addr=AT, range=SZ_64K, obj=handle, pat_index=COHERENT)


@behaviour("bind.bo.compression")
@acts("refusal", "ioctl")
@needs("xe2", "no-compression-hint")
def test_no_compression_bo_refuses_compressed_pat(plain_vm: Vm, bo: MakeBo) -> None:
    """A BO created with NO_COMPRESSION gives EINVAL with a compressing PAT index, and is accepted with others."""
    never = bo(SZ_64K, flags=xe.DRM_XE_GEM_CREATE_FLAG_NO_COMPRESSION, caching=xe.DRM_XE_GEM_CPU_CACHING_WC)
    with refused(errno.EINVAL):
        plain_vm.bind(MAP, addr=AT, range=SZ_64K, obj=never.handle, pat_index=COMPRESSED)
    plain_vm.bind_and_wait(MAP, addr=AT, range=SZ_64K, obj=never.handle, pat_index=COHERENT)


@behaviour("bind.bo.64k-platform")
@acts("refusal", "ioctl")
@needs("vram", "need64k")
@pytest.mark.parametrize("field", ["addr", "range", "obj_offset"])
def test_vram_bo_needs_64k_aligned_bind(plain_vm: Vm, bo: MakeBo, field: str) -> None:
    """If VRAM has 64 KiB pages, binding a VRAM BO at an address not aligned to 64 KiB gives EINVAL."""
    target = bo(4 * SZ_64K, placement=1 << plain_vm.device.vram[0])
    place: dict[str, Any] = {"addr": AT, "range": SZ_64K, "obj_offset": SZ_64K}
    with refused(errno.EINVAL):
        plain_vm.bind(MAP, obj=target.handle, **{**place, field: place[field] + PAGE})
    plain_vm.bind_and_wait(MAP, obj=target.handle, **place)


@behaviour("bind.check-pxp")
@acts("load")
@pytest.mark.parametrize("flags", [0, xe.DRM_XE_VM_BIND_FLAG_CHECK_PXP], ids=["plain", "check-pxp"])
def test_check_pxp_of_ordinary_bo_succeeds(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel, flags: int) -> None:
    """An ordinary BO can be bound with CHECK_PXP: the flag concerns protected BOs only."""
    target, value = bo(SZ_64K), sentinel()
    target.map().set_u32(PAGE, value)
    plain_vm.map(target, AT, flags=flags)
    gpu_sees(plain_vm.queue(), AT + PAGE, value)


@behaviour("bind.bo.private-vm")
@acts("store")
def test_vm_private_bo_works_in_its_vm(plain_vm: Vm, make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel) -> None:
    """A VM-private BO can be bound and used in its VM; what another VM gets is recorded, and is harmless."""
    private, value, stranger = bo(SZ_64K, vm=plain_vm.id), sentinel(), make_vm()
    plain_vm.map(private, AT)
    try:
        stranger.map(private, AT)
        stranger.unmap(AT, SZ_64K)
        chose("bind in another VM: accepted")
    except OSError as error:
        chose(f"bind in another VM: {errno_name(error.errno or 0)}")
    plain_vm.queue().store(AT + 4, value)
    landed(private.map(), 4, value)


class Purgeable:
    """A BO in VRAM that its owner marked as not needed, and the means to have it purged."""

    def __init__(self, vm: Vm, bo: MakeBo) -> None:
        device = vm.device
        self.vm = vm
        self._bo = bo
        self._placement = 1 << device.vram[0]
        total: int = device.region(device.vram[0]).total_size
        self._size = total * 5 // 8 // SZ_2M * SZ_2M
        self.object = bo(self._size, placement=self._placement | SYSTEM)
        vm.map(self.object, AT)
        self.retained = self._advise(DONTNEED)

    def _advise(self, state: int) -> bool:
        return bool(self.vm.purgeable(AT, self._size, state))

    def purge(self) -> None:
        """Another BO of its size takes the VRAM."""
        self._bo(self._size, placement=self._placement).map().set_u32(0, 1)
        assert not self._advise(DONTNEED), "the object was not purged"


@behaviour("bind.bo.purgeable")
@acts("refusal", "ioctl")
@needs("vram", "purging", "range-attributes")
@pytest.mark.timeout(60)
def test_map_of_dontneed_bo_is_ebusy(plain_vm: Vm, bo: MakeBo) -> None:
    """MAP of a BO marked DONTNEED gives EBUSY, of a purged one EINVAL; both can be unbound, also partially."""
    purgeable = Purgeable(plain_vm, bo)
    assert purgeable.retained
    with refused(errno.EBUSY):
        plain_vm.bind(MAP, addr=AT + (1 << 32), range=SZ_64K, obj=purgeable.object.handle)
    plain_vm.unmap(AT + SZ_64K, SZ_64K)
    purgeable.purge()
    with refused(errno.EINVAL):
        plain_vm.bind(MAP, addr=AT + (1 << 32), range=SZ_64K, obj=purgeable.object.handle)
    plain_vm.unmap(AT, purgeable.object.size)
    assert plain_vm.attributes(AT, 1 << 33) == []


@behaviour("bind.enomem.clean", "bind.errors.synchronous")
@acts("refusal", "store")
@needs("vram", "range-attributes")
@pytest.mark.timeout(60)
def test_enomem_bind_can_be_retried(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """An array that needs more VRAM than exists gives ENOMEM and binds nothing; a part of it then works."""
    region = plain_vm.device.region(plain_vm.device.vram[0])
    size = region.total_size * 5 // 8 // SZ_2M * SZ_2M
    both = [bo(size, placement=1 << plain_vm.device.vram[0]) for _ in range(2)]
    operations = [
        plain_vm.operation(MAP, addr=AT + (index << 36), range=size, obj=one.handle)
        for index, one in enumerate(both)
    ]
    with refused(errno.ENOMEM):
        plain_vm.bind_array(operations)
    assert plain_vm.attributes(AT, 2 << 36) == []
    queue = plain_vm.queue()
    for index, one in enumerate(both):
        value = sentinel()
        plain_vm.map(one, AT + (index << 36))
        queue.store(AT + (index << 36) + 8, value)
        landed(one.map(), 8, value)
        plain_vm.unmap(AT + (index << 36), size)
