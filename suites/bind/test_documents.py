# SPDX-License-Identifier: MIT
"""Sentences of the header and of drm-vm-bind-async.rst about VM_BIND."""

from __future__ import annotations

import errno

import pytest

from fixtures import LONG_RUNNING, PLAIN, acts, behaviour, gpu_sees, landed, needs
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M
from fixtures.xe.flags import UNMAP
from fixtures.xe.sync import Syncobj
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound."""


@behaviour("bind.unmap.offset-ignored")
@acts("store", "ioctl")
@pytest.mark.parametrize("offset", [PAGE, SZ_2M, 1 << 40, 1, PAGE - 1], ids=hex)
def test_unmap_ignores_obj_offset(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel, offset: int) -> None:
    """UNMAP succeeds with any obj_offset, or gives EINVAL for one that is not a multiple of the page size."""
    made, other, value = bo(PAGE), bo(PAGE), sentinel()
    plain_vm.map(made, AT)
    try:
        plain_vm.bind_and_wait(UNMAP, addr=AT, range=PAGE, obj_offset=offset)
    except OSError as error:
        if error.errno != errno.EINVAL or offset % PAGE == 0:
            raise
        chose("UNMAP with an unaligned obj_offset: EINVAL")
        plain_vm.unmap(AT, PAGE)
    plain_vm.map(other, AT)
    plain_vm.queue().store(AT, value)
    landed(other.map(), 0, value)


@behaviour("bind.null.pat-any")
@acts("load")
@pytest.mark.parametrize("flags", [PLAIN, LONG_RUNNING], ids=["plain", "lr"])
@needs("xe2")
def test_null_takes_each_pat_index(make_vm: MakeVm, flags: int) -> None:
    """A NULL mapping accepts each PAT index that is not reserved, and reads as zeros."""
    vm = make_vm(flags)
    queue = vm.queue()
    for index in range(16):  # those of xe2_pat_table that no later table reserves
        at = AT + index * SZ_2M
        vm.bind_and_wait(addr=at, range=SZ_2M, flags=xe.DRM_XE_VM_BIND_FLAG_NULL, pat_index=index)
        gpu_sees(queue, at + SZ_2M - 4, 0)


@behaviour("bind.fence.in-waits")
@acts("store")
@pytest.mark.parametrize("point", [0, 9], ids=["binary", "timeline"])
def test_bind_waits_for_its_syncobj(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel, point: int) -> None:
    """A bind that waits for a syncobj changes nothing before it is signalled, and takes effect after that."""
    old, new, door = bo(PAGE), bo(PAGE), bo(PAGE)
    gate, held, done = door.map(), Syncobj(plain_vm.device), Syncobj(plain_vm.device)
    plain_vm.map(door, AT - SZ_2M)
    plain_vm.map(old, AT)
    queue, other = plain_vm.queue(), plain_vm.queue()
    job = queue.start(Batch().semaphore_wait(AT - SZ_2M, 1), [held.sync(point)])
    plain_vm.bind(addr=AT, range=PAGE, obj=new.handle, syncs=[held.waiting(point), done.sync()])
    assert not done.signalled
    gate.set_u32(0, 1)
    done.wait()
    job.wait()
    value = sentinel()
    other.store(AT, value)
    landed(new.map(), 0, value)
    assert old.map().u32(0) == 0
    count("store")
