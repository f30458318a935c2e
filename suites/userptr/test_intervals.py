# SPDX-License-Identifier: MIT
"""munmap, mremap, madvise and mprotect of any part of the memory under a userptr.

The binding is by address: whatever is mapped there is what the GPU gets. Its pages are collected all together
(xe_userptr.c: xe_vma_userptr_pin_pages), so one hole takes the GPU's access to all of it, until the hole is filled or
unbound; data is never lost by that.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

import pytest

from fixtures import QueueError, acts, behaviour, gpu_fault, gpu_sees, intervals, kinds, needs, refused
from fixtures.choices import chose
from fixtures.given import MakeLayout, MakeSyncobj, MakeVm, Memory, Sentinel
from fixtures.intervals import CUTTING, EXACT, INSIDE, MIDDLE, RIGHT, ROOM, Interval, Relation, each_relation
from fixtures.kinds import KINDS, Kind, each_kind
from fixtures.memory import MREMAP_DONTUNMAP, PROT_READ, READ_WRITE, Buffer, reserve
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.timeouts import scale_timeout
from fixtures.xe.flags import MAP_USERPTR, READONLY, UNMAP
from fixtures.xe.layout import Layout
from fixtures.xe.sync import SECOND
from fixtures.xe.vm import FAULTING, LONG_RUNNING, PLAIN, Vm
from gpu import Batch

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""

FAULT = pytest.param(FAULTING, id="fault", marks=needs("page-faults"))
MODES = pytest.mark.parametrize(
    "mode", [pytest.param(PLAIN, id="plain"), pytest.param(LONG_RUNNING, id="lr"), FAULT]
)

pytestmark = needs("userptr")


class Bound:
    """Six pieces of memory, of which the middle four are bound at AT and were used by the GPU."""

    def __init__(self, layout: Layout, buffer: Buffer) -> None:
        self.layout = layout
        self.vm: Vm = layout.vm
        self.buffer = buffer
        self.mapping = intervals.middle(buffer)
        """CPU addresses."""
        self.vm.map_userptr(AT, self.mapping.start, self.mapping.size)
        layout.put(self.gpu(self.mapping), buffer, self.offset(self.mapping))
        layout.check()

    def gpu(self, part: Interval) -> Interval:
        """GPU addresses of a part of the memory."""
        return Interval(AT + part.start - self.mapping.start, AT + part.end - self.mapping.start)

    def offset(self, part: Interval) -> int:
        """Offset of a part in the buffer."""
        return part.start - self.buffer.address


class MakeBound(Protocol):
    """See ``make_bound``."""

    def __call__(self, mode: int, kind: Kind = kinds.ANONYMOUS) -> Bound: ...


Unreachable = Callable[[Bound], None]
"""See ``unreachable``."""


@pytest.fixture
def make_bound(make_vm: MakeVm, memory: Memory, make_layout: MakeLayout) -> MakeBound:
    """``make_bound(mode, kind)``: see Bound."""

    def make(mode: int, kind: Kind = kinds.ANONYMOUS) -> Bound:
        buffer = memory(ROOM * kind.piece, kind=kind, align=SZ_2M)
        return Bound(make_layout(make_vm(mode).queue(), kind.piece), buffer)

    return make


@pytest.fixture
def unreachable(sentinel: Sentinel) -> Unreachable:
    """``unreachable(bound)``: no part of the binding can be used by the GPU, and trying changes nothing."""

    def check(bound: Bound) -> None:
        for piece in Interval(AT, AT + bound.mapping.size).pieces(bound.mapping.size // 4):
            with gpu_fault(bound.vm.queue()) as queue:
                queue.store(piece.start + 64, sentinel())

    return check


@behaviour("userptr.remap-after-munmap", "userptr.fault-mode-freed")
@acts("store", "load")
@needs("page-faults")
@each_kind
@each_relation
def test_munmap_of_part_takes_binding_until_refilled(
    make_bound: MakeBound, unreachable: Unreachable, kind: Kind, relation: Relation
) -> None:
    """munmap(2) of a part disables the binding; new memory there enables it again, with the data of the rest."""
    bound = make_bound(FAULTING, kind)
    cut = relation.to(bound.mapping)
    bound.buffer.munmap(bound.offset(cut), cut.size)
    if bound.mapping.common(cut):
        unreachable(bound)
        bound.buffer.map_again(bound.offset(cut), cut.size)
        bound.layout.cleared(bound.buffer, cut)
    bound.layout.check()


@behaviour("userptr.remap-after-munmap", "userptr.free-with-binding")
@acts("store", "load")
@each_kind
@each_relation
def test_next_exec_finds_new_memory_in_hole(make_bound: MakeBound, kind: Kind, relation: Relation) -> None:
    """Without page faults, the next EXEC uses new memory mapped where a part was unmapped, along with the rest."""
    bound = make_bound(PLAIN, kind)
    cut = relation.to(bound.mapping)
    bound.buffer.munmap(bound.offset(cut), cut.size)
    bound.buffer.map_again(bound.offset(cut), cut.size)
    bound.layout.cleared(bound.buffer, cut)
    bound.layout.check()


@behaviour("userptr.hole-seen-by-exec")
@acts("exec", "load")
@intervals.relations(*CUTTING, EXACT)
def test_hole_seen_by_exec_may_be_refilled(
    make_bound: MakeBound, syncobj: MakeSyncobj, sentinel: Sentinel, relation: Relation
) -> None:
    """Whether a binding is usable after an EXEC failed on a hole in its memory is recorded; a new binding always is."""
    bound = make_bound(PLAIN)
    (cut,) = bound.mapping.common(relation.to(bound.mapping))
    bound.buffer.munmap(bound.offset(cut), cut.size)
    bound.vm.queue().run(Batch().noop())
    bound.buffer.map_again(bound.offset(cut), cut.size)
    bound.layout.cleared(bound.buffer, cut)
    before, value, ended = bound.buffer.bytes(), sentinel(), syncobj()
    job = bound.vm.queue().start(Batch().store_dword(AT + 64, value), [ended.sync()])
    try:
        job.wait()
        chose("the old binding: usable")
    except QueueError:
        chose("the old binding: lost")
        assert bound.buffer.bytes() == before
    # A job that failed may end seconds after its queue did, and VM_BIND fails if it has to wait that long for it
    # (docs/findings.md, "A job of a queue that was reset may end five seconds late").
    ended.wait(timeout=int(scale_timeout(10 * SECOND)))
    bound.vm.map_userptr(AT, bound.mapping.start, bound.mapping.size)
    bound.layout.check()


@behaviour("userptr.partial-unbind", "userptr.free-with-binding")
@acts("store", "load", "refusal")
@needs("page-faults", "range-attributes")
@intervals.relations(*CUTTING)
def test_unmap_of_hole_brings_rest_back(
    make_bound: MakeBound, unreachable: Unreachable, relation: Relation
) -> None:
    """After munmap of a part, UNMAP of that part makes the rest usable again, with its data."""
    bound = make_bound(FAULTING)
    (cut,) = bound.mapping.common(relation.to(bound.mapping))
    bound.buffer.munmap(bound.offset(cut), cut.size)
    unreachable(bound)
    hole = bound.gpu(cut)
    bound.vm.unmap(hole.start, hole.size)
    bound.layout.take(hole)
    bound.layout.assert_bound(Interval(AT, AT + bound.mapping.size))
    bound.layout.check()


@behaviour("userptr.partial-unbind", "userptr.unmapped-at-bind")
@acts("refusal", "load")
@needs("range-attributes")
@pytest.mark.parametrize("mode", [pytest.param(PLAIN, id="plain"), FAULT])
def test_unmap_that_keeps_hole_is_efault(make_bound: MakeBound, mode: int) -> None:
    """UNMAP of a part gives EFAULT, and changes nothing, if memory under the rest of the binding is not mapped."""
    bound = make_bound(mode)
    (gone,) = bound.mapping.common(RIGHT.to(bound.mapping))
    bound.buffer.munmap(bound.offset(gone), gone.size)
    middle = bound.gpu(MIDDLE.to(bound.mapping))
    with refused(errno.EFAULT):
        bound.vm.bind(UNMAP, addr=middle.start, range=middle.size)
    bound.layout.assert_bound(Interval(AT, AT + bound.mapping.size))
    bound.buffer.map_again(bound.offset(gone), gone.size)
    bound.layout.cleared(bound.buffer, gone)
    bound.layout.check()


@behaviour("userptr.unmapped-at-bind")
@acts("store")
@MODES
@each_relation
def test_userptr_over_partly_mapped_memory_is_efault(
    make_vm: MakeVm, memory: Memory, make_layout: MakeLayout, mode: int, relation: Relation
) -> None:
    """MAP_USERPTR of an interval gives EFAULT if any of it is unmapped, and works otherwise."""
    vm, buffer = make_vm(mode), memory(ROOM * SZ_64K)
    mapping = intervals.middle(buffer)
    buffer.munmap(0, SZ_64K)
    buffer.munmap(buffer.size - SZ_64K)
    wanted = relation.to(mapping)
    if wanted.minus(mapping):
        with refused(errno.EFAULT):
            vm.bind(MAP_USERPTR, addr=AT, range=wanted.size, obj_offset=wanted.start)
        wanted = mapping
    layout = make_layout(vm.queue(), SZ_64K)
    vm.map_userptr(AT, wanted.start, wanted.size)
    layout.put(Interval(AT, AT + wanted.size), buffer, wanted.start - buffer.address)
    layout.check()


@behaviour("userptr.fault-mode-inval", "userptr.hugetlb-thp", "userptr.file-backed")
@acts("store", "load")
@MODES
@each_kind
@each_relation
def test_dontneed_of_part_of_userptr_is_seen_by_gpu(
    make_bound: MakeBound, mode: int, kind: Kind, relation: Relation
) -> None:
    """After MADV_DONTNEED of a part the GPU sees zeros, or the file's data, there, and the rest unchanged."""
    bound = make_bound(mode, kind)
    cut = relation.to(bound.mapping)
    if kinds.discard(bound.buffer, kind, bound.offset(cut), cut.size):
        bound.layout.cleared(bound.buffer, cut)
    bound.layout.check()


