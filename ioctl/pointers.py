# SPDX-License-Identifier: MIT
"""What the structures point at, and copying it while a call is made.

Only memory that the kernel itself reads or writes in that call is touched, at most `LIMIT` bytes a pointer:
looking at anything else could bring a page back from the GPU that the test wants there. The user fence of an
EXEC is an address of the GPU and never read.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from ioctl import drm, names, xe
from ioctl.layout import char, u32, u64
from ioctl.memory import read
from ioctl.names import Family

LIMIT = 4096
MAX_USER_EXTENSIONS = 16  # longer chains are E2BIG (xe_exec_queue.c:exec_queue_user_extensions)

Element = type[Any] | None


@dataclass(frozen=True, slots=True)
class Pointer:
    """A field with an address of user memory.

    ``field``: where the address is, dotted. ``size``: bytes there, 0 when the field is none in this call.
    ``element``: the C type of what is there, None for plain bytes. ``before``: the kernel reads there;
    ``after``: it writes there.
    """

    field: str
    size: Callable[[Any], int]
    element: Callable[[Any], Element]
    before: bool = True
    after: bool = False
    single: bool = False  # one element, not an array


@dataclass(frozen=True, slots=True)
class Chain:
    """A field that begins a chain of extensions.

    ``families``: what their fields "name" and "property" stand for; None when the field is no chain in this call.
    """

    field: str
    families: Callable[[Any], dict[str, Family] | None]


def array(field: str, element: type, count: str | Callable[[Any], int], *, after: bool = False) -> Pointer:
    """``count`` elements, by the name of the field with their number or computed from the structure."""
    number = attrgetter(count) if isinstance(count, str) else count
    width = ctypes.sizeof(element)
    return Pointer(field, lambda arg: number(arg) * width, lambda _: element, after=after)


def one(field: str, element: type, when: Callable[[Any], bool] = lambda _: True) -> Pointer:
    """One element that the kernel reads and writes, where ``when`` holds."""
    width = ctypes.sizeof(element)
    return Pointer(field, lambda arg: width * when(arg), lambda _: element, after=True, single=True)


def chain(field: str, extensions: Family, properties: Family) -> Chain:
    """A chain of one sort only."""
    families = {"name": extensions, "property": properties}
    return Chain(field, lambda _: families)


def text(field: str) -> Pointer:
    """A string the kernel writes, its length in the field's ``_len``."""
    return Pointer(field, attrgetter(field + "_len"), lambda _: char, before=False, after=True)


REPLIES: dict[int, Element] = {
    xe.DRM_XE_DEVICE_QUERY_ENGINES: xe.drm_xe_query_engines,
    xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS: xe.drm_xe_query_mem_regions,
    xe.DRM_XE_DEVICE_QUERY_CONFIG: xe.drm_xe_query_config,
    xe.DRM_XE_DEVICE_QUERY_GT_LIST: xe.drm_xe_query_gt_list,
    xe.DRM_XE_DEVICE_QUERY_HWCONFIG: u32,
    xe.DRM_XE_DEVICE_QUERY_GT_TOPOLOGY: xe.drm_xe_query_topology_mask,
    xe.DRM_XE_DEVICE_QUERY_ENGINE_CYCLES: xe.drm_xe_query_engine_cycles,
    xe.DRM_XE_DEVICE_QUERY_UC_FW_VERSION: xe.drm_xe_query_uc_fw_version,
    xe.DRM_XE_DEVICE_QUERY_OA_UNITS: xe.drm_xe_query_oa_units,
    xe.DRM_XE_DEVICE_QUERY_PXP_STATUS: xe.drm_xe_query_pxp_status,
    xe.DRM_XE_DEVICE_QUERY_EU_STALL: xe.drm_xe_query_eu_stall,
}

OBSERVATION_PARAMS: dict[int, type] = {
    xe.DRM_XE_OBSERVATION_OP_ADD_CONFIG: xe.drm_xe_oa_config,
    xe.DRM_XE_OBSERVATION_OP_REMOVE_CONFIG: u64,
}


STREAM_FAMILIES = {
    xe.DRM_XE_OBSERVATION_TYPE_OA: {"name": names.OA_EXTENSION, "property": names.OA_PROPERTY},
    xe.DRM_XE_OBSERVATION_TYPE_EU_STALL: {
        "name": names.EU_STALL_EXTENSION,
        "property": names.EU_STALL_PROPERTY,
    },
}


def _stream_families(arg: Any) -> dict[str, Family] | None:
    opens = arg.observation_op == xe.DRM_XE_OBSERVATION_OP_STREAM_OPEN
    return STREAM_FAMILIES.get(arg.observation_type) if opens else None


