# SPDX-License-Identifier: MIT
"""VM_QUERY_MEM_RANGE_ATTRS for each kind of VMA, before and after MADVISE (xe_vm.c: get_mem_attrs)."""

from __future__ import annotations

import ctypes
import errno
import os
import random

import pytest

from fixtures import acts, behaviour, beyond_header, needs, refused
from fixtures.checks import HarnessError
from fixtures.counting import count
from fixtures.given import MakeBo, Memory
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M
from fixtures.xe.bo import SYSTEM
from fixtures.xe.device import Device
from fixtures.xe.flags import ATOMIC, ATOMIC_MODES, PAT, PREFERRED_LOC
from fixtures.xe.vm import Vm
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
MASK = 0xFFFF_FFFF

pytestmark = needs("page-faults", "range-attributes")

Attributes = tuple[int, int, int, int]
"""devmem_fd, migration_policy, atomic mode and PAT index of an area."""


def attributes(vm: Vm, address: int) -> Attributes:
    """Attributes of the VMA at an address. Counts the act "query"."""
    (area,) = vm.attributes(address, PAGE)
    count("query")
    location = area.preferred_mem_loc
    return (location.devmem_fd, location.migration_policy, area.atomic.val, area.pat_index.val)


@pytest.fixture
def kinds(fault_vm: Vm, bo: MakeBo, memory: Memory) -> dict[str, int]:
    """The start of a VMA of 2 MiB of each kind, next to each other."""
    at = {kind: AT + n * SZ_2M for n, kind in enumerate(("bo", "userptr", "null", "mirror"))}
    fault_vm.map(bo(SZ_2M), at["bo"])
    fault_vm.map_userptr(at["userptr"], memory(SZ_2M, align=SZ_2M).address, SZ_2M)
    fault_vm.bind_and_wait(addr=at["null"], range=SZ_2M, flags=xe.DRM_XE_VM_BIND_FLAG_NULL)
    fault_vm.mirror(at["mirror"], SZ_2M)
    return at


@behaviour("madvise.query.all-kinds")
@acts("query")
@needs("userptr")
def test_query_lists_each_kind_of_vma(fault_vm: Vm, kinds: dict[str, int]) -> None:
    """VM_QUERY_MEM_RANGE_ATTRS lists BO, userptr, NULL and mirror VMAs with their bounds, in order."""
    found = fault_vm.attributes(AT - SZ_2M, 8 * SZ_2M)
    count("query")
    assert [(area.start, area.end) for area in found] == [(at, at + SZ_2M) for at in kinds.values()]


@behaviour("madvise.query.defaults")
@acts("query")
def test_fresh_mirror_has_defaults(fault_vm: Vm) -> None:
    """A fresh mirror has devmem_fd 0, policy 0, atomic mode 0 and the PAT index of its bind."""
    flags = xe.DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR
    for n, index in enumerate(fault_vm.device.coherent_pats):
        at = AT + 2 * n * SZ_2M
        fault_vm.bind_and_wait(addr=at, range=SZ_2M, flags=flags, pat_index=index)
        assert attributes(fault_vm, at) == (0, 0, 0, index)


@behaviour("madvise.query.bounds-unclipped")
@acts("query")
@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, PAGE), (SZ_2M // 2, PAGE), (SZ_2M - PAGE, PAGE), (-PAGE, 2 * PAGE), (SZ_2M - PAGE, 2 * PAGE)],
)
def test_query_reports_whole_vmas(fault_vm: Vm, offset: int, size: int) -> None:
    """VM_QUERY_MEM_RANGE_ATTRS of part of a VMA reports the bounds of the VMA."""
    fault_vm.mirror(AT, SZ_2M)
    found = fault_vm.attributes(AT + offset, size)
    count("query")
    assert [(area.start, area.end) for area in found] == [(AT, AT + SZ_2M)]