@behaviour("userptr.free-with-binding", "userptr.remap-after-munmap")
@acts("store", "load", "refusal")
@needs("page-faults")
@each_kind
@intervals.relations(*INSIDE)
def test_mremap_away_and_back_keeps_binding(
    make_bound: MakeBound, unreachable: Unreachable, kind: Kind, relation: Relation
) -> None:
    """mremap(2) of a part leaves a hole under the binding; when it is moved back, the binding works with its data."""
    bound = make_bound(FAULTING, kind)
    cut = relation.to(bound.mapping)
    part = Buffer(cut.start, cut.size)
    moved = part.mremap(to=reserve(cut.size, SZ_2M))
    unreachable(bound)
    moved.mremap(to=cut.start)
    bound.layout.check()


@behaviour("userptr.remap-after-munmap")
@acts("store", "load")
@MODES
@intervals.relations(*INSIDE)
def test_mremap_dontunmap_leaves_zeros_in_binding(
    make_bound: MakeBound, sentinel: Sentinel, mode: int, relation: Relation
) -> None:
    """After mremap with DONTUNMAP the binding maps zeros where the pages were, and the moved pages are untouched."""
    bound = make_bound(mode)
    cut = relation.to(bound.mapping)
    before = bound.buffer.bytes(bound.offset(cut), cut.size)
    moved = Buffer(cut.start, cut.size).mremap(to=reserve(cut.size), flags=MREMAP_DONTUNMAP)
    bound.layout.cleared(bound.buffer, cut)
    bound.layout.check()
    assert moved.bytes() == before
    moved.munmap()


