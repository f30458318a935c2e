# SPDX-License-Identifier: MIT
"""MADVISE and VM_QUERY_MEM_RANGE_ATTRS with one wrong field (xe_vm_madvise.c, xe_vm.c)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from errno import EBUSY, EFAULT, EINVAL, ENOBUFS, ENOENT, ENOSPC
from typing import Any

import pytest

from fixtures import acts, behaviour, needs
from fixtures.choices import chose
from fixtures.given import MakeBo, Memory
from fixtures.memory import PAGE
from fixtures.negative import Call, Parts, Row, Table, each_bit, row, some_bits, unknown_values
from fixtures.sizes import SZ_64K
from fixtures.xe.bo import Bo
from fixtures.xe.device import Device
from fixtures.xe.flags import ATOMIC, DEFAULT_SYSTEM, DONTNEED, PAT, PREFERRED_LOC, PURGEABLE, WILLNEED
from fixtures.xe.vm import Vm
from ioctl import xe
from suites.negative.places import AT, areas
from suites.negative.values import (
    RESERVED_PAT,
    beyond,
    looping_chain,
    off_page,
    strange_vms,
    unreadable,
    unwritable,
)

pytestmark = needs("range-attributes")

ATTR = ctypes.sizeof(xe.drm_xe_mem_range_attr)


def beyond_space(call: Call, _: str) -> list[tuple[int, int]]:
    """Start and range that leave the VM; a start that only the cut to the VM's width makes right is another row."""
    size = 1 << call.device.known_config.va_bits
    return [(start, length) for start, length in beyond(size) if start < size]


def not_canonical(call: Call, _: str) -> Iterator[int]:
    """The right start with a bit above the VM's width, which is not a sign extension."""
    right = call.build().argument.start
    yield from (right | 1 << bit for bit in range(call.device.known_config.va_bits, 64))


def common(kind: int) -> tuple[Row, ...]:
    """Rows for every type of advice."""
    return (
        row("extensions", some_bits, None, behaviour("madvise.extensions-unchecked")),
        row("extensions", looping_chain, None, behaviour("madvise.extensions-unchecked"), label="loop"),
        row("start", off_page, EINVAL, behaviour("madvise.align"), label="unaligned"),
        row("start", not_canonical, None, behaviour("madvise.noncanonical-start"), label="noncanonical"),
        row("range", off_page, EINVAL, behaviour("madvise.align"), label="unaligned"),
        row("range", (0, 1, PAGE - 1), EINVAL, behaviour("madvise.align"), label="small"),
        row(("start", "range"), beyond_space, EINVAL, behaviour("madvise.beyond-va")),
        row("vm_id", strange_vms, (EINVAL, ENOENT), behaviour("madvise.unknown-vm")),
        row("vm_id", (0,), (EINVAL, ENOENT), behaviour("madvise.unknown-vm"), label="none"),
        row("type", unknown_values, EINVAL, behaviour("madvise.type-unknown")),
        row("reserved", each_bit, EINVAL, behaviour("madvise.reserved")),
    )


ATOMIC_ROWS = Table(
    {"": xe.drm_xe_madvise, "atomic": type(xe.drm_xe_madvise().atomic)},
    *common(ATOMIC),
    row("atomic.val", unknown_values, EINVAL, behaviour("madvise.atomic.val")),
    row("atomic.pad", each_bit, EINVAL, behaviour("madvise.atomic.pad-reserved")),
    row("atomic.reserved", each_bit, EINVAL, behaviour("madvise.atomic.pad-reserved")),
)

PREFERRED_ROWS = Table(
    {"preferred_mem_loc": type(xe.drm_xe_madvise().preferred_mem_loc)},
    row(
        "preferred_mem_loc.devmem_fd",
        (0xFFFF_FFFE, 0x8000_0000, 0x8000_0001),
        EINVAL,
        behaviour("madvise.pref.fd-range"),
    ),
    row(
        "preferred_mem_loc.migration_policy",
        unknown_values,
        EINVAL,
        behaviour("madvise.pref.policy"),
    ),
    row("preferred_mem_loc.region_instance", each_bit, EINVAL, behaviour("madvise.pref.region-mbz")),
    row("preferred_mem_loc.reserved", each_bit, EINVAL, behaviour("madvise.pref.reserved")),
    row("reserved", each_bit, EINVAL, behaviour("madvise.reserved")),
)