@behaviour("madvise.query.larger-array")
@acts("query")
def test_query_into_larger_array_writes_real_count(fault_vm: Vm, rng: random.Random) -> None:
    """With room for more VMAs num_mem_ranges becomes the real number, and memory after them is not written."""
    for n in range(3):
        fault_vm.mirror(AT + 2 * n * SZ_2M, SZ_2M)
    size = ctypes.sizeof(xe.drm_xe_mem_range_attr)
    filler = rng.randbytes(8 * size)
    array = (ctypes.c_char * len(filler)).from_buffer_copy(filler)
    argument = xe.drm_xe_vm_query_mem_range_attr(
        vm_id=fault_vm.id,
        start=AT,
        range=8 * SZ_2M,
        num_mem_ranges=8,
        sizeof_mem_range_attr=size,
        vector_of_mem_attr=ctypes.addressof(array),
    )
    fault_vm.device.ioctl(xe.DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, argument)
    count("query")
    assert argument.num_mem_ranges == 3
    assert bytes(array)[3 * size :] == filler[3 * size :]
    found = (xe.drm_xe_mem_range_attr * 3).from_buffer_copy(bytes(array)[: 3 * size])
    assert [area.start for area in found] == [AT + 2 * n * SZ_2M for n in range(3)]


@behaviour("madvise.query.no-region-instance")
@acts("query")
@needs("two-devices", "interconnect", "vram")
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_foreign_location_is_reported_as_fd(
    devices: list[Device], mirror_vm: Vm, memory: Memory, closed: bool
) -> None:
    """A preferred location on another device is reported as the given descriptor, closed or not, and no region."""
    buffer, peer = memory(SZ_2M, align=SZ_2M), devices[1]
    fd = os.dup(peer.fd)
    try:
        mirror_vm.madvise(
            buffer.address,
            SZ_2M,
            PREFERRED_LOC,
            devmem_fd=fd,
            region_instance=peer.vram[0],
            migration_policy=1,
        )
    finally:
        if closed:
            os.close(fd)
    try:
        assert attributes(mirror_vm, buffer.address)[:2] == (fd, 1)
        (area,) = mirror_vm.attributes(buffer.address, PAGE)
        assert not any(area.reserved)
    finally:
        if not closed:
            os.close(fd)


@behaviour("madvise.pref.only-mirror")
@acts("query")
@needs("userptr")
def test_location_is_for_mirrors_only(fault_vm: Vm, kinds: dict[str, int]) -> None:
    """MADVISE PREFERRED_LOC over VMAs of each kind succeeds and changes only the mirror."""
    before = {kind: attributes(fault_vm, at) for kind, at in kinds.items()}
    fault_vm.madvise(AT, 4 * SZ_2M, PREFERRED_LOC, devmem_fd=-1 & MASK, migration_policy=1)
    after = {kind: attributes(fault_vm, at) for kind, at in kinds.items()}
    assert after == {**before, "mirror": (-1 & MASK, 1, *before["mirror"][2:])}


@behaviour("madvise.pref.policy-stored-unused")
@acts("query")
@pytest.mark.parametrize("devmem_fd", [0, -1], ids=["device", "system"])
def test_migration_policy_is_stored(fault_vm: Vm, devmem_fd: int) -> None:
    """MADVISE stores each migration_policy and the query reports it, next to the location."""
    fault_vm.mirror(AT, SZ_2M)
    for policy in (xe.DRM_XE_MIGRATE_ONLY_SYSTEM_PAGES, xe.DRM_XE_MIGRATE_ALL_PAGES, 1):
        fault_vm.madvise(AT, SZ_2M, PREFERRED_LOC, devmem_fd=devmem_fd & MASK, migration_policy=policy)
        assert attributes(fault_vm, AT)[:2] == (devmem_fd & MASK, policy)


@behaviour("madvise.atomic.mirror")
@acts("query")
def test_atomic_mode_of_a_mirror_is_stored(fault_vm: Vm) -> None:
    """MADVISE ATOMIC of a mirror sets each mode, from each other one, and changes nothing else."""
    fault_vm.mirror(AT, SZ_2M)
    before = attributes(fault_vm, AT)
    for old in ATOMIC_MODES.values():
        for new in ATOMIC_MODES.values():
            for mode in (old, new):
                fault_vm.madvise(AT, SZ_2M, ATOMIC, val=mode)
                assert attributes(fault_vm, AT) == (*before[:2], mode, before[3])