@behaviour("userptr.overlapping", "userptr.hugetlb-thp")
@acts("store", "load")
@MODES
@kinds.kinds([kind for kind in KINDS if kind.grows])
def test_memory_grown_by_mremap_can_be_bound(
    make_vm: MakeVm, memory: Memory, make_layout: MakeLayout, mode: int, kind: Kind
) -> None:
    """mremap(2) that grows memory in place affects no binding of it, and the new part can be bound after it."""
    vm, buffer, size = make_vm(mode), memory(ROOM * kind.piece, kind=kind, align=SZ_2M), 4 * kind.piece
    buffer.munmap(size)
    vm.map_userptr(AT, buffer.address, size)
    layout = make_layout(vm.queue(), kind.piece)
    layout.put(Interval(AT, AT + size), buffer)
    layout.check()
    Buffer(buffer.address, size).mremap(buffer.size, flags=0)
    layout.check()
    vm.map_userptr(AT + size, buffer.address + size, buffer.size - size)
    layout.put(Interval(AT + size, AT + buffer.size), buffer, size)
    layout.check()


@behaviour("userptr.free-with-binding")
@acts("store", "load", "refusal")
@needs("page-faults")
@each_kind
def test_memory_shrunk_by_mremap_can_be_rebound(
    make_bound: MakeBound, unreachable: Unreachable, kind: Kind
) -> None:
    """After mremap shrinks memory the binding is unusable until it is cut to what is left."""
    bound = make_bound(FAULTING, kind)
    left = 3 * kind.piece
    Buffer(bound.buffer.address, bound.buffer.size).mremap(left, flags=0)
    unreachable(bound)
    hole = bound.gpu(Interval(bound.buffer.address + left, bound.mapping.end))
    bound.vm.unmap(hole.start, hole.size)
    bound.layout.take(hole)
    bound.layout.check()


