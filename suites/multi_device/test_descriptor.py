# SPDX-License-Identifier: MIT
"""The devmem_fd by which PREFERRED_LOC names a device (xe_svm.c: xe_drm_pagemap_from_fd, xe_vm_madvise.c)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from fixtures import acts, behaviour, gpu_sees, known, needs
from fixtures.given import Memory, OpenDevice, Sentinel
from fixtures.memory import Buffer
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.vm import Vm

FINDING = "Advice by a descriptor number that names something else now is ignored"

pytestmark = needs("page-faults", "vram", "svm-vram")


def grown(device: Device, before: dict[int, int]) -> list[int]:
    """The VRAM regions of a device with a chunk more in use than before."""
    return [region for region in device.vram if device.region(region).used > before[region] + SZ_2M // 2]


def used(device: Device) -> dict[int, int]:
    """Bytes in use of each VRAM region."""
    return {region: device.region(region).used for region in device.vram}


@contextlib.contextmanager
def as_descriptor(number: int, fd: int) -> Iterator[None]:
    """``number`` is a descriptor of the same open file as ``fd`` for a while, whatever it is otherwise."""
    try:
        kept = os.dup(number)
    except OSError:
        kept = -1
    try:
        os.dup2(fd, number, inheritable=False)
        yield
    finally:
        if kept >= 0:
            os.dup2(kept, number)
            os.close(kept)
        else:
            os.close(number)


@pytest.fixture
def buffer(memory: Memory) -> Buffer:
    """Memory of one chunk."""
    return memory(SZ_2M, align=SZ_2M)


@behaviour("md.fd.fd-zero")
@acts("load", "query")
@needs("two-devices")
def test_devmem_fd_zero_is_default_device(
    mirror_vm: Vm, devices: list[Device], buffer: Buffer, sentinel: Sentinel
) -> None:
    """devmem_fd 0 means the GPU that faults, even if descriptor 0 is another GPU."""
    value = sentinel()
    buffer.set_u32(0, value)
    before, there = used(devices[0]), used(devices[1])
    with as_descriptor(0, devices[1].fd):
        mirror_vm.prefer(buffer, 0, 0)
    gpu_sees(mirror_vm.queue(), buffer.address, value)
    assert grown(devices[0], before) == [devices[0].vram[0]]
    assert not grown(devices[1], there)


@behaviour("md.fd.card-node", "md.fd.own-device")
@acts("load", "query")
@needs("root", "range-attributes")
def test_card_node_fd_names_device(
    mirror_vm: Vm, open_device: OpenDevice, buffer: Buffer, sentinel: Sentinel
) -> None:
    """A descriptor of a card node, whose minor is not a render node's, names the VRAM of its device."""
    value, device = sentinel(), mirror_vm.device
    buffer.set_u32(0, value)
    with open_device(card_node(device)) as card:
        mirror_vm.prefer(buffer, card.fd, device.vram[0])
        (area,) = mirror_vm.attributes(buffer.address, SZ_2M)
        assert area.preferred_mem_loc.devmem_fd == card.fd
    before = used(device)
    gpu_sees(mirror_vm.queue(), buffer.address, value)
    assert grown(device, before) == device.vram[:1]


def card_node(device: Device) -> str:
    """The card node of the device behind a render node."""
    names = os.listdir(f"/sys/class/drm/{os.path.basename(device.path)}/device/drm")  # noqa: PTH119, PTH208
    return "/dev/dri/" + next(name for name in names if name.startswith("card"))


@behaviour("md.region-instance-selects-tile")
@acts("load", "query")
@needs("multi-tile")
@pytest.mark.parametrize("tile", [0, 1])
def test_region_instance_selects_tile(
    mirror_vm: Vm, device: Device, buffer: Buffer, sentinel: Sentinel, tile: int
) -> None:
    """Region instance n of a device is the VRAM of tile n - 1, whichever tile's engine faults on it."""
    region, value = device.vram[tile], sentinel()
    buffer.set_u32(0, value)
    mirror_vm.prefer(buffer, device.fd, region)
    before = used(device)
    for engine in {engine.gt_id: engine for engine in device.known_engines}.values():
        gpu_sees(mirror_vm.queue(engine), buffer.address, value)
    assert grown(device, before) == [region]
    assert not buffer.present()


@known(
    FINDING,
    first="7.0",
    signature="assert grown(devices[#], before) == devices[#].vram[:#]: [] == [#]",
)
@behaviour("madvise.pref.same-fd-other-region")
@acts("load", "query")
@needs("two-devices", "interconnect")
def test_madvise_with_reused_fd_number_is_new(
    mirror_vm: Vm, devices: list[Device], buffer: Buffer, sentinel: Sentinel
) -> None:
    """If a descriptor number names one GPU first and another later, memory is placed on the second."""
    number, value = devices[1].dup(), sentinel()
    buffer.set_u32(0, value)
    try:
        for device in (devices[1], devices[0]):
            device.dup(number)
            mirror_vm.prefer(buffer, number, device.vram[0])
    finally:
        os.close(number)
    before = used(devices[0])
    gpu_sees(mirror_vm.queue(), buffer.address, value)
    assert grown(devices[0], before) == devices[0].vram[:1]


@known(FINDING, first="7.0", signature="assert grown(device, before) == [device.vram[#]]: [#] == [#]")
@behaviour("madvise.pref.same-fd-other-region")
@acts("load", "query")
@needs("multi-tile")
def test_madvise_same_fd_other_region_is_new(
    mirror_vm: Vm, device: Device, buffer: Buffer, sentinel: Sentinel
) -> None:
    """If MADVISE names one region of a device, then another by the same descriptor, memory is placed in the second."""
    value = sentinel()
    buffer.set_u32(0, value)
    for region in device.vram[:2]:
        mirror_vm.prefer(buffer, device.fd, region)
    before = used(device)
    gpu_sees(mirror_vm.queue(), buffer.address, value)
    assert grown(device, before) == [device.vram[1]]