PAT_ROWS = Table(
    {"pat_index": type(xe.drm_xe_madvise().pat_index)},
    row(
        "pat_index.val",
        (32, 255, 256, 0xFFFF, 0x1_0000, 0x1_0001, 0xFFFF_FFFF),
        EINVAL,
        behaviour("madvise.pat.bounds", "madvise.pat.beyond"),
    ),
    row(
        "pat_index.val",
        RESERVED_PAT,
        EINVAL,
        behaviour("madvise.pat.reserved-entry"),
        needs("xe2"),
        label="reserved",
    ),
    row("pat_index.pad", each_bit, EINVAL, behaviour("madvise.pat.pad-reserved")),
    row("pat_index.reserved", each_bit, EINVAL, behaviour("madvise.pat.pad-reserved")),
    row("reserved", each_bit, EINVAL, behaviour("madvise.reserved")),
)


@pytest.fixture
def advise(fault_vm: Vm) -> Callable[..., Call]:
    """``advise(type, wrong, right)``: MADVISE of a mirror that changes an attribute, and changes it back."""
    fault_vm.mirror(AT, SZ_64K)

    def made(kind: int, advice: dict[str, int], former: dict[str, int]) -> Call:
        member = {ATOMIC: "atomic", PREFERRED_LOC: "preferred_mem_loc", PAT: "pat_index"}[kind]

        def argument() -> xe.drm_xe_madvise:
            made = xe.drm_xe_madvise(vm_id=fault_vm.id, start=AT, range=SZ_64K, type=kind)
            for name, value in advice.items():
                setattr(getattr(made, member), name, value)
            return made

        return Call(
            fault_vm.device,
            xe.DRM_IOCTL_XE_MADVISE,
            argument,
            state=lambda: areas(fault_vm),
            undo=lambda _: fault_vm.madvise(AT, SZ_64K, kind, **former),
        )

    return made


@needs("cpu-addr-mirror")
@ATOMIC_ROWS.rows
def test_madvise_atomic_invalid_args(advise: Callable[..., Call], wrong: Row) -> None:
    """MADVISE ATOMIC with one wrong field is refused; the attributes are unchanged."""
    wrong.prove(advise(ATOMIC, {"val": xe.DRM_XE_ATOMIC_CPU}, {"val": xe.DRM_XE_ATOMIC_UNDEFINED}))


@needs("cpu-addr-mirror")
@PREFERRED_ROWS.rows
def test_madvise_preferred_loc_invalid_args(advise: Callable[..., Call], wrong: Row) -> None:
    """MADVISE PREFERRED_LOC with one wrong field is refused; the attributes are unchanged."""
    wrong.prove(advise(PREFERRED_LOC, {"devmem_fd": DEFAULT_SYSTEM}, {"devmem_fd": 0}))


OTHER_PAT = 7
"""A PAT index that is coherent, if there is one in both ways, and not the one of write-back, in each table of xe_pat.c
that a device with page faults has."""


@needs("cpu-addr-mirror")
@PAT_ROWS.rows
def test_madvise_pat_invalid_args(advise: Callable[..., Call], wrong: Row, device: Device) -> None:
    """MADVISE PAT with one wrong field is refused; the attributes are unchanged."""
    wrong.prove(advise(PAT, {"val": OTHER_PAT}, {"val": device.write_back_pat}))


def said_before(*_: object) -> Iterator[int]:
    """Nonzero words at the address where the kernel would write "retained"."""
    for value in (1, 1 << 31, 0xFFFF_FFFF):
        word = ctypes.c_uint32(value)
        yield ctypes.addressof(word)
        assert word.value == value