@behaviour("userptr.prot-read-write-bind")
@acts("store", "load", "refusal")
@needs("page-faults")
@intervals.relations(*CUTTING, EXACT)
def test_mprotect_read_takes_writable_binding(
    make_bound: MakeBound, unreachable: Unreachable, relation: Relation
) -> None:
    """mprotect(2) of a part to PROT_READ disables a writable binding; PROT_WRITE enables it again."""
    bound = make_bound(FAULTING)
    cut = relation.to(bound.mapping)
    bound.buffer.mprotect(PROT_READ, bound.offset(cut), cut.size)
    unreachable(bound)
    bound.buffer.mprotect(READ_WRITE, bound.offset(cut), cut.size)
    bound.layout.check()


@behaviour("userptr.repin-error-keeps-list")
@acts("store", "load", "refusal")
@intervals.relations(*CUTTING, EXACT)
def test_exec_with_read_only_part_can_be_retried(make_bound: MakeBound, relation: Relation) -> None:
    """EXEC gives EPERM while part of a writable binding is read-only memory, and works again afterwards."""
    bound = make_bound(PLAIN)
    cut = relation.to(bound.mapping)
    bound.buffer.mprotect(PROT_READ, bound.offset(cut), cut.size)
    for _ in range(2):
        with refused(errno.EPERM):
            bound.layout.check()
    bound.buffer.mprotect(READ_WRITE, bound.offset(cut), cut.size)
    bound.layout.check()


@behaviour("userptr.prot-read-write-bind")
@acts("refusal", "load")
@MODES
@intervals.relations(*INSIDE)
def test_prot_read_memory_needs_readonly_bind(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, mode: int, relation: Relation
) -> None:
    """MAP_USERPTR of memory that is partly PROT_READ gives EPERM, and works with READONLY."""
    vm, buffer, value = make_vm(mode), memory(4 * SZ_64K), sentinel()
    cut = relation.to(intervals.of(buffer))
    buffer.set_u32(cut.start - buffer.address, value)
    buffer.mprotect(PROT_READ, cut.start - buffer.address, cut.size)
    with refused(errno.EPERM):
        vm.bind(MAP_USERPTR, addr=AT, range=buffer.size, obj_offset=buffer.address)
    vm.map_userptr(AT, buffer.address, buffer.size, flags=READONLY)
    gpu_sees(vm.queue(), AT + cut.start - buffer.address, value)
