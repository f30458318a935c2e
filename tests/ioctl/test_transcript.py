# SPDX-License-Identifier: MIT
"""Contents of a transcript, and its text."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import re
from ctypes import addressof
from typing import Any

import pytest

from ioctl import call, drm, transcript, xe
from ioctl.decode import record_text
from ioctl.encoding import Request
from ioctl.pointers import LIMIT, MAX_USER_EXTENSIONS
from ioctl.record import Record
from tests.ioctl.kernel import Answer, answering, raising, setting

BAD = 0xDEAD_0000


def told(request: Request, arg: Any, answer: Answer | None = None) -> str:
    """The text of one call, with live addresses and the duration blanked."""
    with (
        answering({request: answer} if answer else {}),
        transcript.recording() as kept,
        contextlib.suppress(OSError),
    ):
        call(5, request, arg)
    text = re.sub(r"<[\d.]+", "<TIME", kept.text())
    return re.sub(r"0x[0-9a-f]+(?= -> )|(?<=next_extension=)0x[0-9a-f]+", "ADDR", text)


def test_flags_are_named_and_what_the_kernel_wrote_comes_after_an_arrow() -> None:
    """One short call is one line or a small block."""
    flags = xe.DRM_XE_VM_CREATE_FLAG_LR_MODE | xe.DRM_XE_VM_CREATE_FLAG_FAULT_MODE | 0x4000
    arg = xe.drm_xe_vm_create(flags=flags)
    assert told(xe.DRM_IOCTL_XE_VM_CREATE, arg, setting(vm_id=3)) == (
        "ioctl(5, DRM_IOCTL_XE_VM_CREATE, {\n"
        "  flags=DRM_XE_VM_CREATE_FLAG_LR_MODE|DRM_XE_VM_CREATE_FLAG_FAULT_MODE|0x4000, vm_id=0 => 3,\n"
        "}) = 0 <TIME>"
    )


def test_an_error_is_told_with_its_name() -> None:
    """As in strace; must-be-zero fields are shown if they are not zero."""
    arg = xe.drm_xe_vm_destroy(vm_id=7, pad=1)
    assert told(xe.DRM_IOCTL_XE_VM_DESTROY, arg, raising(errno.ENOENT)) == (
        "ioctl(5, DRM_IOCTL_XE_VM_DESTROY, {vm_id=7, pad=1}) = -1 ENOENT (No such file or directory) <TIME>"
    )


def test_a_field_that_an_error_changed_is_told() -> None:
    """A refused call must leave its argument alone; the transcript shows when it did not."""

    def answer(arg: Any) -> int:
        arg.vm_id = 9
        raise OSError(errno.EINVAL, "")

    assert "vm_id=0 => 9" in told(xe.DRM_IOCTL_XE_VM_CREATE, xe.drm_xe_vm_create(), answer)


def test_one_bind_is_told_in_place_and_syncs_where_they_are_pointed_at() -> None:
    """The member of a union that the rest selects."""
    syncs = (xe.drm_xe_sync * 2)()
    syncs[0].handle = 4
    syncs[1].type = xe.DRM_XE_SYNC_TYPE_USER_FENCE
    syncs[1].flags = xe.DRM_XE_SYNC_FLAG_SIGNAL
    syncs[1].addr = 0x1000
    syncs[1].timeline_value = 0xABCDE
    arg = xe.drm_xe_vm_bind(vm_id=1, num_binds=1, num_syncs=2, syncs=addressof(syncs))
    arg.bind.range = 1 << 47
    arg.bind.flags = xe.DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR
    assert told(xe.DRM_IOCTL_XE_VM_BIND, arg) == (
        "ioctl(5, DRM_IOCTL_XE_VM_BIND, {\n"
        "  vm_id=1, exec_queue_id=0, num_binds=1,\n"
        "  bind={\n"
        "    obj=0, pat_index=0, cpu_addr_mirror_offset=0, range=0x800000000000, addr=0, "
        "op=DRM_XE_VM_BIND_OP_MAP,\n"
        "    flags=DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR, prefetch_mem_region_instance=0,\n"
        "  },\n"
        "  num_syncs=2,\n"
        "  syncs=ADDR -> [\n"
        "    {type=DRM_XE_SYNC_TYPE_SYNCOBJ, flags=0, handle=4, timeline_value=0},\n"
        "    {type=DRM_XE_SYNC_TYPE_USER_FENCE, flags=DRM_XE_SYNC_FLAG_SIGNAL, addr=0x1000, "
        "timeline_value=0xabcde},\n"
        "  ],\n"
        "}) = 0 <TIME>"
    )


def test_a_positive_result_is_told() -> None:
    """The descriptor of an observation stream."""
    arg = xe.drm_xe_observation_param(observation_op=2)
    assert told(xe.DRM_IOCTL_XE_OBSERVATION, arg, lambda _: 7).endswith("}) = 7 <TIME>")


def test_memory_that_an_error_changed_is_told() -> None:
    """A refused call must leave memory alone, too."""
    fence = ctypes.c_uint64(1)

    def answer(_arg: Any) -> int:
        fence.value = 2
        raise OSError(errno.ETIME, "")

    arg = xe.drm_xe_wait_user_fence(addr=addressof(fence))
    assert "addr=ADDR -> 1 => 2, " in told(xe.DRM_IOCTL_XE_WAIT_USER_FENCE, arg, answer)


@pytest.mark.parametrize(
    ("request_", "arg"),
    [
        (xe.DRM_IOCTL_XE_VM_BIND, xe.drm_xe_vm_bind(num_syncs=1, syncs=0)),
        (xe.DRM_IOCTL_XE_VM_BIND, xe.drm_xe_vm_bind(num_binds=1, vector_of_binds=BAD)),
        (xe.DRM_IOCTL_XE_EXEC, xe.drm_xe_exec(num_batch_buffer=1, address=BAD)),
        (xe.DRM_IOCTL_XE_MADVISE, xe.drm_xe_madvise(type=xe.DRM_XE_MEM_RANGE_ATTR_PAT)),
        (xe.DRM_IOCTL_XE_OBSERVATION, xe.drm_xe_observation_param(observation_op=9, param=BAD)),
    ],
)
def test_what_the_kernel_does_not_follow_is_not_followed(request_: Request, arg: Any) -> None:
    """A null pointer, the first field of a bind in place, a batch address, which is one of the GPU."""
    if request_ is xe.DRM_IOCTL_XE_MADVISE:
        arg.purge_state_val.retained_ptr = BAD
    with answering({}), transcript.recording() as kept:
        call(5, request_, arg)
    [record] = kept.records
    assert isinstance(record, Record)
    assert record.nested == []
    assert "->" not in record_text(record)


def test_a_bind_array_is_told_element_by_element() -> None:
    """As it was when the call was made, whatever the test does to it afterwards."""
    ops = (xe.drm_xe_vm_bind_op * 2)()
    ops[0].op, ops[0].userptr, ops[0].range = xe.DRM_XE_VM_BIND_OP_MAP_USERPTR, 0x5000, 0x1000
    ops[1].op, ops[1].prefetch_mem_region_instance = 99, -1
    arg = xe.drm_xe_vm_bind(vm_id=1, num_binds=2, vector_of_binds=addressof(ops))
    with answering({}), transcript.recording() as kept:
        call(5, xe.DRM_IOCTL_XE_VM_BIND, arg)
        ops[0].userptr = 0x9999000
    text = kept.text()
    assert "op=DRM_XE_VM_BIND_OP_MAP_USERPTR" in text
    assert "userptr=0x5000" in text
    assert "op=0x63 /* DRM_XE_VM_BIND_OP_??? */" in text
    assert "prefetch_mem_region_instance=DRM_XE_CONSULT_MEM_ADVISE_PREF_LOC" in text


@pytest.mark.parametrize(
    ("request_", "arg", "field"),
    [
        (xe.DRM_IOCTL_XE_VM_BIND, xe.drm_xe_vm_bind(num_binds=2, vector_of_binds=BAD), "vector_of_binds"),
        (xe.DRM_IOCTL_XE_VM_BIND, xe.drm_xe_vm_bind(num_syncs=1, syncs=BAD), "syncs"),
        (xe.DRM_IOCTL_XE_EXEC, xe.drm_xe_exec(num_syncs=2**31, syncs=BAD), "syncs"),
        (xe.DRM_IOCTL_XE_EXEC, xe.drm_xe_exec(num_batch_buffer=2, address=BAD), "address"),
        (xe.DRM_IOCTL_XE_DEVICE_QUERY, xe.drm_xe_device_query(query=0, size=2**32 - 1, data=BAD), "data"),
        (xe.DRM_IOCTL_XE_WAIT_USER_FENCE, xe.drm_xe_wait_user_fence(addr=BAD), "addr"),
        (xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, xe.drm_xe_exec_queue_create(extensions=BAD), "extensions"),
        (drm.DRM_IOCTL_SYNCOBJ_WAIT, drm.drm_syncobj_wait(count_handles=1, handles=2**64 - 8), "handles"),
    ],
)
def test_a_bad_pointer_is_told_as_unreadable(request_: Request, arg: Any, field: str) -> None:
    """No signal, no exception: bad pointers are what conformance tests pass."""
    text = told(request_, arg, raising(errno.EFAULT))
    assert re.search(rf"{field}=ADDR -> <unreadable>", text), text


def test_an_array_that_runs_into_bad_memory_is_told_as_far_as_it_goes() -> None:
    """The elements the kernel could have read, and how many it could not."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_size_t
    libc.mmap.argtypes = (ctypes.c_size_t, ctypes.c_size_t) + (ctypes.c_int,) * 3 + (ctypes.c_long,)
    libc.munmap.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
    pages = libc.mmap(0, 8192, 3, 0x22, -1, 0)
    libc.munmap(pages + 4096, 4096)
    at = pages + 4096 - ctypes.sizeof(xe.drm_xe_sync)
    xe.drm_xe_sync.from_address(at).handle = 42
    text = told(xe.DRM_IOCTL_XE_EXEC, xe.drm_xe_exec(num_syncs=3, syncs=at), raising(errno.EFAULT))
    libc.munmap(pages, 4096)
    assert "handle=42" in text
    assert "... 2 more" in text


