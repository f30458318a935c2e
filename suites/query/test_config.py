# SPDX-License-Identifier: MIT
"""DEVICE_QUERY CONFIG: each claim of the device is put to the test."""

from __future__ import annotations

import ctypes
import errno
import os

import pytest

from fixtures import (
    FAULTING,
    LONG_RUNNING,
    PLAIN,
    acts,
    behaviour,
    beyond_header,
    in_child,
    landed,
    needs,
    refused,
    untested,
)
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Sentinel
from fixtures.sizes import SZ_4K, SZ_64K
from fixtures.xe.device import Config, Device, config_of
from fixtures.xe.flags import IMMEDIATE, MIRROR, NULL, READONLY, WILLNEED
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from ioctl import xe

NOBODY = 65534


@behaviour("query.config.num-params")
@acts("query")
@beyond_header
def test_config_has_all_parameters_of_header(device: Device) -> None:
    """CONFIG has as many parameters of 8 bytes behind its header as the uAPI has indexes of them."""
    reply = device.query(xe.DRM_XE_DEVICE_QUERY_CONFIG)
    header = xe.drm_xe_query_config.from_buffer_copy(reply)
    assert header.num_params == xe.DRM_XE_QUERY_CONFIG_MAX_EXEC_QUEUE_PRIORITY + 1
    assert header.pad == 0
    assert len(reply) == ctypes.sizeof(header) + header.num_params * 8


@behaviour("query.config.has-cpu-addr-mirror")
@acts("query", "ioctl")
@needs("cpu-addr-mirror")
def test_claimed_mirror_can_be_bound(device: Device, make_vm: MakeVm) -> None:
    """A device that claims CPU address mirroring binds a mirror in a VM in fault mode."""
    assert device.config.has_cpu_addr_mirror
    make_vm(FAULTING).mirror()


@behaviour("query.config.has-cpu-addr-mirror")
@acts("query", "refusal")
@needs("no-page-faults")
def test_device_without_page_faults_claims_no_mirror(device: Device) -> None:
    """A device without fault mode does not claim CPU address mirroring."""
    assert not device.config.has_cpu_addr_mirror
    with refused(errno.EINVAL, may_change=("flags",)):  # a workaround adds scratch pages first
        Vm(device, FAULTING)


@behaviour("query.config.has-cpu-addr-mirror", "bind.cam.requires-kconfig")
@acts("query", "refusal", "store")
@needs("page-faults", "no-cpu-addr-mirror", "range-attributes")
@pytest.mark.parametrize("mode", [PLAIN, LONG_RUNNING, FAULTING], ids=["plain", "lr", "fault"])
def test_unclaimed_mirror_is_einval(
    device: Device, make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, mode: int
) -> None:
    """A driver that does not claim mirrors gives EINVAL for one in every VM, and the VM still works."""
    assert not device.config.has_cpu_addr_mirror
    vm, obj, value = make_vm(mode), bo(SZ_64K), sentinel()
    vm.map(obj, SZ_64K)
    before = [bytes(area) for area in vm.attributes(0, vm.size)]
    for flags in (0, IMMEDIATE, READONLY):
        with refused(errno.EINVAL):
            vm.bind(range=vm.size, flags=MIRROR | flags)
    assert [bytes(area) for area in vm.attributes(0, vm.size)] == before
    vm.queue().store(SZ_64K, value)
    landed(obj.map(), 0, value)


@behaviour("query.config.has-vram")
@acts("query")
def test_has_vram_matches_memory_regions(device: Device) -> None:
    """The flag HAS_VRAM and the list of memory regions agree."""
    classes = [region.mem_class for region in device.regions]
    assert device.config.has_vram == (xe.DRM_XE_MEM_REGION_CLASS_VRAM in classes)


@behaviour("query.config.has-low-latency")
@acts("query", "ioctl")
def test_claimed_low_latency_hint_is_accepted(device: Device, plain_vm: Vm) -> None:
    """If HAS_LOW_LATENCY is set, a queue can be created with the hint."""
    if not device.config.flags & xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_LOW_LATENCY:
        untested("DEVICE:low-latency", "the flag is not set")
    queue = plain_vm.queue(flags=xe.DRM_XE_EXEC_QUEUE_LOW_LATENCY_HINT)
    assert queue.id
    assert not queue.banned


@behaviour("query.config.has-no-compression")
@acts("query", "ioctl")
def test_no_compression_hint_works_only_if_claimed(device: Device, bo: MakeBo) -> None:
    """GEM_CREATE with NO_COMPRESSION works if the hint is claimed, and gives EOPNOTSUPP otherwise."""
    claimed = device.config.flags & xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_NO_COMPRESSION_HINT
    main = [gt for gt in device.gts if gt.type == xe.DRM_XE_QUERY_GT_TYPE_MAIN]
    assert bool(claimed) == (max(gt.ip_ver_major for gt in main) >= 20)
    if claimed:
        assert bo(SZ_64K, flags=xe.DRM_XE_GEM_CREATE_FLAG_NO_COMPRESSION).handle
    else:
        assert bo(SZ_64K).handle
        with refused(errno.EOPNOTSUPP):
            bo(SZ_64K, flags=xe.DRM_XE_GEM_CREATE_FLAG_NO_COMPRESSION)


