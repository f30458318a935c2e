# SPDX-License-Identifier: MIT
"""Devices form groups that share an owner: only within one is memory used in place (drm_pagemap_acquire_owner)."""

from __future__ import annotations

import errno
import itertools

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs
from fixtures.choices import chose
from fixtures.given import MakeVm, Memory, Sentinel
from fixtures.memory import Buffer
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.flags import PREFERRED_LOC
from fixtures.xe.vm import FAULTING, Vm
from ioctl import xe

pytestmark = needs("page-faults", "vram", "svm-vram")

ORDERS = [pytest.param(order, id="-".join(map(str, order))) for order in itertools.permutations(range(3))]


def accepts(vm: Vm, device: Device, address: int) -> bool:
    """Whether advice may name the VRAM of a device; what it may give else is ENOLINK."""
    try:
        vm.madvise(
            address,
            SZ_2M,
            PREFERRED_LOC,
            devmem_fd=device.fd,
            migration_policy=xe.DRM_XE_MIGRATE_ALL_PAGES,
            region_instance=device.vram[0],
        )
    except OSError as error:
        if error.errno != errno.ENOLINK:
            raise
        return False
    return True


def relation(vms: dict[int, Vm], devices: list[Device], address: int) -> dict[int, set[int]]:
    """Each device to those whose VRAM it can name."""
    return {
        user: {named for named, device in enumerate(devices) if accepts(vm, device, address)}
        for user, vm in vms.items()
    }


def mirrors(make_vm: MakeVm, devices: list[Device], order: tuple[int, ...]) -> dict[int, Vm]:
    """A mirror on each device, made in that order."""
    vms = {number: make_vm(FAULTING, devices[number]) for number in order}
    for vm in vms.values():
        vm.mirror()
    return vms


def check(groups: dict[int, set[int]]) -> None:
    """Each device names itself and all of its group, and is named by them."""
    for user, named in groups.items():
        assert user in named
        for other in named:
            assert groups[other] == named, f"{user} may name {named}, {other} may name {groups[other]}"


@behaviour("p2p.owner-clique", "p2p.owner-by-distance")
@acts("ioctl", "load", "store")
@needs("three-devices")
@pytest.mark.parametrize("order", ORDERS)
def test_devices_that_reach_each_other_are_a_clique(
    make_vm: MakeVm, devices: list[Device], memory: Memory, sentinel: Sentinel, order: tuple[int, ...]
) -> None:
    """Devices (of three) that can name each other's VRAM share one owner; memory passes between any two."""
    vms, buffer = mirrors(make_vm, devices, order), memory(SZ_2M, align=SZ_2M)
    groups = relation(vms, devices, buffer.address)
    check(groups)
    chose(f"devices that share VRAM: {sorted(map(sorted, {frozenset(named) for named in groups.values()}))}")
    for writer, reader in itertools.permutations(vms.values(), 2):
        pass_on(writer, reader, buffer, sentinel)


def pass_on(writer: Vm, reader: Vm, buffer: Buffer, sentinel: Sentinel) -> None:
    """Another GPU and the CPU load what one GPU stored in its VRAM."""
    value = sentinel()
    writer.prefetch(buffer.address, SZ_2M, writer.device.vram[0])
    writer.queue().store(buffer.address, value)
    gpu_sees(reader.queue(), buffer.address, value)
    landed(buffer, 0, value)


@behaviour("p2p.owner-release")
@acts("ioctl")
@needs("three-devices")
def test_cliques_are_sound_after_all_vms_closed(
    make_vm: MakeVm, devices: list[Device], memory: Memory
) -> None:
    """If all VMs are closed and recreated in another order, devices can be grouped differently, and consistently."""
    buffer, seen = memory(SZ_2M, align=SZ_2M), []
    for order in itertools.permutations(range(3)):
        vms = mirrors(make_vm, devices, order)
        groups = relation(vms, devices, buffer.address)
        check(groups)
        seen.append(groups)
        for vm in vms.values():
            vm.close()
    chose(f"orders of making VMs that group devices in another way: {sum(one != seen[0] for one in seen)}")