def test_long_arrays_are_kept_up_to_a_limit() -> None:
    """Memory is bounded per call."""
    syncs = (xe.drm_xe_sync * 1024)()
    with answering({}), transcript.recording() as kept:
        call(5, xe.DRM_IOCTL_XE_EXEC, xe.drm_xe_exec(num_syncs=1024, syncs=addressof(syncs)))
    [record] = kept.records
    assert isinstance(record, Record)
    assert record.nested
    assert len(record.nested[0].before or b"") == LIMIT
    assert f"... {1024 - LIMIT // ctypes.sizeof(xe.drm_xe_sync)} more" in record_text(record)


def test_an_extension_chain_is_followed() -> None:
    """Each link with the names that its request gives to properties."""
    last = xe.drm_xe_ext_set_property(property=xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_TIMESLICE, value=1000)
    base = xe.drm_xe_user_extension(next_extension=addressof(last))
    first = xe.drm_xe_ext_set_property(base=base, property=99, value=1 << 63)
    instance = xe.drm_xe_engine_class_instance(engine_class=xe.DRM_XE_ENGINE_CLASS_COMPUTE)
    arg = xe.drm_xe_exec_queue_create(extensions=addressof(first), width=1, num_placements=1, vm_id=1)
    arg.instances = addressof(instance)
    assert told(xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, arg, setting(exec_queue_id=2)) == (
        "ioctl(5, DRM_IOCTL_XE_EXEC_QUEUE_CREATE, {\n"
        "  extensions=ADDR -> [\n"
        "    {\n"
        "      base={next_extension=ADDR, name=DRM_XE_EXEC_QUEUE_EXTENSION_SET_PROPERTY},\n"
        "      property=0x63 /* DRM_XE_EXEC_QUEUE_SET_??? */, value=0x8000000000000000,\n"
        "    },\n"
        "    {\n"
        "      base={next_extension=0, name=DRM_XE_EXEC_QUEUE_EXTENSION_SET_PROPERTY},\n"
        "      property=DRM_XE_EXEC_QUEUE_SET_PROPERTY_TIMESLICE, value=1000,\n"
        "    },\n"
        "  ],\n"
        "  width=1, num_placements=1, vm_id=1, flags=0, exec_queue_id=0 => 2,\n"
        "  instances=ADDR -> [{engine_class=DRM_XE_ENGINE_CLASS_COMPUTE, engine_instance=0, gt_id=0}],\n"
        "}) = 0 <TIME>"
    )


