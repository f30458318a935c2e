# SPDX-License-Identifier: MIT
"""VM_BIND: argument checks, before any page table is touched (xe_vm.c: vm_bind_ioctl_check_args)."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from typing import Any

import pytest

from fixtures import acts, behaviour, beyond_header, driver_only, needs, refused, untested
from fixtures.given import MakeBo, MakeSyncobj, MakeVm, Memory
from fixtures.memory import PAGE
from fixtures.xe.device import Device
from fixtures.xe.flags import (
    AUTORESET,
    DECOMPRESS,
    INJECT,
    MAP,
    MAP_USERPTR,
    NULL,
    PREFETCH,
    READONLY,
    UNMAP,
    UNMAP_ALL,
)
from fixtures.xe.sync import UserFence
from fixtures.xe.vm import Vm
from ioctl import xe
from suites.negative.values import RESERVED_PAT

AT = 0x10_0000
"""A GPU address at which nothing is bound."""


def of_op(maps: pytest.MarkDecorator) -> pytest.MarkDecorator:
    """Parametrises a test by the ops: ``maps`` is what is promised of those that map something."""
    others = behaviour("bind.pat.every-op")
    return pytest.mark.parametrize(
        "op",
        [
            pytest.param(MAP, marks=maps, id="map"),
            pytest.param(UNMAP, marks=others, id="unmap"),
            pytest.param(MAP_USERPTR, marks=maps, id="map-userptr"),
            pytest.param(UNMAP_ALL, marks=others, id="unmap-all"),
            pytest.param(PREFETCH, marks=others, id="prefetch"),
        ],
    )


def right(op: int, bo: MakeBo, memory: Memory) -> dict[str, Any]:
    """The fields of an op that is right."""
    if op == UNMAP_ALL:
        return {"obj": bo(PAGE).handle}
    place: dict[str, Any] = {"addr": AT, "range": PAGE}
    if op == MAP:
        place["obj"] = bo(PAGE).handle
    if op == MAP_USERPTR:
        place["obj_offset"] = memory(PAGE).address
    return place


def bind(vm: Vm, **fields: object) -> None:
    """VM_BIND of an UNMAP that does nothing, with these fields of drm_xe_vm_bind on top; raises OSError."""
    argument = xe.drm_xe_vm_bind(vm_id=vm.id, num_binds=1)
    argument.bind = vm.operation(UNMAP, addr=AT, range=PAGE)
    for name, value in fields.items():
        setattr(argument, name, value)
    vm.device.ioctl(xe.DRM_IOCTL_XE_VM_BIND, argument)


@behaviour("bind.unmap.nothing")
@acts("ioctl")
def test_unmap_of_nothing_succeeds_and_signals(plain_vm: Vm, syncobj: MakeSyncobj) -> None:
    """UNMAP where nothing is mapped returns 0 and signals its out-sync."""
    done = syncobj()
    assert not done.signalled
    plain_vm.bind(UNMAP, addr=AT, range=16 * PAGE, syncs=[done.sync()])
    done.wait()


@behaviour("bind.args.pad-reserved", "bind.args.extensions")
@acts("refusal")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pad", 1),
        ("pad2", 1),
        ("reserved", (1, 0)),
        ("reserved", (0, 1 << 63)),
        ("extensions", 1),
        ("extensions", 1 << 63),
    ],
)
def test_nonzero_reserved_field_is_einval(plain_vm: Vm, field: str, value: object) -> None:
    """pad, pad2, both reserved words and extensions of VM_BIND have to be zero."""
    with refused(errno.EINVAL):
        bind(plain_vm, **{field: (ctypes.c_uint64 * 2)(*value) if isinstance(value, tuple) else value})


@behaviour("bind.args.unknown-vm", "vm.lookup-errno-map")
@acts("refusal")
def test_unknown_vm_and_queue_are_refused(plain_vm: Vm) -> None:
    """An unknown VM id gives EINVAL or ENOENT, also where the exec queue is unknown too; this driver gives EINVAL."""
    with refused(errno.EINVAL, errno.ENOENT):
        bind(plain_vm, vm_id=0x1234_5678, exec_queue_id=0x1234_5678)
    with driver_only("vm.lookup-errno-map"), refused(errno.EINVAL):
        bind(plain_vm, vm_id=0x1234_5678, exec_queue_id=0x1234_5678)


@behaviour("bind.args.num-syncs-limit")
@acts("refusal")
@pytest.mark.parametrize("number", [1025, 0xFFFF_FFFF])
def test_too_many_syncs_are_einval(plain_vm: Vm, number: int) -> None:
    """More than 1024 syncs give EINVAL, before the array is read."""
    with refused(errno.EINVAL):
        bind(plain_vm, num_syncs=number, syncs=8)


@behaviour("bind.args.num-syncs-limit")
@acts("ioctl")
def test_maximum_number_of_syncs_is_accepted(plain_vm: Vm, syncobj: MakeSyncobj) -> None:
    """1024 valid syncs are accepted, and the last one is signalled like the first."""
    first, last = syncobj(), syncobj()
    assert not first.signalled
    assert not last.signalled
    plain_vm.bind(UNMAP, addr=AT, range=PAGE, syncs=[first.sync()] * 1023 + [last.sync()])
    first.wait()
    last.wait()


@behaviour("bind.args.vector-fault")
@acts("refusal")
@pytest.mark.parametrize("address", [0, 8, 0xFFFF_8000_0000_0000], ids=["null", "low", "kernel"])
def test_unreadable_bind_vector_is_efault(plain_vm: Vm, address: int) -> None:
    """A vector of binds that cannot be read gives EFAULT."""
    with refused(errno.EFAULT):
        bind(plain_vm, num_binds=2, vector_of_binds=address)


@behaviour("bind.args.vector-fault")
@acts("refusal")
def test_bind_vector_past_end_of_mapping_is_efault(plain_vm: Vm, memory: Memory) -> None:
    """A vector whose last element crosses the end of the mapping gives EFAULT."""
    size = ctypes.sizeof(xe.drm_xe_vm_bind_op)
    buffer = memory(2 * PAGE)
    buffer.munmap(PAGE, PAGE)
    with refused(errno.EFAULT):
        bind(plain_vm, num_binds=2, vector_of_binds=buffer.address + PAGE - size)


@behaviour("bind.args.num-binds-zero")
@acts("ioctl")
def test_zero_binds_signal_out_syncs(plain_vm: Vm, syncobj: MakeSyncobj) -> None:
    """num_binds = 0 binds nothing, returns 0 and signals its out-syncs; without syncs it is a no-op."""
    done = syncobj()
    plain_vm.bind_array([])
    assert not done.signalled
    plain_vm.bind_array([], syncs=[done.sync()])
    done.wait()


@behaviour("bind.args.num-binds-zero-ufence")
@acts("refusal")
def test_zero_binds_with_user_fence_is_eopnotsupp(device: Device, plain_vm: Vm) -> None:
    """num_binds = 0 with a user fence gives EOPNOTSUPP, and the fence is not written."""
    fence = UserFence(device)
    with refused(errno.EOPNOTSUPP):
        plain_vm.bind_array([], syncs=[fence.sync()])
    assert not fence.signalled


@behaviour("bind.args.num-binds-zero-insync")
@acts("refusal")
def test_lr_vm_bind_with_in_sync_is_eopnotsupp(lr_vm: Vm, syncobj: MakeSyncobj) -> None:
    """A bind in an LR VM cannot wait for a syncobj, not even for a signalled one: EOPNOTSUPP."""
    with refused(errno.EOPNOTSUPP):
        lr_vm.bind_array([], syncs=[syncobj(signalled=True).waiting()])


@behaviour("bind.args.op-unknown")
@acts("refusal")
@beyond_header
@pytest.mark.parametrize("op", [5, 0x100, 0xFFFF_FFFF])
def test_unknown_bind_op_is_einval(plain_vm: Vm, op: int) -> None:
    """An op beyond PREFETCH gives EINVAL."""
    with refused(errno.EINVAL):
        plain_vm.bind(op, addr=AT, range=PAGE)


@behaviour("bind.args.flags-unknown")
@acts("refusal")
@beyond_header
@pytest.mark.parametrize("bit", range(8, 31))
def test_unknown_bind_flag_is_einval(plain_vm: Vm, bit: int) -> None:
    """An op flag that the uAPI does not define gives EINVAL. (Bit 31 injects errors in a debug kernel.)"""
    with refused(errno.EINVAL):
        plain_vm.bind(UNMAP, addr=AT, range=PAGE, flags=1 << bit)


@behaviour("bind.map.needs-obj")
@acts("refusal")
def test_map_without_bo_is_einval(plain_vm: Vm) -> None:
    """MAP without a BO that is neither NULL nor a mirror gives EINVAL."""
    with refused(errno.EINVAL):
        plain_vm.bind(MAP, addr=AT, range=PAGE)


@behaviour("bind.map.unknown-obj")
@acts("refusal")
def test_map_of_unknown_bo_is_enoent(plain_vm: Vm) -> None:
    """A handle that was never created on this file gives ENOENT."""
    with refused(errno.ENOENT):
        plain_vm.bind(MAP, addr=AT, range=PAGE, obj=0x1234_5678)


@behaviour("bind.args.flags-unknown")
@acts("refusal", "ioctl")
def test_bind_flag_of_error_injection_is_einval(plain_vm: Vm, bo: MakeBo) -> None:
    """Bit 31 of the flags of a bind, which has no name, gives EINVAL where the kernel injects no errors."""
    made = bo(PAGE)
    try:
        plain_vm.map(made, AT, flags=INJECT)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            untested(
                "KERNEL:xe-debug", "the kernel takes the flag for an order to fail (CONFIG_DRM_XE_DEBUG)"
            )
    for flags in (INJECT, INJECT | READONLY):
        with refused(errno.EINVAL):
            plain_vm.map(made, AT, flags=flags)
    plain_vm.map(made, AT)


@acts("refusal")
@pytest.mark.parametrize(
    ("op", "fields"),
    [
        pytest.param(
            UNMAP_ALL, {"obj": 0}, id="unmap-all-without-bo", marks=behaviour("bind.unmap-all.rules")
        ),
        pytest.param(
            UNMAP_ALL, {"addr": AT}, id="unmap-all-with-address", marks=behaviour("bind.unmap-all.rules")
        ),
        pytest.param(
            UNMAP_ALL, {"range": PAGE}, id="unmap-all-with-range", marks=behaviour("bind.unmap-all.rules")
        ),
        pytest.param(
            UNMAP, {"addr": AT, "range": PAGE}, id="unmap-with-bo", marks=behaviour("bind.unmap.obj-mbz")
        ),
        pytest.param(
            PREFETCH,
            {"addr": AT, "range": PAGE},
            id="prefetch-with-bo",
            marks=behaviour("bind.prefetch.obj-mbz"),
        ),
        pytest.param(
            MAP_USERPTR, {"addr": AT, "range": PAGE}, id="userptr-with-bo", marks=behaviour("userptr.obj-mbz")
        ),
    ],
)
def test_each_op_takes_only_its_own_arguments(
    plain_vm: Vm, bo: MakeBo, op: int, fields: dict[str, Any]
) -> None:
    """UNMAP_ALL takes a BO and no range; UNMAP, PREFETCH and MAP_USERPTR take a range and no BO."""
    with refused(errno.EINVAL):
        plain_vm.bind(op, **{"obj": bo(PAGE).handle, **fields})


@behaviour("bind.prefetch.region-only-prefetch")
@acts("refusal")
@pytest.mark.parametrize("region", [1, 0xFFFF_FFFF])
@pytest.mark.parametrize("op", [MAP, UNMAP, MAP_USERPTR], ids=["map", "unmap", "map-userptr"])
def test_only_prefetch_takes_a_region(plain_vm: Vm, bo: MakeBo, memory: Memory, op: int, region: int) -> None:
    """prefetch_mem_region_instance on another op gives EINVAL, -1 included."""
    obj = bo(PAGE).handle if op == MAP else 0
    userptr = memory(PAGE).address if op == MAP_USERPTR else 0
    with refused(errno.EINVAL):
        plain_vm.bind(op, addr=AT, range=PAGE, obj=obj, obj_offset=userptr, region=region)


@behaviour("bind.prefetch.region-exists")
@acts("refusal")
@pytest.mark.parametrize("region", [7, 8, 31, 32, 63, 64, 0xFFFF_FFFE])
def test_prefetch_to_unknown_region_is_einval(plain_vm: Vm, region: int) -> None:
    """A region that MEM_REGIONS does not list gives EINVAL, however large its number."""
    with refused(errno.EINVAL):
        plain_vm.bind(PREFETCH, addr=AT, range=PAGE, region=region)


@acts("refusal")
@pytest.mark.parametrize("index", [32, 255, 0xFFFF])
@of_op(behaviour("bind.pat.out-of-range"))
def test_pat_index_out_of_range_is_einval(
    plain_vm: Vm, bo: MakeBo, memory: Memory, op: int, index: int
) -> None:
    """A PAT index that the table does not have gives EINVAL for a MAP; with this driver for every op."""
    with refused(errno.EINVAL):
        plain_vm.bind(op, **right(op, bo, memory), pat_index=index)


@acts("refusal")
@needs("xe2")
@pytest.mark.parametrize("index", RESERVED_PAT)
@of_op(behaviour("bind.pat.reserved"))
def test_reserved_pat_index_is_einval(plain_vm: Vm, bo: MakeBo, memory: Memory, op: int, index: int) -> None:
    """A PAT index that the hardware reserves gives EINVAL for a MAP; with this driver for every op."""
    with refused(errno.EINVAL):
        plain_vm.bind(op, **right(op, bo, memory), pat_index=index)


@behaviour("bind.align.addr-range")
@acts("refusal")
@pytest.mark.parametrize("field", ["addr", "range"])
@pytest.mark.parametrize("off", [1, 8, PAGE // 2, PAGE - 1])
def test_unaligned_addr_or_range_is_einval(plain_vm: Vm, field: str, off: int) -> None:
    """Address and range of a bind have to be multiples of the CPU's page size: EINVAL otherwise."""
    place: dict[str, Any] = {"addr": AT, "range": PAGE}
    place[field] += off
    with refused(errno.EINVAL):
        plain_vm.bind(UNMAP, **place)


