# SPDX-License-Identifier: MIT
"""VM_BIND over, next to and across existing mappings: munmap(2)'s rules for the GPU's address space (xe_vm_doc.h).

Whatever is bound, a bind or an unbind of an interval changes what is in that interval and nothing else: the rest of an
old binding keeps its memory, at its old offset, with its data.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from fixtures import acts, behaviour, driver_only, gpu_fault, intervals, needs, refused
from fixtures.given import MakeBo, MakeLayout, MakeVm, Memory, Sentinel
from fixtures.intervals import (
    AROUND,
    CUTTING,
    EXACT,
    PARTS,
    ROOM,
    Interval,
    Relation,
    each_piece,
    each_relation,
)
from fixtures.memory import Buffer
from fixtures.sizes import SZ_1M, SZ_2M, SZ_64K
from fixtures.xe.bo import SYSTEM
from fixtures.xe.flags import MAP, MAP_USERPTR, NULL, UNMAP
from fixtures.xe.vm import FAULTING, LONG_RUNNING, PLAIN, Vm

pytestmark = needs("range-attributes")


@dataclass(frozen=True)
class Space:
    """A VM, addresses in it that are also addresses of process memory, and where memory comes from."""

    vm: Vm
    here: Buffer
    make_bo: MakeBo
    memory: Memory

    def bo(self, where: Interval) -> tuple[Buffer, int]:
        """Bind a part of a BO, not its beginning: the memory, and the offset of the part."""
        obj = self.make_bo(where.size + SZ_64K)
        content = obj.map()
        self.vm.map(obj, where.start, offset=SZ_64K)
        return content, SZ_64K

    def userptr(self, where: Interval) -> tuple[Buffer, int]:
        """Bind other memory of the process."""
        content = self.memory(where.size + SZ_64K)
        self.vm.map_userptr(where.start, content.address + SZ_64K, where.size)
        return content, SZ_64K

    def null(self, where: Interval) -> tuple[None, int]:
        """Bind nothing: zeros."""
        self.vm.bind_and_wait(MAP, addr=where.start, range=where.size, flags=NULL)
        return None, 0

    def mirror(self, where: Interval) -> tuple[Buffer, int]:
        """Mirror the process's memory at the same address."""
        self.vm.mirror(where.start, where.size)
        return self.here, where.start - self.here.address


MakeSpace = Callable[[int, int], Space]
"""See ``make_space``."""


@pytest.fixture
def make_space(make_vm: MakeVm, bo: MakeBo, memory: Memory) -> MakeSpace:
    """``make_space(flags, piece)``: a VM, and six pieces of address space."""

    def make(flags: int, piece: int) -> Space:
        return Space(make_vm(flags), memory(ROOM * piece, align=max(piece, SZ_64K)), bo, memory)

    return make


MIRROR = pytest.param("mirror", marks=needs("cpu-addr-mirror"))
USERPTR = pytest.param("userptr", marks=needs("userptr"))
FAULT = pytest.param(FAULTING, id="fault", marks=needs("page-faults"))
MODES = pytest.mark.parametrize(
    "mode", [pytest.param(PLAIN, id="plain"), pytest.param(LONG_RUNNING, id="lr"), FAULT]
)


@behaviour("bind.unmap.munmap-semantics", "userptr.partial-unbind")
@acts("store", "load")
@MODES
@pytest.mark.parametrize("old", ["bo", USERPTR])
@each_relation
def test_unmap_keeps_rest_of_vma(
    make_space: MakeSpace, make_layout: MakeLayout, mode: int, old: str, relation: Relation
) -> None:
    """UNMAP of an interval, however it overlaps a mapping, leaves the rest with its memory, offset and data."""
    space = make_space(mode, SZ_64K)
    mapping = intervals.middle(space.here)
    layout = make_layout(space.vm.queue(), SZ_64K)
    layout.put(mapping, *getattr(space, old)(mapping))
    layout.check()
    cut = relation.to(mapping)
    space.vm.unmap(cut.start, cut.size)
    layout.take(cut)
    layout.assert_bound(intervals.of(space.here))
    layout.check()