POINTERS: dict[type, tuple[Pointer | Chain, ...]] = {
    xe.drm_xe_device_query: (
        Pointer("data", attrgetter("size"), lambda arg: REPLIES.get(arg.query), after=True),
    ),
    xe.drm_xe_gem_create: (chain("extensions", names.GEM_EXTENSION, names.GEM_PROPERTY),),
    xe.drm_xe_vm_bind: (
        array("vector_of_binds", xe.drm_xe_vm_bind_op, lambda arg: arg.num_binds if arg.num_binds > 1 else 0),
        array("syncs", xe.drm_xe_sync, "num_syncs"),
    ),
    xe.drm_xe_vm_get_property: (
        Pointer("data", attrgetter("size"), lambda _: xe.xe_vm_fault, before=False, after=True),
    ),
    xe.drm_xe_exec_queue_create: (
        chain("extensions", names.QUEUE_EXTENSION, names.QUEUE_PROPERTY),
        array("instances", xe.drm_xe_engine_class_instance, lambda arg: arg.width * arg.num_placements),
    ),
    xe.drm_xe_exec: (
        array("syncs", xe.drm_xe_sync, "num_syncs"),
        array("address", u64, lambda arg: arg.num_batch_buffer if arg.num_batch_buffer > 1 else 0),
    ),
    xe.drm_xe_wait_user_fence: (one("addr", u64),),
    xe.drm_xe_observation_param: (
        Chain("param", _stream_families),
        Pointer(
            "param",
            lambda arg: ctypes.sizeof(OBSERVATION_PARAMS.get(arg.observation_op, char * 0)),
            lambda arg: OBSERVATION_PARAMS.get(arg.observation_op),
            single=True,
        ),
    ),
    xe.drm_xe_ext_set_property: (chain("base.next_extension", names.OA_EXTENSION, names.OA_PROPERTY),),
    xe.drm_xe_madvise: (
        one(
            "purge_state_val.retained_ptr",
            u32,
            lambda arg: bool(arg.type == xe.DRM_XE_VMA_ATTR_PURGEABLE_STATE),
        ),
    ),
    xe.drm_xe_vm_query_mem_range_attr: (
        Pointer(
            "vector_of_mem_attr",
            lambda arg: arg.num_mem_ranges * arg.sizeof_mem_range_attr,
            lambda _: xe.drm_xe_mem_range_attr,
            before=False,
            after=True,
        ),
    ),
    drm.drm_version: (text("name"), text("date"), text("desc")),
    drm.drm_unique: (text("unique"),),
    drm.drm_set_client_name: (array("name", char, "name_len"),),
    drm.drm_syncobj_wait: (array("handles", u32, "count_handles"),),
    drm.drm_syncobj_timeline_wait: (
        array("handles", u32, "count_handles"),
        array("points", u64, "count_handles"),
    ),
    drm.drm_syncobj_array: (array("handles", u32, "count_handles"),),
    drm.drm_syncobj_timeline_array: (
        array("handles", u32, "count_handles"),
        array("points", u64, "count_handles", after=True),
    ),
}


class Capture:
    """What was at one pointer: None where it was not looked at, empty bytes where it was not readable."""

    __slots__ = ("address", "after", "before", "pointer", "size")

    def __init__(self, pointer: Pointer | Chain, address: int, size: int) -> None:
        self.pointer = pointer
        self.address = address
        self.size = size
        self.before: bytes | None = None
        self.after: bytes | None = None


# attrgetter knows dots and costs less than getattr.
_COMPILED = {
    struct: tuple((pointer, attrgetter(pointer.field)) for pointer in pointers)
    for struct, pointers in POINTERS.items()
}


def capture_before(arg: ctypes.Structure) -> list[Capture] | None:
    """Copies of what the kernel is about to read, notes of where it will write; None if there is neither."""
    compiled = _COMPILED.get(type(arg))
    if compiled is None:
        return None
    captures: list[Capture] = []
    for pointer, take in compiled:
        address = take(arg)
        if not address:
            continue
        if isinstance(pointer, Chain):
            if pointer.families(arg) is not None:
                capture = Capture(pointer, address, 0)
                capture.before = _follow(address)
                captures.append(capture)
        elif size := pointer.size(arg):
            capture = Capture(pointer, address, size)
            if pointer.before:
                capture.before = read(address, min(size, LIMIT)) or b""
            captures.append(capture)
    return captures


def capture_after(captures: list[Capture]) -> None:
    """Copies of what the kernel may have written."""
    for capture in captures:
        if isinstance(capture.pointer, Pointer) and capture.pointer.after:
            capture.after = read(capture.address, min(capture.size, LIMIT)) or b""


def _follow(address: int) -> bytes:
    """The extensions from ``address`` on, one after the other; ends early at a bad pointer."""
    width = ctypes.sizeof(xe.drm_xe_ext_set_property)
    links = b""
    for _ in range(MAX_USER_EXTENSIONS):
        link = read(address, width) or b""
        links += link
        if len(link) < width:
            break
        address = xe.drm_xe_user_extension.from_buffer_copy(link).next_extension
        if not address:
            break
    return links