@behaviour("bind.align.addr-range", "userptr.unaligned")
@acts("refusal")
@pytest.mark.parametrize("off", [1, PAGE // 2, PAGE - 1])
@pytest.mark.parametrize("op", [MAP, MAP_USERPTR], ids=["bo", "userptr"])
def test_unaligned_bo_offset_or_userptr_is_einval(
    plain_vm: Vm, bo: MakeBo, memory: Memory, op: int, off: int
) -> None:
    """BO offset and userptr have to be multiples of the CPU's page size: EINVAL otherwise."""
    with refused(errno.EINVAL):
        if op == MAP:
            plain_vm.bind(op, addr=AT, range=PAGE, obj=bo(2 * PAGE).handle, obj_offset=off)
        else:
            plain_vm.bind(op, addr=AT, range=PAGE, obj_offset=memory(2 * PAGE).address + off)


@behaviour("bind.range.zero")
@acts("refusal")
@pytest.mark.parametrize(
    "op", [MAP, UNMAP, MAP_USERPTR, PREFETCH], ids=["map", "unmap", "map-userptr", "prefetch"]
)
def test_zero_range_is_einval(plain_vm: Vm, bo: MakeBo, op: int) -> None:
    """A range of 0 gives EINVAL for every op but UNMAP_ALL."""
    with refused(errno.EINVAL):
        plain_vm.bind(op, addr=AT, range=0, obj=bo(PAGE).handle if op == MAP else 0)


@behaviour("bind.range.beyond-va", "query.config.va-bits")
@acts("refusal")
@pytest.mark.parametrize(
    ("addr", "size"),
    [
        pytest.param(lambda end: end, PAGE, id="starts-at-the-end"),
        pytest.param(lambda end: end - PAGE, 2 * PAGE, id="ends-one-page-later"),
        pytest.param(lambda end: 1 << 63, PAGE, id="high-half"),
        pytest.param(lambda end: (1 << 64) - PAGE, PAGE, id="last-page-of-all"),
        pytest.param(lambda end: (1 << 64) - PAGE, 2 * PAGE, id="wraps-around"),
    ],
)
def test_range_past_end_of_va_is_einval(plain_vm: Vm, addr: Callable[[int], int], size: int) -> None:
    """A range that ends beyond the VM's address space gives EINVAL, even if its end wraps around."""
    with refused(errno.EINVAL):
        plain_vm.bind(UNMAP, addr=addr(plain_vm.size), range=size)


@behaviour("bind.range.beyond-va")
@acts("refusal")
def test_range_larger_than_va_is_einval(plain_vm: Vm) -> None:
    """A range larger than the address space gives EINVAL at any address."""
    with refused(errno.EINVAL):
        plain_vm.bind(UNMAP, addr=0, range=plain_vm.size + PAGE)


@behaviour("query.config.va-bits")
@acts("ioctl")
def test_last_page_of_va_can_be_bound(plain_vm: Vm, bo: MakeBo) -> None:
    """A bind that ends exactly at 1 << VA_BITS is accepted."""
    size = plain_vm.device.known_config.min_alignment
    plain_vm.map(bo(size), plain_vm.size - size)


@behaviour("bind.bo.bounds")
@acts("refusal")
@pytest.mark.parametrize(
    ("offset", "pages"),
    [(0, 5), (PAGE, 4), (4 * PAGE, 1), (1 << 40, 1), ((1 << 64) - PAGE, 1), ((1 << 64) - PAGE, 2)],
)
def test_range_outside_bo_is_einval(plain_vm: Vm, bo: MakeBo, offset: int, pages: int) -> None:
    """Offset and range that end beyond the BO give EINVAL, even if their sum wraps around."""
    with refused(errno.EINVAL):
        plain_vm.bind(MAP, addr=AT, range=pages * PAGE, obj=bo(4 * PAGE).handle, obj_offset=offset)


@behaviour("bind.null.rules")
@acts("refusal")
@pytest.mark.parametrize("op", [UNMAP, MAP_USERPTR, PREFETCH], ids=["unmap", "map-userptr", "prefetch"])
def test_null_flag_is_only_for_map(plain_vm: Vm, op: int) -> None:
    """The NULL flag on any op other than MAP gives EINVAL."""
    with refused(errno.EINVAL):
        plain_vm.bind(op, addr=AT, range=PAGE, flags=NULL)


@behaviour("bind.null.rules")
@acts("refusal")
@pytest.mark.parametrize("what", ["bo", "offset"])
def test_null_bind_takes_neither_bo_nor_offset(plain_vm: Vm, bo: MakeBo, what: str) -> None:
    """A NULL bind with a BO or an offset gives EINVAL."""
    fields: dict[str, Any] = {"obj": bo(PAGE).handle} if what == "bo" else {"obj_offset": PAGE}
    with refused(errno.EINVAL):
        plain_vm.bind(MAP, addr=AT, range=PAGE, flags=NULL, **fields)


@behaviour("bind.decompress.rules")
@acts("refusal")
@pytest.mark.parametrize("op", [UNMAP, MAP_USERPTR, PREFETCH], ids=["unmap", "map-userptr", "prefetch"])
def test_decompress_is_only_for_map(plain_vm: Vm, op: int) -> None:
    """The DECOMPRESS flag on any op other than MAP gives EINVAL."""
    with refused(errno.EINVAL):
        plain_vm.bind(op, addr=AT, range=PAGE, flags=DECOMPRESS)


@behaviour("bind.autoreset.requires-cam")
@acts("refusal")
@pytest.mark.parametrize("op", [MAP, UNMAP, PREFETCH], ids=["map", "unmap", "prefetch"])
def test_autoreset_is_only_for_mirror(plain_vm: Vm, bo: MakeBo, op: int) -> None:
    """MADVISE_AUTORESET without CPU_ADDR_MIRROR, or on any op other than MAP, gives EINVAL."""
    with refused(errno.EINVAL):
        plain_vm.bind(op, addr=AT, range=PAGE, obj=bo(PAGE).handle if op == MAP else 0, flags=AUTORESET)


@behaviour("bind.ufence.single")
@acts("refusal")
def test_two_user_fences_are_einval(device: Device, plain_vm: Vm) -> None:
    """A bind takes at most one user fence: two give EINVAL, and neither is written."""
    fences = UserFence(device), UserFence(device)
    with refused(errno.EINVAL):
        plain_vm.bind(UNMAP, addr=AT, range=PAGE, syncs=[fence.sync() for fence in fences])
    assert not any(fence.signalled for fence in fences)


@behaviour("bind.queue.unknown")
@acts("refusal")
def test_unknown_bind_queue_is_enoent(plain_vm: Vm) -> None:
    """An exec queue id that was never allocated gives ENOENT."""
    with refused(errno.ENOENT):
        bind(plain_vm, exec_queue_id=0x1234_5678)


@behaviour("bind.queue.wrong-class")
@acts("refusal")
def test_bind_on_engine_queue_is_einval(plain_vm: Vm) -> None:
    """An exec queue that is not a bind queue gives EINVAL."""
    with refused(errno.EINVAL):
        bind(plain_vm, exec_queue_id=plain_vm.queue().id)


@behaviour("bind.queue.wrong-vm")
@acts("refusal", "ioctl")
def test_bind_queue_of_other_vm_is_einval(plain_vm: Vm, make_vm: MakeVm) -> None:
    """A bind queue belongs to the VM it was created for: with another VM it gives EINVAL."""
    binds = xe.drm_xe_engine_class_instance(engine_class=xe.DRM_XE_ENGINE_CLASS_VM_BIND)
    queue = make_vm().queue(binds)
    with refused(errno.EINVAL):
        bind(plain_vm, exec_queue_id=queue.id)
    bind(queue.vm, exec_queue_id=queue.id)
