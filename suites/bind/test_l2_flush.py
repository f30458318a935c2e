# SPDX-License-Identifier: MIT
"""Process memory on a GPU that flushes its L2 for the CPU depending on the PAT index (xe_drm.h: pat_index)."""

from __future__ import annotations

import errno

import pytest

from fixtures import acts, behaviour, landed, needs, refused
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.xe.flags import MAP, MAP_USERPTR, MIRROR, PAT
from fixtures.xe.vm import Vm
from suites.bind.pat import mirror_works

AT = 0x20_0000_0000
"""A GPU address at which the process has nothing."""

# PAT indices in the table of Xe3p (xe_pat.c)
TWO_WAY = (2, 7, 23, 27, 31)
TRANSIENT = 19
"""XA: 1-way coherent, and written back whenever work ends."""
ONE_WAY = (1, 4, 5, 22, 26, 30)
COMPRESSED_ONE_WAY = 16

pytestmark = needs("l2-flush", "range-attributes")


@behaviour("bind.cam.l2flush-pat")
@acts("refusal")
@needs("page-faults", "cpu-addr-mirror")
@pytest.mark.parametrize("index", [*ONE_WAY, COMPRESSED_ONE_WAY])
def test_mirror_with_1way_coherent_pat_is_einval(fault_vm: Vm, index: int) -> None:
    """A mirror with a 1-way coherent PAT index gives EINVAL and binds nothing."""
    with refused(errno.EINVAL):
        fault_vm.bind(MAP, addr=0, range=fault_vm.size, flags=MIRROR, pat_index=index)
    assert fault_vm.attributes(0, fault_vm.size) == []


@behaviour("bind.cam.l2flush-pat")
@acts("store")
@needs("page-faults", "cpu-addr-mirror")
@pytest.mark.parametrize("index", [*TWO_WAY, TRANSIENT])
def test_mirror_with_2way_coherent_pat_is_bound(
    fault_vm: Vm, memory: Memory, sentinel: Sentinel, index: int
) -> None:
    """A mirror accepts a 2-way coherent PAT index, and index 19, and the GPU's store lands."""
    mirror_works(fault_vm, memory, sentinel, index)


@behaviour("bind.cam.l2flush-pat")
@acts("refusal")
@pytest.mark.parametrize("index", ONE_WAY)
def test_userptr_with_1way_coherent_pat_is_einval(plain_vm: Vm, memory: Memory, index: int) -> None:
    """MAP_USERPTR with a 1-way coherent PAT index gives EINVAL and binds nothing."""
    with refused(errno.EINVAL):
        plain_vm.bind(MAP_USERPTR, addr=AT, range=PAGE, obj_offset=memory(PAGE).address, pat_index=index)
    assert plain_vm.attributes(0, plain_vm.size) == []


@behaviour("bind.cam.l2flush-pat")
@acts("store")
@pytest.mark.parametrize("index", [*TWO_WAY, TRANSIENT])
def test_userptr_with_2way_coherent_pat_is_bound(
    plain_vm: Vm, memory: Memory, sentinel: Sentinel, index: int
) -> None:
    """MAP_USERPTR accepts a 2-way coherent PAT index, and index 19, and the GPU's store lands."""
    buffer, value = memory(PAGE), sentinel()
    plain_vm.bind_and_wait(MAP_USERPTR, addr=AT, range=PAGE, obj_offset=buffer.address, pat_index=index)
    plain_vm.queue().store(AT, value)
    landed(buffer, 0, value)


@behaviour("madvise.pat.l2flush")
@acts("refusal", "store")
@needs("page-faults", "cpu-addr-mirror")
@pytest.mark.parametrize("what", ["mirror", "userptr"])
@pytest.mark.parametrize("index", [*ONE_WAY, COMPRESSED_ONE_WAY])
def test_madvise_1way_coherent_pat_is_einval(
    fault_vm: Vm, memory: Memory, sentinel: Sentinel, what: str, index: int
) -> None:
    """MADVISE PAT of process memory with a 1-way coherent index gives EINVAL, and changes no index."""
    buffer, value = memory(PAGE), sentinel()
    place = buffer.address if what == "mirror" else AT
    if what == "mirror":
        fault_vm.mirror(place, PAGE)
    else:
        fault_vm.map_userptr(place, buffer.address, PAGE)
    before = [area.pat_index.val for area in fault_vm.attributes(place, PAGE)]
    with refused(errno.EINVAL):
        fault_vm.madvise(place, PAGE, PAT, val=index)
    assert [area.pat_index.val for area in fault_vm.attributes(place, PAGE)] == before
    for better in (*TWO_WAY, TRANSIENT):
        fault_vm.madvise(place, PAGE, PAT, val=better)
        assert [area.pat_index.val for area in fault_vm.attributes(place, PAGE)] == [better]
    fault_vm.queue().store(place, value)
    landed(buffer, 0, value)