@behaviour("bind.unmap.munmap-semantics", "fault.no-gpu-vma")
@acts("refusal")
@needs("page-faults")
@pytest.mark.parametrize("old", ["bo", USERPTR, "null", MIRROR])
@intervals.relations(*CUTTING, AROUND, EXACT)
def test_gpu_store_to_unmapped_interval_faults(
    make_space: MakeSpace, sentinel: Sentinel, old: str, relation: Relation
) -> None:
    """A GPU store fails everywhere in an unmapped interval, and does not change the memory that was there."""
    space = make_space(FAULTING, SZ_64K)
    mapping = intervals.middle(space.here)
    content, _ = getattr(space, old)(mapping)
    if old != "mirror":  # which could not be unbound after that
        space.vm.queue().store(mapping.start, sentinel())
    before = content and content.bytes()
    cut = relation.to(mapping)
    space.vm.unmap(cut.start, cut.size)
    (gone,) = mapping.common(cut)
    for address in gone.start, gone.end - 4:
        with driver_only("fault.no-gpu-vma"), gpu_fault(space.vm.queue()) as queue:
            queue.store(address, sentinel())
    assert (content and content.bytes()) == before
    if rest := mapping.minus(cut):
        space.vm.queue().store(rest[0].start, sentinel())


NEEDS_OF: dict[str, list[pytest.MarkDecorator]] = {
    "bo": [],
    "null": [],
    "userptr": [needs("userptr")],
    "mirror": [needs("cpu-addr-mirror")],
}
OVER = [
    pytest.param(
        mode,
        old,
        new,
        id=f"{new}-over-{old}-{name}",
        marks=[*marks, *NEEDS_OF[old], *NEEDS_OF[new]],
    )
    for name, mode, marks, pairs in (
        (
            "plain",
            PLAIN,
            [],
            ["bo bo", "bo userptr", "userptr bo", "null bo", "bo null"],
        ),
        (
            "fault",
            FAULTING,
            [needs("page-faults")],
            [
                *("bo bo", "userptr userptr", "bo mirror", "userptr mirror", "null mirror"),
                *("mirror bo", "mirror userptr", "mirror null", "mirror mirror"),
            ],
        ),
    )
    for old, new in (pair.split() for pair in pairs)
]


@behaviour("bind.unmap.munmap-semantics", "bind.cam.over-bo", "bind.cam.bo-inside")
@acts("load")
@pytest.mark.parametrize(("mode", "old", "new"), OVER)
@each_relation
def test_map_replaces_only_its_interval(
    make_space: MakeSpace, make_layout: MakeLayout, mode: int, old: str, new: str, relation: Relation
) -> None:
    """MAP over, across or next to a mapping replaces its interval; the rest of the old mapping is unchanged."""
    space = make_space(mode, SZ_64K)
    mapping = intervals.middle(space.here)
    layout = make_layout(space.vm.queue(), SZ_64K)
    layout.put(mapping, *getattr(space, old)(mapping))
    if old != "mirror":  # memory in use would not let go of its addresses
        layout.check()
    cut = relation.to(mapping)
    layout.put(cut, *getattr(space, new)(cut))
    layout.assert_bound(intervals.of(space.here))
    layout.check()


LARGE = 8 * SZ_1M
"""Bytes of a binding whose GPU pages are 2 MiB each where the memory allows it."""

HOLES = pytest.mark.parametrize(
    "at",
    [0, SZ_2M - SZ_64K, 3 * SZ_1M, LARGE - SZ_2M],
    ids=["first", "before-2M", "inside-2M", "last-2M"],
)