def test_a_chain_that_bites_its_tail_ends() -> None:
    """After as many links as the kernel follows."""
    loop = xe.drm_xe_ext_set_property(value=5)
    loop.base.next_extension = addressof(loop)
    text = told(xe.DRM_IOCTL_XE_GEM_CREATE, xe.drm_xe_gem_create(extensions=addressof(loop)))
    assert text.count("value=5") == MAX_USER_EXTENSIONS
    assert "...," in text


def query(number: int, data: bytes) -> str:
    """The text of a query that is answered with ``data``."""
    buffer = ctypes.create_string_buffer(len(data))
    arg = xe.drm_xe_device_query(query=number, size=len(data), data=addressof(buffer))

    def answer(arg: Any) -> None:
        ctypes.memmove(arg.data, data, arg.size)

    return told(xe.DRM_IOCTL_XE_DEVICE_QUERY, arg, answer)


def test_query_replies_are_told() -> None:
    """A structure, and the flexible array at its end by its count."""
    region = xe.drm_xe_mem_region(mem_class=1, instance=1, min_page_size=0x10000, total_size=1 << 34)
    head = xe.drm_xe_query_mem_regions(num_mem_regions=1)
    text = query(xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS, bytes(head) + bytes(region))
    assert text == (
        "ioctl(5, DRM_IOCTL_XE_DEVICE_QUERY, {\n"
        "  query=DRM_XE_DEVICE_QUERY_MEM_REGIONS, size=96,\n"
        "  data=ADDR -> {\n"
        "    num_mem_regions=1,\n"
        "    mem_regions=[\n"
        "      {\n"
        "        mem_class=DRM_XE_MEM_REGION_CLASS_VRAM, instance=1, min_page_size=0x10000, "
        "total_size=0x400000000,\n"
        "        used=0, cpu_visible_size=0, cpu_visible_used=0,\n"
        "      },\n"
        "    ],\n"
        "  },\n"
        "}) = 0 <TIME>"
    )