PURGEABLE_ROWS = Table(
    {"purge_state_val": type(xe.drm_xe_madvise().purge_state_val)},
    row("purge_state_val.val", unknown_values, EINVAL, behaviour("madvise.purge.val")),
    row("purge_state_val.pad", each_bit, EINVAL, behaviour("madvise.purge.val")),
    row(
        "purge_state_val.retained_ptr",
        lambda *_: unreadable(4)[1:],
        EFAULT,
        behaviour("madvise.purge.retained-init"),
    ),
    row(
        "purge_state_val.retained_ptr",
        said_before,
        EINVAL,
        behaviour("madvise.purge.retained-init"),
        label="said",
    ),
    row("type", unknown_values, EINVAL, behaviour("madvise.type-unknown")),
    row("range", (0, 1, PAGE - 1), EINVAL, behaviour("madvise.align"), label="small"),
    row("reserved", each_bit, EINVAL, behaviour("madvise.reserved")),
)


def needed(bo: Bo) -> bool:
    """Whether the BO's memory is kept: a BO that may be purged cannot be mapped (EBUSY)."""
    try:
        bo.map().close()
    except OSError as error:
        if error.errno == EBUSY:
            return False
        raise
    return True


@pytest.fixture
def advise_purging(plain_vm: Vm, bo: MakeBo) -> Call:
    """MADVISE PURGEABLE_STATE: the BO's memory is not needed; undone by saying that it is."""
    made = bo(SZ_64K)
    plain_vm.map(made, AT)

    def build() -> Parts:
        retained = ctypes.c_uint32(0)
        argument = xe.drm_xe_madvise(vm_id=plain_vm.id, start=AT, range=SZ_64K, type=PURGEABLE)
        argument.purge_state_val.val = DONTNEED
        argument.purge_state_val.retained_ptr = ctypes.addressof(retained)
        return Parts(argument, retained)

    return Call(
        plain_vm.device,
        xe.DRM_IOCTL_XE_MADVISE,
        build,
        state=lambda: (needed(made), areas(plain_vm)),
        undo=lambda _: plain_vm.madvise(AT, SZ_64K, PURGEABLE, val=WILLNEED),
    )


@needs("purging")
@PURGEABLE_ROWS.rows
def test_madvise_purgeable_state_invalid_args(advise_purging: Call, wrong: Row) -> None:
    """MADVISE PURGEABLE_STATE with one wrong field is refused; the BO stays in state WILLNEED."""
    wrong.prove(advise_purging)


@needs("purging")
@behaviour("madvise.purge.retained-unwritable")
@acts("ioctl")
def test_madvise_retained_needs_writable_pointer(plain_vm: Vm, bo: MakeBo) -> None:
    """A read-only retained word stays 0; whether the call gives EFAULT, and takes effect, is recorded."""
    made, word = bo(SZ_64K), unwritable()[-1]
    plain_vm.map(made, AT)
    try:
        plain_vm.madvise(AT, SZ_64K, PURGEABLE, val=DONTNEED, retained_ptr=word)
    except OSError as error:
        if error.errno != EFAULT:
            raise
        chose(f"EFAULT, and the advice is {'not ' if needed(made) else ''}taken")
    else:
        chose("accepted")
    assert ctypes.c_uint32.from_address(word).value == 0


UNCHECKED = (
    row("extensions", some_bits, None, behaviour("madvise.query.reserved-unchecked")),
    row("extensions", looping_chain, None, behaviour("madvise.query.reserved-unchecked"), label="loop"),
    row("start", off_page, None, behaviour("madvise.query.place-unchecked"), label="unaligned"),
    row("range", off_page, None, behaviour("madvise.query.place-unchecked"), label="unaligned"),
    row("range", (0,), None, behaviour("madvise.query.place-unchecked"), label="zero"),
    row(
        ("start", "range"),
        lambda call, _: beyond(1 << call.device.known_config.va_bits),
        None,
        behaviour("madvise.query.place-unchecked"),
        label="beyond",
    ),
    row("reserved", some_bits, None, behaviour("madvise.query.reserved-unchecked")),
    row("vm_id", strange_vms, (EINVAL, ENOENT), behaviour("madvise.query.unknown-vm")),
    row("vm_id", (0,), (EINVAL, ENOENT), behaviour("madvise.query.unknown-vm"), label="none"),
)

