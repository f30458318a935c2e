# SPDX-License-Identifier: MIT
"""VM_BIND with one wrong field (xe_vm.c: vm_bind_ioctl_check_args, xe_vm_bind_ioctl), op by op."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from errno import EFAULT, EINVAL, ENOBUFS, ENOENT
from typing import Any

import pytest

from fixtures import behaviour, needs, wait_until
from fixtures.given import MakeBo, MakeSyncobj, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.negative import (
    Call,
    Parts,
    Row,
    Table,
    each_bit,
    row,
    some_bits,
    spare_rows,
    unknown_flags,
    unknown_values,
)
from fixtures.sizes import SZ_64K
from fixtures.xe.flags import (
    AUTORESET,
    DECOMPRESS,
    INJECT,
    MAP,
    MAP_USERPTR,
    MIRROR,
    NULL,
    PREFETCH,
    UNMAP,
    UNMAP_ALL,
)
from fixtures.xe.vm import Vm
from ioctl import xe
from suites.negative import syncs
from suites.negative.places import AT, Neighbour, areas, whole
from suites.negative.values import (
    KERNEL,
    RESERVED_PAT,
    beyond,
    create_queue,
    no_extensions,
    off_page,
    strange_objects,
    strange_queues,
    strange_vms,
    unreadable,
)

pytestmark = needs("range-attributes")

OP = ctypes.sizeof(xe.drm_xe_vm_bind_op)


def beyond_space(call: Call, _: str) -> list[tuple[int, int]]:
    """Address and range that leave the VM."""
    return beyond(1 << call.device.known_config.va_bits)


def padding(op: str) -> tuple[Row, ...]:
    """Fields of an op that must be zero according to the uAPI, and that the kernel does not check."""
    unchecked = behaviour("bind.args.op-pad-unchecked")
    return (
        row(f"{op}.extensions", some_bits, None, unchecked),
        *spare_rows(xe.drm_xe_vm_bind_op, unchecked, at=op, values=some_bits, answer=None),
    )


EVERY_OP = behaviour("bind.pat.every-op")
MAPS = {"beyond": behaviour("bind.pat.out-of-range"), "reserved": behaviour("bind.pat.reserved")}
"""Rules of ops that map something."""


def pat(
    op: str, *, beyond: pytest.MarkDecorator = EVERY_OP, reserved: pytest.MarkDecorator = EVERY_OP
) -> tuple[Row, ...]:
    """A PAT index, which an op that maps memory needs to be right; this driver wants it of the others too."""
    return (
        row(
            f"{op}.pat_index",
            (32, 255, 0x7FFF, 0xFFFF),
            EINVAL,
            beyond,
        ),
        row(
            f"{op}.pat_index",
            RESERVED_PAT,
            EINVAL,
            reserved,
            needs("xe2"),
            label="reserved",
        ),
    )


def place(op: str) -> tuple[Row, ...]:
    """Address and range."""
    return (
        row(f"{op}.range", (0,), EINVAL, behaviour("bind.range.zero"), label="zero"),
        row(f"{op}.range", off_page, EINVAL, behaviour("bind.align.addr-range"), label="unaligned"),
        row(f"{op}.addr", off_page, EINVAL, behaviour("bind.align.addr-range"), label="unaligned"),
        row(
            (f"{op}.addr", f"{op}.range"),
            beyond_space,
            EINVAL,
            behaviour("bind.range.beyond-va"),
            label="beyond",
        ),
    )


def flags(op: str) -> tuple[Row, ...]:
    """Undefined flags."""
    unknown = unknown_flags(but=INJECT)
    return (row(f"{op}.flags", unknown, EINVAL, behaviour("bind.args.flags-unknown"), label="unknown"),)


def no_region(op: str) -> tuple[Row, ...]:
    """The region of a prefetch, on another op."""
    region = f"{op}.prefetch_mem_region_instance"
    return (row(region, each_bit, EINVAL, behaviour("bind.prefetch.region-only-prefetch")),)


def only_map(op: str) -> tuple[Row, ...]:
    """Flags that belong to MAP, on another op."""
    return (
        row(f"{op}.flags", (NULL,), EINVAL, behaviour("bind.null.rules"), label="null"),
        row(f"{op}.flags", (MIRROR,), EINVAL, behaviour("bind.cam.map-only"), label="mirror"),
        row(
            f"{op}.flags",
            (DECOMPRESS,),
            EINVAL,
            behaviour("bind.decompress.rules"),
            label="decompress",
        ),
        row(f"{op}.flags", (AUTORESET,), EINVAL, behaviour("bind.autoreset.requires-cam"), label="autoreset"),
    )


OP_ARGUMENTS = behaviour("bind.args.op-arguments")


def kind(op: str, *others: int, mark: pytest.MarkDecorator = OP_ARGUMENTS) -> tuple[Row, ...]:
    """An op that does not exist, and others that do not take the same arguments."""
    rows = (row(f"{op}.op", unknown_values, EINVAL, behaviour("bind.args.op-unknown")),)
    return (*rows, row(f"{op}.op", others, EINVAL, mark, label="other"))


HEADER = (
    *no_extensions(behaviour("bind.args.extensions")),
    row("vm_id", strange_vms, (EINVAL, ENOENT), behaviour("bind.args.unknown-vm")),
    row("vm_id", (0,), (EINVAL, ENOENT), behaviour("bind.args.unknown-vm"), label="none"),
    row("exec_queue_id", strange_queues, ENOENT, behaviour("bind.queue.unknown")),
    row(
        "exec_queue_id",
        lambda call, _: [create_queue(call.device, call.build().argument.vm_id)],
        EINVAL,
        behaviour("bind.queue.wrong-class"),
        label="for-batches",
    ),
    row("num_syncs", (1025, 1 << 31, 0xFFFF_FFFF), EINVAL, behaviour("bind.args.num-syncs-limit")),
    row("num_syncs", (1, 1024), EFAULT, behaviour("sync.array-fault"), label="of-nothing"),
    *spare_rows(xe.drm_xe_vm_bind, behaviour("bind.args.pad-reserved")),
)
"""All but the operations."""

BIND_OBJECT = Table(
    {"": xe.drm_xe_vm_bind},
    *HEADER,
    # With more than one the union is a pointer, and the op in place begins with extensions = 0.
    row("num_binds", (2, 1024), EFAULT, behaviour("bind.args.vector-fault")),
    row(
        "num_binds",
        (1 << 25, 1 << 31, 0xFFFF_FFFF),
        ENOBUFS,
        behaviour("bind.args.vector-too-large"),
        label="huge",
    ),
    *padding("bind"),
    row("bind.obj", strange_objects, ENOENT, behaviour("bind.map.unknown-obj")),
    row("bind.obj", (0,), EINVAL, behaviour("bind.map.needs-obj"), label="none"),
    *pat("bind", **MAPS),
    row("bind.obj_offset", off_page, EINVAL, behaviour("bind.align.addr-range"), label="unaligned"),
    row(
        ("bind.obj_offset", "bind.range"),
        (
            (SZ_64K, SZ_64K),
            (0, 2 * SZ_64K),
            (PAGE, SZ_64K),
            (1 << 40, PAGE),
            ((1 << 64) - PAGE, PAGE),
            ((1 << 64) - PAGE, 2 * PAGE),
            ((1 << 64) - SZ_64K, SZ_64K),
        ),
        EINVAL,
        behaviour("bind.bo.bounds"),
        label="outside",
    ),
    *place("bind"),
    *kind("bind", UNMAP, MAP_USERPTR, UNMAP_ALL, PREFETCH),
    *flags("bind"),
    row("bind.flags", (NULL,), EINVAL, behaviour("bind.null.rules"), label="null"),
    row("bind.flags", (MIRROR,), EINVAL, behaviour("bind.cam.requires-fault-mode"), label="mirror"),
    row("bind.flags", (AUTORESET,), EINVAL, behaviour("bind.autoreset.requires-cam"), label="autoreset"),
    *no_region("bind"),
    # Without syncs the pointer to them is not read.
    elsewhere=("syncs",),
)


@pytest.fixture
def bind(bo: MakeBo, sentinel: Sentinel) -> Callable[..., Call]:
    """``bind(vm, op, ...)``: a VM_BIND in a VM that has a neighbour below; ``undo`` is unmapping."""

    def made(
        vm: Vm, fields: Callable[[], dict[str, int]], undo: Callable[[], None] | None = None, **options: Any
    ) -> Call:
        neighbour = Neighbour(vm, bo(SZ_64K), sentinel())

        def argument() -> xe.drm_xe_vm_bind:
            return xe.drm_xe_vm_bind(vm_id=vm.id, num_binds=1, bind=vm.operation(**fields()))

        return Call(
            vm.device,
            xe.DRM_IOCTL_XE_VM_BIND,
            syncs.with_sync(argument, options["sync"]) if "sync" in options else argument,
            state=lambda: whole(vm, neighbour),
            undo=lambda _: undo() if undo else vm.unmap(AT, SZ_64K),
        )

    return made


@pytest.fixture
def bind_object(bind: Callable[..., Call], plain_vm: Vm, bo: MakeBo) -> Call:
    """MAP of a BO."""
    handle = bo(SZ_64K).handle
    return bind(plain_vm, lambda: {"addr": AT, "range": SZ_64K, "obj": handle})


@BIND_OBJECT.rows
def test_bo_map_invalid_args(bind_object: Call, wrong: Row) -> None:
    """MAP of a BO with one wrong field is refused; VMAs and what the GPU sees are unchanged."""
    wrong.prove(bind_object)


MIRROR_ROWS = Table(
    {"bind": xe.drm_xe_vm_bind_op},
    *padding("bind"),
    row("bind.obj", (1, 1 << 31, 0xFFFF_FFFF), EINVAL, behaviour("bind.cam.obj-mbz")),
    *pat("bind"),
    row(
        "bind.cpu_addr_mirror_offset",
        (PAGE, 1 << 63, (1 << 64) - PAGE),
        EINVAL,
        behaviour("bind.cam.offset-mbz"),
    ),
    *place("bind"),
    *kind("bind", UNMAP, MAP_USERPTR, UNMAP_ALL, PREFETCH, mark=behaviour("bind.cam.map-only")),
    *flags("bind"),
    *no_region("bind"),
)


@pytest.fixture
def bind_mirror(bind: Callable[..., Call], fault_vm: Vm) -> Call:
    """MAP of a mirror of the process."""
    return bind(fault_vm, lambda: {"addr": AT, "range": SZ_64K, "flags": MIRROR})


@needs("cpu-addr-mirror")
@MIRROR_ROWS.rows
def test_mirror_map_invalid_args(bind_mirror: Call, wrong: Row) -> None:
    """MAP of a mirror with one wrong field is refused; VMAs and what the GPU sees are unchanged."""
    wrong.prove(bind_mirror)


NULL_ROWS = Table(
    {"bind": xe.drm_xe_vm_bind_op},
    *padding("bind"),
    row("bind.obj", (1, 1 << 31, 0xFFFF_FFFF), EINVAL, behaviour("bind.null.rules")),
    *pat("bind"),
    row("bind.obj_offset", (PAGE, 1 << 63, (1 << 64) - PAGE), EINVAL, behaviour("bind.null.rules")),
    *place("bind"),
    *kind("bind", UNMAP, MAP_USERPTR, UNMAP_ALL, PREFETCH, mark=behaviour("bind.null.rules")),
    *flags("bind"),
    *no_region("bind"),
)


@pytest.fixture
def bind_null(bind: Callable[..., Call], plain_vm: Vm) -> Call:
    """MAP of nothing: reads give zeros."""
    return bind(plain_vm, lambda: {"addr": AT, "range": SZ_64K, "flags": NULL})


@NULL_ROWS.rows
def test_null_map_invalid_args(bind_null: Call, wrong: Row) -> None:
    """MAP of NULL with one wrong field is refused; VMAs and what the GPU sees are unchanged."""
    wrong.prove(bind_null)


def no_memory(call: Call, _: str) -> Iterator[int]:
    """Addresses at which the process has no memory, or no access, from the start or from the middle on."""
    right = call.build().argument.bind.userptr
    yield 0
    yield right + SZ_64K  # the guard page behind the buffer
    yield right + SZ_64K - PAGE
    yield right - PAGE


USERPTR = Table(
    {"bind": xe.drm_xe_vm_bind_op},
    *padding("bind"),
    row("bind.obj", (1, 1 << 31, 0xFFFF_FFFF), EINVAL, behaviour("userptr.obj-mbz")),
    *pat("bind", **MAPS),
    row("bind.userptr", off_page, EINVAL, behaviour("userptr.unaligned"), label="unaligned"),
    row("bind.userptr", no_memory, EFAULT, behaviour("userptr.unmapped-at-bind"), label="no-memory"),
    row("bind.userptr", (KERNEL,), EFAULT, behaviour("userptr.kernel-address"), label="kernel"),
    *place("bind"),
    *kind("bind", MAP, UNMAP_ALL),
    *flags("bind"),
    *only_map("bind"),
    *no_region("bind"),
)


@pytest.fixture
def bind_userptr(bind: Callable[..., Call], plain_vm: Vm, memory: Memory) -> Call:
    """MAP_USERPTR of memory of the process, which has no access to the pages next to it."""
    buffer = memory(SZ_64K)
    return bind(
        plain_vm, lambda: {"op": MAP_USERPTR, "addr": AT, "range": SZ_64K, "obj_offset": buffer.address}
    )


@USERPTR.rows
@needs("userptr")
def test_userptr_map_invalid_args(bind_userptr: Call, wrong: Row) -> None:
    """MAP_USERPTR with one wrong field is refused; VMAs and what the GPU sees are unchanged."""
    wrong.prove(bind_userptr)


UNMAP_ROWS = Table(
    {"bind": xe.drm_xe_vm_bind_op},
    *padding("bind"),
    row("bind.obj", (1, 1 << 31, 0xFFFF_FFFF), EINVAL, behaviour("bind.unmap.obj-mbz")),
    *pat("bind"),
    row("bind.obj_offset", off_page, None, behaviour("bind.unmap.offset-ignored"), label="unaligned"),
    *place("bind"),
    *kind("bind", MAP, UNMAP_ALL),
    *flags("bind"),
    *only_map("bind"),
    *no_region("bind"),
)


@pytest.fixture
def unbind(bind: Callable[..., Call], plain_vm: Vm, bo: MakeBo) -> Call:
    """UNMAP of a BO that is bound; undone by binding it again."""
    made = bo(SZ_64K)
    plain_vm.map(made, AT)
    return bind(
        plain_vm,
        lambda: {"op": UNMAP, "addr": AT, "range": SZ_64K},
        undo=lambda: plain_vm.map(made, AT),
    )


@UNMAP_ROWS.rows
def test_unmap_invalid_args(unbind: Call, wrong: Row) -> None:
    """UNMAP with one wrong field is refused; VMAs and what the GPU sees are unchanged."""
    wrong.prove(unbind)


UNMAP_ALL_ROWS = Table(
    {"bind": xe.drm_xe_vm_bind_op},
    *padding("bind"),
    row("bind.obj", strange_objects, ENOENT, behaviour("bind.map.unknown-obj")),
    row("bind.obj", (0,), EINVAL, behaviour("bind.unmap-all.rules"), label="none"),
    *pat("bind"),
    row("bind.obj_offset", off_page, EINVAL, behaviour("bind.align.offset-of-every-op"), label="unaligned"),
    row("bind.range", (1, PAGE, 1 << 63), EINVAL, behaviour("bind.unmap-all.rules")),
    row("bind.addr", (1, PAGE, 1 << 63), EINVAL, behaviour("bind.unmap-all.rules")),
    *kind("bind", MAP, UNMAP, MAP_USERPTR, PREFETCH),
    *flags("bind"),
    *only_map("bind"),
    *no_region("bind"),
)


@pytest.fixture
def unbind_all(bind: Callable[..., Call], plain_vm: Vm, bo: MakeBo) -> Call:
    """UNMAP_ALL of a BO that is bound; undone by binding it again."""
    made = bo(SZ_64K)
    plain_vm.map(made, AT)
    return bind(plain_vm, lambda: {"op": UNMAP_ALL, "obj": made.handle}, undo=lambda: plain_vm.map(made, AT))


@UNMAP_ALL_ROWS.rows
def test_unmap_all_invalid_args(unbind_all: Call, wrong: Row) -> None:
    """UNMAP_ALL with one wrong field is refused; VMAs and what the GPU sees are unchanged."""
    wrong.prove(unbind_all)


def unknown_regions(call: Call, _: str) -> Iterator[int]:
    """Regions that MEM_REGIONS does not list, and numbers that only look like one when their bits are counted."""
    listed = {region.instance for region in call.device.known_regions}
    yield from (number for number in range(64) if number not in listed)
    yield from (64, 128, 0x100, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE)


PREFETCH_ROWS = Table(
    {"bind": xe.drm_xe_vm_bind_op},
    *padding("bind"),
    row("bind.obj", (1, 1 << 31, 0xFFFF_FFFF), EINVAL, behaviour("bind.prefetch.obj-mbz")),
    *pat("bind"),
    row("bind.obj_offset", off_page, EINVAL, behaviour("bind.align.offset-of-every-op"), label="unaligned"),
    *place("bind"),
    *kind("bind", MAP, UNMAP_ALL),
    *flags("bind"),
    *only_map("bind"),
    row(
        "bind.prefetch_mem_region_instance", unknown_regions, EINVAL, behaviour("bind.prefetch.region-exists")
    ),
)


@pytest.fixture
def prefetch(plain_vm: Vm, bo: MakeBo) -> Call:
    """PREFETCH of a BO in system memory to where it is, which has no visible effect."""
    plain_vm.map(bo(SZ_64K), AT)
    return Call(
        plain_vm.device,
        xe.DRM_IOCTL_XE_VM_BIND,
        lambda: xe.drm_xe_vm_bind(
            vm_id=plain_vm.id, num_binds=1, bind=plain_vm.operation(PREFETCH, addr=AT, range=SZ_64K)
        ),
    )


@PREFETCH_ROWS.rows
def test_prefetch_invalid_args(prefetch: Call, wrong: Row, plain_vm: Vm) -> None:
    """PREFETCH with one wrong field is refused; the VMAs are unchanged."""
    before = areas(plain_vm)
    wrong.prove(prefetch)
    assert areas(plain_vm) == before


LAST = Table(
    {"last": xe.drm_xe_vm_bind_op},
    row("vector_of_binds", lambda *_: unreadable(3 * OP), EFAULT, behaviour("bind.args.vector-fault")),
    row(
        "num_binds",
        (1 << 25, 1 << 31, 0xFFFF_FFFF),
        ENOBUFS,
        behaviour("bind.args.vector-too-large"),
        label="huge",
    ),
    row("last.obj", strange_objects, ENOENT, behaviour("bind.array.atomic", "bind.map.unknown-obj")),
    row("last.pat_index", (255,), EINVAL, behaviour("bind.array.atomic", "bind.pat.out-of-range")),
    row("last.obj_offset", off_page, EINVAL, behaviour("bind.array.atomic", "bind.align.addr-range")),
    row("last.range", (0, 2 * SZ_64K), EINVAL, behaviour("bind.array.atomic", "bind.bo.bounds")),
    row(
        ("last.addr", "last.range"),
        beyond_space,
        EINVAL,
        behaviour("bind.array.atomic", "bind.range.beyond-va"),
    ),
    row("last.op", unknown_values, EINVAL, behaviour("bind.array.atomic", "bind.args.op-unknown")),
    row(
        "last.flags",
        unknown_flags(but=INJECT),
        EINVAL,
        behaviour("bind.array.atomic", "bind.args.flags-unknown"),
    ),
    row("last.prefetch_mem_region_instance", (1,), EINVAL, behaviour("bind.prefetch.region-only-prefetch")),
    *padding("last"),
)


@pytest.fixture
def bind_array(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> Call:
    """Three ops in one call: a BO at two places, with a hole that is cut out of a third."""
    neighbour = Neighbour(plain_vm, bo(SZ_64K), sentinel())
    handle = bo(SZ_64K).handle

    def build() -> Parts:
        vector = (xe.drm_xe_vm_bind_op * 3)(
            plain_vm.operation(addr=AT, range=SZ_64K, obj=handle),
            plain_vm.operation(UNMAP, addr=AT + PAGE, range=PAGE),
            plain_vm.operation(addr=AT + SZ_64K, range=SZ_64K, obj=handle),
        )
        argument = xe.drm_xe_vm_bind(vm_id=plain_vm.id, num_binds=3)
        argument.vector_of_binds = ctypes.addressof(vector)
        return Parts(argument, vector, last=vector[2])

    return Call(
        plain_vm.device,
        xe.DRM_IOCTL_XE_VM_BIND,
        build,
        state=lambda: whole(plain_vm, neighbour),
        undo=lambda _: plain_vm.unmap(AT, 2 * SZ_64K),
    )


@LAST.rows
def test_bind_array_invalid_last_op(bind_array: Call, wrong: Row) -> None:
    """An array whose last op has one wrong field is refused as a whole: no op takes effect."""
    wrong.prove(bind_array)


@pytest.fixture
def bind_and_signal(bind: Callable[..., Call], plain_vm: Vm, bo: MakeBo, syncobj: MakeSyncobj) -> Call:
    """MAP of a BO that signals a syncobj."""
    handle, done = bo(SZ_64K).handle, syncobj()
    return bind(plain_vm, lambda: {"addr": AT, "range": SZ_64K, "obj": handle}, sync=done.sync)


@Table({"sync": xe.drm_xe_sync}, *syncs.BINARY, *syncs.array_rows()).rows
def test_bind_invalid_sync(bind_and_signal: Call, wrong: Row) -> None:
    """MAP with a syncobj to signal that has one wrong field is refused: nothing is bound."""
    wrong.prove(bind_and_signal)


@pytest.fixture
def bind_and_write_fence(
    bind: Callable[..., Call], plain_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> Call:
    """MAP of a BO that writes a user fence; an unbind before that would give EBUSY."""
    handle, fence, values = bo(SZ_64K).handle, memory(PAGE), [0]

    def sync() -> xe.drm_xe_sync:
        values.append(sentinel())
        return xe.drm_xe_sync(
            type=syncs.USER_FENCE, flags=syncs.SIGNAL, addr=fence.address, timeline_value=values[-1]
        )

    def undo() -> None:
        wait_until(lambda: fence.u64(0) == values[-1], what="the user fence of the bind")
        plain_vm.unmap(AT, SZ_64K)

    return bind(plain_vm, lambda: {"addr": AT, "range": SZ_64K, "obj": handle}, undo=undo, sync=sync)


@Table({"sync": xe.drm_xe_sync}, *syncs.fence_rows(bind=True), elsewhere=("sync.timeline_value",)).rows
def test_bind_invalid_user_fence(bind_and_write_fence: Call, wrong: Row) -> None:
    """MAP with a user fence that has one wrong field is refused: nothing is bound."""
    wrong.prove(bind_and_write_fence)