def test_the_configuration_is_told_by_name() -> None:
    """Indexes of the array, and the flags at one of them."""
    values = (0x1E20B, xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM | 0x100, 0x10000, 48, 2, 77)
    data = bytes(xe.drm_xe_query_config(num_params=6)) + b"".join(v.to_bytes(8, "little") for v in values)
    text = query(xe.DRM_XE_DEVICE_QUERY_CONFIG, data)
    assert "[DRM_XE_QUERY_CONFIG_FLAGS]=DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM|0x100" in text
    assert "[DRM_XE_QUERY_CONFIG_VA_BITS]=48" in text
    assert "[0x5 /* DRM_XE_QUERY_CONFIG_??? */]=77" in text


def test_rows_of_structures_of_different_size_are_told() -> None:
    """Topology masks and OA units follow each other without padding."""
    mask = xe.drm_xe_query_topology_mask
    masks = bytes(mask(type=xe.DRM_XE_TOPO_DSS_COMPUTE, num_bytes=3)) + b"\x0f\0\0"
    masks += bytes(mask(gt_id=1, type=xe.DRM_XE_TOPO_L3_BANK, num_bytes=1)) + b"\xff"
    text = query(xe.DRM_XE_DEVICE_QUERY_GT_TOPOLOGY, masks)
    assert "{gt_id=0, type=DRM_XE_TOPO_DSS_COMPUTE, num_bytes=3, mask=[15, 0, 0]}" in text
    assert "{gt_id=1, type=DRM_XE_TOPO_L3_BANK, num_bytes=1, mask=[255]}" in text
    unit = bytes(xe.drm_xe_oa_unit(num_engines=1)) + bytes(xe.drm_xe_engine_class_instance(gt_id=1))
    units = query(xe.DRM_XE_DEVICE_QUERY_OA_UNITS, bytes(xe.drm_xe_query_oa_units(num_oa_units=2)) + 2 * unit)
    assert units.count("oa_unit_type=DRM_XE_OA_UNIT_TYPE_OAG") == 2
    assert units.count("gt_id=1}") == 2


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xff" * 7, b"\xff" * 8, b"\xff" * 9])
@pytest.mark.parametrize("number", range(12))
def test_a_reply_that_is_no_reply_is_told_somehow(number: int, data: bytes) -> None:
    """A driver under test may answer anything; printing it must not fail."""
    assert query(number, data).endswith("= 0 <TIME>")


def test_memory_attributes_are_told_after_the_call() -> None:
    """The array has the number of elements that the kernel returned."""
    attributes = (xe.drm_xe_mem_range_attr * 3)()

    def answer(arg: Any) -> None:
        arg.num_mem_ranges = 1
        attributes[0].end = 0x200000
        attributes[0].atomic.val = xe.DRM_XE_ATOMIC_CPU
        attributes[0].preferred_mem_loc.devmem_fd = xe.DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM

    arg = xe.drm_xe_vm_query_mem_range_attr(
        vm_id=1, num_mem_ranges=3, sizeof_mem_range_attr=64, vector_of_mem_attr=addressof(attributes)
    )
    text = told(xe.DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, arg, answer)
    assert "num_mem_ranges=3 => 1" in text
    assert text.count("end=") == 1
    assert "devmem_fd=DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM" in text
    assert "atomic={val=DRM_XE_ATOMIC_CPU}" in text