@behaviour("query.config.has-purging")
@acts("query", "ioctl")
def test_claimed_purging_is_accepted_by_madvise(device: Device, plain_vm: Vm, bo: MakeBo) -> None:
    """HAS_PURGING_SUPPORT is set, and MADVISE PURGEABLE_STATE of a bound BO works."""
    assert device.config.flags & xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_PURGING_SUPPORT
    plain_vm.map(bo(SZ_64K), SZ_64K)
    assert plain_vm.purgeable(SZ_64K, SZ_64K, WILLNEED) == 1


@behaviour("query.config.min-alignment", "query.mem.vram-min-page")
@acts("query")
@needs("vram")
def test_min_alignment_is_that_of_vram(device: Device) -> None:
    """MIN_ALIGNMENT is 4 KiB or 64 KiB, and the smallest page of every VRAM region."""
    alignment = device.config.min_alignment
    assert alignment in (SZ_4K, SZ_64K)
    vram = device.regions[1:]
    assert [region.min_page_size for region in vram] == [alignment] * len(vram)


@behaviour("query.config.min-alignment", "query.mem.vram-min-page")
@acts("query", "refusal", "ioctl")
@needs("vram")
def test_unaligned_size_of_vram_bo_is_einval(device: Device, bo: MakeBo) -> None:
    """GEM_CREATE in VRAM accepts a multiple of MIN_ALIGNMENT, and gives EINVAL for half a page more."""
    alignment = device.config.min_alignment
    placement = 1 << device.vram[0]
    assert bo(alignment, placement=placement).handle
    with refused(errno.EINVAL):
        bo(alignment + alignment // 2, placement=placement)


@behaviour("query.config.va-bits")
@acts("query", "ioctl")
def test_bind_up_to_va_bits_is_accepted(device: Device, plain_vm: Vm) -> None:
    """VA_BITS is 48 or 57, and a bind may end exactly at 1 << VA_BITS."""
    bits = device.config.va_bits
    assert bits in (48, 57)
    plain_vm.bind_and_wait(addr=(1 << bits) - SZ_64K, range=SZ_64K, flags=NULL)


@behaviour("query.config.va-bits")
@acts("query", "refusal")
@pytest.mark.parametrize("pages", [1, 2], ids=["across", "beyond"])
def test_bind_past_va_bits_is_einval(device: Device, plain_vm: Vm, pages: int) -> None:
    """A bind beyond 1 << VA_BITS gives EINVAL, and binds nothing below it either."""
    end = 1 << device.config.va_bits
    with refused(errno.EINVAL):
        plain_vm.bind(addr=end - 2 * SZ_64K + pages * SZ_64K, range=2 * SZ_64K, flags=NULL)
    plain_vm.bind_and_wait(addr=end - SZ_64K, range=SZ_64K, flags=NULL)


def queue_of_priority(vm: Vm, priority: int) -> Queue:
    """A queue made with a priority."""
    extension = xe.drm_xe_ext_set_property(
        base=xe.drm_xe_user_extension(name=xe.DRM_XE_EXEC_QUEUE_EXTENSION_SET_PROPERTY),
        property=xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY,
        value=priority,
    )
    return vm.queue(extensions=ctypes.addressof(extension))


@behaviour("query.config.max-priority")
@acts("query", "ioctl")
def test_max_exec_queue_priority_can_be_set(device: Device, plain_vm: Vm) -> None:
    """A queue can be created with MAX_EXEC_QUEUE_PRIORITY and any lower priority."""
    for priority in range(device.config.max_priority + 1):
        assert queue_of_priority(plain_vm, priority).id


@behaviour("query.config.max-priority")
@acts("query")
def test_high_priority_without_cap_is_eperm(device: Device, plain_vm: Vm) -> None:
    """Without CAP_SYS_NICE the priority above MAX_EXEC_QUEUE_PRIORITY gives EPERM."""

    def unprivileged() -> tuple[Config, int]:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        config = config_of(device.query(xe.DRM_XE_DEVICE_QUERY_CONFIG))
        try:
            queue_of_priority(plain_vm, config.max_priority + 1)
        except OSError as error:
            return config, error.errno or 0
        return config, 0

    ended = in_child(unprivileged)
    assert not ended.error, ended.error
    config, refusal = ended.result
    assert config.max_priority == 1
    assert errno.errorcode.get(refusal) == "EPERM"
    count("query")