@behaviour("madvise.atomic.userptr")
@acts("query")
@needs("userptr", "vram")
@pytest.mark.parametrize("mode", [mode for mode in ATOMIC_MODES if mode != "undefined"])
def test_userptr_stores_atomic_mode_device_only(fault_vm: Vm, bo: MakeBo, memory: Memory, mode: str) -> None:
    """MADVISE ATOMIC of a userptr succeeds, but sets only DEVICE, if the device has atomics on system memory."""
    fault_vm.map_userptr(AT, memory(SZ_2M, align=SZ_2M).address, SZ_2M)
    fault_vm.madvise(AT, SZ_2M, ATOMIC, val=ATOMIC_MODES[mode])
    # That a bo in system memory alone may have the mode DEVICE says that the device has such atomics.
    stores = mode == "device" and _has_atomics_on_system_memory(fault_vm, bo)
    assert attributes(fault_vm, AT)[2] == (ATOMIC_MODES[mode] if stores else 0)


def _has_atomics_on_system_memory(vm: Vm, bo: MakeBo) -> bool:
    made = bo(SZ_2M, placement=SYSTEM)
    vm.map(made, AT + SZ_2M)
    try:
        vm.madvise(AT + SZ_2M, SZ_2M, ATOMIC, val=ATOMIC_MODES["device"])
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise HarnessError(f"MADVISE of a bo: {error}") from error
    return True


@behaviour("madvise.autoreset.explicit")
@acts("query")
def test_default_values_restore_mirror(fault_vm: Vm) -> None:
    """MADVISE with the values of a fresh VMA restores its attributes."""
    fault_vm.mirror(AT, SZ_2M)
    before = attributes(fault_vm, AT)
    fault_vm.madvise(AT, SZ_2M, ATOMIC, val=ATOMIC_MODES["cpu"])
    fault_vm.madvise(AT, SZ_2M, PREFERRED_LOC, devmem_fd=-1 & MASK, migration_policy=1)
    assert attributes(fault_vm, AT) == (-1 & MASK, 1, ATOMIC_MODES["cpu"], before[3])
    fault_vm.madvise(AT, SZ_2M, ATOMIC, val=0)
    fault_vm.madvise(AT, SZ_2M, PREFERRED_LOC, devmem_fd=0, migration_policy=0)
    assert attributes(fault_vm, AT) == before


@behaviour("madvise.failure-no-change")
@acts("query", "refusal")
@pytest.mark.parametrize(
    "type",
    [
        pytest.param(PREFERRED_LOC, id="location"),
        pytest.param(ATOMIC, id="atomic"),
        pytest.param(PAT, id="pat", marks=behaviour("madvise.pat.bounds")),
    ],
)
def test_refused_madvise_changes_no_attribute(fault_vm: Vm, type: int) -> None:
    """A failed MADVISE leaves the attributes of each VMA in its range unchanged."""
    for n in range(10):
        fault_vm.mirror(AT + 2 * n * SZ_2M, SZ_2M)
    fault_vm.madvise(AT, 20 * SZ_2M, ATOMIC, val=ATOMIC_MODES["cpu"])
    before = [attributes(fault_vm, AT + 2 * n * SZ_2M) for n in range(10)]
    wrong = {
        PREFERRED_LOC: {"devmem_fd": -2 & MASK, "migration_policy": 1},
        ATOMIC: {"val": xe.DRM_XE_ATOMIC_CPU + 1},
        PAT: {"val": 0xFFFF},
    }
    with refused(errno.EINVAL):
        fault_vm.madvise(AT, 20 * SZ_2M, type, **wrong[type])
    assert [attributes(fault_vm, AT + 2 * n * SZ_2M) for n in range(10)] == before


@behaviour("madvise.type-unknown")
@acts("refusal")
@beyond_header
def test_type_beyond_the_last_is_refused(fault_vm: Vm) -> None:
    """MADVISE with an undefined type gives EINVAL."""
    fault_vm.mirror(AT, SZ_2M)
    for type in (xe.DRM_XE_VMA_ATTR_PURGEABLE_STATE + 1, 1 << 16, MASK):
        argument = xe.drm_xe_madvise(vm_id=fault_vm.id, start=AT, range=SZ_2M, type=type)
        with refused(errno.EINVAL):
            fault_vm.device.ioctl(xe.DRM_IOCTL_XE_MADVISE, argument)