def test_a_user_fence_is_told_before_and_after() -> None:
    """The value that was waited for, before and after."""
    fence = ctypes.c_uint64(1)

    def answer(_arg: Any) -> None:
        fence.value = 0xF00D

    arg = xe.drm_xe_wait_user_fence(addr=addressof(fence), value=0xF00D, mask=2**64 - 1, timeout=10**9)
    assert told(xe.DRM_IOCTL_XE_WAIT_USER_FENCE, arg, answer) == (
        "ioctl(5, DRM_IOCTL_XE_WAIT_USER_FENCE, {\n"
        "  addr=ADDR -> 1 => 0xf00d, op=DRM_XE_UFENCE_WAIT_OP_EQ, flags=0, value=0xf00d,\n"
        "  mask=0xffffffffffffffff, timeout=1000000000, exec_queue_id=0,\n"
        "}) = 0 <TIME>"
    )


@pytest.mark.parametrize(
    ("kind", "member", "expected"),
    [
        (xe.DRM_XE_MEM_RANGE_ATTR_ATOMIC, {"atomic": {"val": 3}}, "atomic={val=DRM_XE_ATOMIC_CPU}"),
        (xe.DRM_XE_MEM_RANGE_ATTR_PAT, {"pat_index": {"val": 3, "pad": 1}}, "pat_index={val=3, pad=1}"),
        (
            xe.DRM_XE_MEM_RANGE_ATTR_PREFERRED_LOC,
            {"preferred_mem_loc": {"devmem_fd": 5, "region_instance": 1}},
            "{devmem_fd=5, migration_policy=DRM_XE_MIGRATE_ALL_PAGES, region_instance=1}",
        ),
        (77, {"atomic": {"val": 2}}, "union=0x02000000000000000000000000000000"),
    ],
)
def test_an_attribute_is_told_by_its_type(kind: int, member: dict[str, Any], expected: str) -> None:
    """The union member that the type selects; the bytes for an unknown type."""
    arg = xe.drm_xe_madvise(vm_id=1, type=kind)
    for name, fields in member.items():
        for field, value in fields.items():
            setattr(getattr(arg, name), field, value)
    assert expected in told(xe.DRM_IOCTL_XE_MADVISE, arg)


def test_purgeable_state_tells_what_was_retained() -> None:
    """A pointer inside a nested structure."""
    retained = ctypes.c_uint32(0)
    arg = xe.drm_xe_madvise(type=xe.DRM_XE_VMA_ATTR_PURGEABLE_STATE)
    arg.purge_state_val.val = xe.DRM_XE_VMA_PURGEABLE_STATE_DONTNEED
    arg.purge_state_val.retained_ptr = addressof(retained)

    def answer(_arg: Any) -> None:
        retained.value = 1

    assert "retained_ptr=ADDR -> 0 => 1" in told(xe.DRM_IOCTL_XE_MADVISE, arg, answer)


def test_strings_are_told_as_strings() -> None:
    """Strings that the kernel writes, with the length that it returns, and strings that it reads."""
    name = ctypes.create_string_buffer(16)

    def answer(arg: Any) -> None:
        ctypes.memmove(arg.name, b"xe", 2)
        arg.name_len = 2

    text = told(drm.DRM_IOCTL_VERSION, drm.drm_version(name_len=16, name=addressof(name)), answer)
    assert 'name_len=16 => 2, name=ADDR -> "xe"' in text
    own = ctypes.create_string_buffer(b'a"b\n')
    text = told(drm.DRM_IOCTL_SET_CLIENT_NAME, drm.drm_set_client_name(name_len=4, name=addressof(own)))
    assert r'name=ADDR -> "a\"b\n"' in text


def test_a_shared_structure_is_told_by_its_request() -> None:
    """Both SYNCOBJ requests have a bit 0 of their own."""
    arg = drm.drm_syncobj_handle(flags=1)
    assert "flags=DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT" in told(drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, arg)
    assert "flags=DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT" in told(drm.DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, arg)