@behaviour("bind.unmap.munmap-semantics", "userptr.partial-unbind")
@acts("store", "load")
@needs("page-faults")
@pytest.mark.parametrize("place", ["system", pytest.param("vram", marks=needs("vram")), USERPTR])
@pytest.mark.parametrize("how", ["unbound", "bound-over"])
@each_piece
@HOLES
def test_unmap_splits_large_gpu_pages(
    make_space: MakeSpace, make_layout: MakeLayout, bo: MakeBo, place: str, how: str, piece: int, at: int
) -> None:
    """A hole of 4 KiB, 64 KiB or 2 MiB in a mapping of large GPU pages affects its own addresses only."""
    space = make_space(FAULTING, LARGE // PARTS)
    vm, mapping = space.vm, intervals.middle(space.here)
    layout = make_layout(vm.queue(), LARGE // PARTS)
    if place == "userptr":
        vm.map_userptr(mapping.start, space.here.address, LARGE)
        layout.put(mapping, space.here, 0)
    else:
        placement = 1 << vm.device.vram[0] if place == "vram" else SYSTEM
        obj = bo(LARGE, placement=placement)
        layout.put(mapping, obj.map(), 0)
        vm.map(obj, mapping.start)
    layout.check()
    hole = Interval(mapping.start + at, mapping.start + at + piece)
    if how == "unbound":
        vm.unmap(hole.start, hole.size)
        layout.take(hole)
    else:
        other = bo(piece)
        layout.put(hole, other.map(), 0)
        vm.map(other, hole.start)
    layout.assert_bound(mapping)
    layout.check()


BESIDES: dict[str, Callable[[Space, Interval], dict[str, Any]]] = {
    "unbind": lambda space, cut: {"op": UNMAP},
    "bo": lambda space, cut: {"op": MAP, "obj": space.make_bo(cut.size).handle},
    "userptr": lambda space, cut: {"op": MAP_USERPTR, "obj_offset": space.memory(cut.size).address},
    "null": lambda space, cut: {"op": MAP, "flags": NULL},
}
"""Operations on the addresses of a mirror."""


@behaviour(
    "bind.cam.unmap-active-busy",
    "bind.cam.bo-over-active-busy",
    "bind.cam.partial-unmap-straddle",
    "bind.cam.partial-unmap-split",
)
@acts("store", "load")
@needs("page-faults", "cpu-addr-mirror")
@pytest.mark.parametrize("how", BESIDES)
@each_relation
def test_bind_overlapping_active_range_is_ebusy(
    make_space: MakeSpace, make_layout: MakeLayout, how: str, relation: Relation
) -> None:
    """UNMAP, or a MAP of something else, next to mirrored memory in use succeeds; over it this driver gives EBUSY."""
    space = make_space(FAULTING, SZ_64K)
    vm, everything, used = space.vm, intervals.of(space.here), intervals.middle(space.here)
    vm.mirror(everything.start, everything.size)
    layout = make_layout(vm.queue(), SZ_64K)
    layout.put(used, space.here, SZ_64K)
    layout.check()
    cut = relation.to(used)
    fields = {"addr": cut.start, "range": cut.size, **BESIDES[how](space, cut)}
    if used.common(cut):
        busy = "bind.cam.bo-over-active-busy", "bind.cam.partial-unmap-straddle", "bind.cam.unmap-active-busy"
        with driver_only(*busy):
            with refused(errno.EBUSY):
                vm.bind(**fields)
            layout.check()
    else:
        vm.bind_and_wait(**fields)
        if how == "unbind":
            assert all(not cut.common(Interval(a.start, a.end)) for a in vm.attributes(cut.start, cut.size))
        layout.check()


@behaviour("bind.cam.rebind-over-active")
@acts("store", "load")
@needs("page-faults", "cpu-addr-mirror")
@each_relation
def test_mirror_over_part_of_active_mirror_keeps_data(
    make_space: MakeSpace, make_layout: MakeLayout, relation: Relation
) -> None:
    """A mirror bound over part of a default mirror in use, or next to it, leaves one mirror with all its data."""
    space = make_space(FAULTING, SZ_64K)
    used = intervals.middle(space.here)
    layout = make_layout(space.vm.queue(), SZ_64K)
    layout.put(used, *space.mirror(used))
    layout.check()
    cut = relation.to(used)
    layout.put(cut, *space.mirror(cut))
    layout.assert_bound(intervals.of(space.here))
    layout.check()


@behaviour("bind.unwind.remap", "bind.errors.synchronous")
@acts("refusal", "load")
@needs("page-faults", "userptr")
@pytest.mark.parametrize("old", ["bo", "userptr", "null", MIRROR])
@pytest.mark.parametrize("array", [False, True], ids=["bind", "array"])
@intervals.relations(*CUTTING, AROUND, EXACT)
def test_failed_map_restores_replaced_vma(
    make_space: MakeSpace, make_layout: MakeLayout, memory: Memory, old: str, array: bool, relation: Relation
) -> None:
    """A MAP that fails after unmapping its interval restores the old mapping, alone and in an array."""
    space = make_space(FAULTING, SZ_64K)
    vm, mapping = space.vm, intervals.middle(space.here)
    layout = make_layout(vm.queue(), SZ_64K)
    layout.put(mapping, *getattr(space, old)(mapping))
    if old != "mirror":
        layout.check()
    cut = relation.to(mapping)
    nowhere = memory(cut.size)
    nowhere.munmap()
    before = [bytes(area) for area in vm.attributes(space.here.address, space.here.size)]
    fails = vm.operation(MAP_USERPTR, addr=cut.start, range=cut.size, obj_offset=nowhere.address)
    first = vm.operation(MAP, addr=cut.start, range=SZ_64K, obj=space.make_bo(SZ_64K).handle)
    with refused(errno.EFAULT):
        vm.bind_array([first, fails] if array else [fails])
    assert [bytes(area) for area in vm.attributes(space.here.address, space.here.size)] == before
    layout.check()