COUNT = Table(
    xe.drm_xe_vm_query_mem_range_attr,
    *UNCHECKED,
    row("num_mem_ranges", (1, 3, 0xFFFF_FFFF), EINVAL, behaviour("madvise.query.fill-args")),
    row("sizeof_mem_range_attr", each_bit, EINVAL, behaviour("madvise.query.num0-args")),
    row("vector_of_mem_attr", each_bit, EINVAL, behaviour("madvise.query.num0-args")),
)
AREAS = 3
"""Areas of the VM that is asked about."""


@pytest.fixture
def three_areas(plain_vm: Vm, bo: MakeBo) -> Vm:
    """A VM in which one BO is bound three times, not side by side."""
    made = bo(SZ_64K)
    for index in range(AREAS):
        plain_vm.map(made, AT + 2 * index * SZ_64K)
    return plain_vm


def query(vm: Vm, **fields: int) -> xe.drm_xe_vm_query_mem_range_attr:
    """A query about everything that is bound."""
    return xe.drm_xe_vm_query_mem_range_attr(vm_id=vm.id, start=AT, range=2 * AREAS * SZ_64K, **fields)


@pytest.fixture
def count_areas(three_areas: Vm) -> Call:
    """VM_QUERY_MEM_RANGE_ATTRS that asks for the number of VMAs."""
    return Call(three_areas.device, xe.DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, lambda: query(three_areas))


@COUNT.rows
def test_query_mem_range_attrs_count_invalid_args(count_areas: Call, wrong: Row) -> None:
    """VM_QUERY_MEM_RANGE_ATTRS for the number of VMAs is refused with one wrong field."""
    wrong.prove(count_areas)


FILL = Table(
    xe.drm_xe_vm_query_mem_range_attr,
    *UNCHECKED,
    row("num_mem_ranges", (0,), EINVAL, behaviour("madvise.query.num0-args"), label="none"),
    row("num_mem_ranges", (1, AREAS - 1), ENOSPC, behaviour("madvise.query.enospc"), label="few"),
    row(
        "num_mem_ranges",
        (1 << 25, 1 << 31, 0xFFFF_FFFF),
        ENOBUFS,
        behaviour("madvise.query.huge-num"),
        label="huge",
    ),
    row(
        "sizeof_mem_range_attr",
        (0, 1, 63, 65, 128, 1 << 32, ATTR | 1 << 32, 1 << 63),
        EINVAL,
        behaviour("madvise.query.fill-args"),
    ),
    row("vector_of_mem_attr", (0,), EINVAL, behaviour("madvise.query.fill-args"), label="null"),
    row("vector_of_mem_attr", lambda *_: unwritable()[1:], EFAULT, behaviour("madvise.query.efault")),
)


@pytest.fixture
def read_areas(three_areas: Vm, memory: Memory) -> Call:
    """VM_QUERY_MEM_RANGE_ATTRS that reads all VMAs."""
    reply = memory(PAGE, fill=b"\xa5")

    def state() -> Any:
        return reply.bytes(), areas(three_areas)

    return Call(
        three_areas.device,
        xe.DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS,
        lambda: query(
            three_areas, num_mem_ranges=AREAS, sizeof_mem_range_attr=ATTR, vector_of_mem_attr=reply.address
        ),
        state=state,
        undo=lambda _: reply.fill(b"\xa5"),
    )


@FILL.rows
def test_query_mem_range_attrs_invalid_args(read_areas: Call, wrong: Row) -> None:
    """VM_QUERY_MEM_RANGE_ATTRS for the attributes is refused with one wrong field, and writes nothing."""
    wrong.prove(read_areas)