def test_points_written_by_the_kernel_are_told_both_ways() -> None:
    """An array of numbers before and after."""
    handles, points = (ctypes.c_uint32 * 2)(1, 2), (ctypes.c_uint64 * 2)()

    def answer(_arg: Any) -> None:
        points[:] = [5, 0x10000]

    arg = drm.drm_syncobj_timeline_array(count_handles=2)
    arg.handles, arg.points = addressof(handles), addressof(points)
    text = told(drm.DRM_IOCTL_SYNCOBJ_QUERY, arg, answer)
    assert "handles=ADDR -> [1, 2]" in text
    assert "points=ADDR -> [0, 0] => [5, 0x10000]" in text


def test_observation_parameters_are_told_by_operation() -> None:
    """A chain to open a stream, a structure to add a configuration, a number to remove it."""
    ext = xe.drm_xe_ext_set_property(property=xe.DRM_XE_EU_STALL_PROP_SAMPLE_RATE, value=251)
    config = xe.drm_xe_oa_config(uuid=b"0123", n_regs=1)
    number = ctypes.c_uint64(12)
    tell = xe.DRM_IOCTL_XE_OBSERVATION
    open_ = xe.drm_xe_observation_param(observation_type=1, observation_op=0, param=addressof(ext))
    assert "property=DRM_XE_EU_STALL_PROP_SAMPLE_RATE, value=251" in told(tell, open_)
    add = xe.drm_xe_observation_param(observation_op=1, param=addressof(config))
    assert 'uuid="0123", n_regs=1' in told(tell, add)
    remove = xe.drm_xe_observation_param(observation_op=2, param=addressof(number))
    assert "param=ADDR -> 12" in told(tell, remove)


def test_a_call_that_a_signal_handler_left_is_told_as_unfinished() -> None:
    """A deadline raises out of the call; the last line shows where the test hung."""

    def answer(_arg: Any) -> int:
        raise KeyboardInterrupt

    with answering({xe.DRM_IOCTL_XE_VM_DESTROY: answer}), transcript.recording() as kept:
        with pytest.raises(KeyboardInterrupt):
            call(5, xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=1))
        assert kept.text() == "ioctl(5, DRM_IOCTL_XE_VM_DESTROY, {vm_id=1}) = ? <unfinished>"


def test_a_plain_number_as_argument_is_told() -> None:
    """Arguments of a test of bad pointers."""
    with transcript.recording() as kept, pytest.raises(OSError, match="EBADF"):
        call(-1, xe.DRM_IOCTL_XE_EXEC, BAD)
    assert re.fullmatch(
        r"ioctl\(-1, DRM_IOCTL_XE_EXEC, 0xdead0000\) = -1 EBADF \(Bad file descriptor\) <[\d.]+>", kept.text()
    )


def test_restarts_are_told() -> None:
    """A restarted call is one record."""
    with answering({xe.DRM_IOCTL_XE_VM_DESTROY: raising(errno.EINTR)}), transcript.recording() as kept:
        call(5, xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(), retry=True)
    assert kept.text().endswith(", restarted 1 times>")


def test_a_full_transcript_drops_the_oldest_and_says_how_many() -> None:
    """Memory is bounded per test."""
    with answering({}), transcript.recording(kept=4) as kept:
        for number in range(10):
            call(5, xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=number))
    lines = kept.text().splitlines()
    assert lines[0] == "(6 older calls and notes were dropped)"
    assert ["vm_id=" + str(n) in line for n, line in zip(range(6, 10), lines[1:], strict=True)] == [True] * 4


def test_notes_come_between_calls_and_become_text_when_read() -> None:
    """A fixture notes what it did to a mapping without formatting anything."""
    made: list[str] = []

    class Mapping:
        def __str__(self) -> str:
            made.append("text")
            return "munmap(0x1000, 4096)"

    with answering({}), transcript.recording() as kept:
        kept.opened(5, "/dev/dri/renderD128")
        call(5, xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=1))
        kept.note(Mapping())
        assert made == []
    lines = kept.text().splitlines()
    assert lines[0] == 'open("/dev/dri/renderD128") = 5'
    assert lines[2] == "munmap(0x1000, 4096)"


def test_each_block_records_for_itself() -> None:
    """A test's transcript has no calls of the test before, nor of fixtures of others."""
    outside = transcript.current()
    before = outside.total
    with answering({}), transcript.recording() as outer:
        call(5, xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy())
        with transcript.recording() as inner:
            call(5, xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy())
            call(5, xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy())
        assert transcript.current() is outer
    assert (outer.total, inner.total) == (1, 2)
    assert transcript.current() is outside
    assert outside.total == before
