# SPDX-License-Identifier: MIT
"""Which names of the header stand for the values of which field: the tables behind every symbolic decode.

A family is what a field can hold, given as the prefix its names share. ``svmcts abi`` uses the same families
to see two flags on one bit and two values of one number in a header it has never met.
"""

import functools
from dataclasses import dataclass

from ioctl import drm, xe
from ioctl.encoding import Request

# Prefix-sharing names that are no values of the field: numbers in the driver's range.
COMMANDS = frozenset(request.name.replace("DRM_IOCTL_", "DRM_", 1) for request in xe.REQUESTS)


@dataclass(frozen=True)
class Family:
    """Names that begin with one of ``prefixes`` and not with a longer prefix of another family.

    ``flags``: bits that are or-ed. ``open``: other numbers are as good (a file descriptor, a region
    instance).
    """

    prefixes: tuple[str, ...]
    flags: bool = False
    open: bool = False

    @functools.cached_property
    def names(self) -> dict[int, str]:
        """Value to name, as unsigned 64 bits."""
        return {
            value & (2**64 - 1): name
            for module in (drm, xe)
            for name, value in vars(module).items()
            if isinstance(value, int) and family_of(name) == self
        }

    def spell(self, value: int, bits: int = 64) -> list[str | int]:
        """``value`` of a field of ``bits`` bits as names; what has no name stays a number, at the end."""
        if not self.flags:
            found = self.names.get(value) or self.names.get(_sign_extended(value, bits))
            return [found or value]
        parts: list[str | int] = []
        for bit, name in self.names.items():
            if bit and value & bit == bit:
                parts.append(name)
                value &= ~bit
        return [*parts, value] if value or not parts else parts


def _sign_extended(value: int, bits: int) -> int:
    """How -1 in a u32 field of the structure compares to the -1 of the header."""
    return value | (2**64 - 1) & ~(2**bits - 1) if value >> (bits - 1) & 1 else value


def _values(*prefixes: str) -> Family:
    return Family(prefixes)


def _flags(*prefixes: str) -> Family:
    return Family(prefixes, flags=True)


def _or_number(*prefixes: str) -> Family:
    return Family(prefixes, open=True)


ENGINE_CLASS = _values("DRM_XE_ENGINE_CLASS_")
DEVICE_QUERY = _values("DRM_XE_DEVICE_QUERY_")
CONFIG = _values("DRM_XE_QUERY_CONFIG_")
CONFIG_FLAGS = _flags("DRM_XE_QUERY_CONFIG_FLAG_")
GEM_EXTENSION = _values("DRM_XE_GEM_CREATE_EXTENSION_")
GEM_PROPERTY = _values("DRM_XE_GEM_CREATE_SET_PROPERTY_")
QUEUE_PROPERTY = _values("DRM_XE_EXEC_QUEUE_SET_")
QUEUE_EXTENSION = _values("DRM_XE_EXEC_QUEUE_EXTENSION_")
QUEUE_GROUP = _flags("DRM_XE_MULTI_GROUP_")
OA_EXTENSION = _values("DRM_XE_OA_EXTENSION_")
OA_PROPERTY = _values("DRM_XE_OA_PROPERTY_")
EU_STALL_EXTENSION = _values("DRM_XE_EU_STALL_EXTENSION_")
EU_STALL_PROPERTY = _values("DRM_XE_EU_STALL_PROP_")
OBSERVATION_TYPE = _values("DRM_XE_OBSERVATION_TYPE_")
OBSERVATION_OP = _values("DRM_XE_OBSERVATION_OP_")
MADVISE_TYPE = _values("DRM_XE_MEM_RANGE_ATTR_", "DRM_XE_VMA_ATTR_")
PREFERRED_LOC = _or_number("DRM_XE_PREFERRED_LOC_")
MIGRATE = _values("DRM_XE_MIGRATE_")
ATOMIC = _values("DRM_XE_ATOMIC_")
VM_PROPERTY = _values("DRM_XE_VM_GET_PROPERTY_")
BIND_OP = _values("DRM_XE_VM_BIND_OP_")
BIND_FLAGS = _flags("DRM_XE_VM_BIND_FLAG_")
SYNC_TYPE = _values("DRM_XE_SYNC_TYPE_")
SYNCOBJ_WAIT_FLAGS = _flags("DRM_SYNCOBJ_WAIT_FLAGS_")

FIELDS: dict[type, dict[str, Family]] = {
    xe.drm_xe_engine_class_instance: {"engine_class": ENGINE_CLASS},
    xe.drm_xe_mem_region: {"mem_class": _values("DRM_XE_MEM_REGION_CLASS_")},
    xe.drm_xe_gt: {"type": _values("DRM_XE_QUERY_GT_TYPE_")},
    xe.drm_xe_query_topology_mask: {"type": _values("DRM_XE_TOPO_")},
    xe.drm_xe_query_uc_fw_version: {"uc_type": _values("XE_QUERY_UC_TYPE_")},
    xe.drm_xe_device_query: {"query": DEVICE_QUERY},
    xe.drm_xe_gem_create: {
        "flags": _flags("DRM_XE_GEM_CREATE_FLAG_"),
        "cpu_caching": _values("DRM_XE_GEM_CPU_CACHING_"),
    },
    xe.drm_xe_gem_mmap_offset: {"flags": _flags("DRM_XE_MMAP_OFFSET_FLAG_")},
    xe.drm_xe_vm_create: {"flags": _flags("DRM_XE_VM_CREATE_FLAG_")},
    xe.drm_xe_vm_bind_op: {
        "op": BIND_OP,
        "flags": BIND_FLAGS,
        "prefetch_mem_region_instance": _or_number("DRM_XE_CONSULT_MEM_ADVISE_"),
    },
    xe.xe_vm_fault: {
        "access_type": _values("FAULT_ACCESS_TYPE_"),
        "fault_type": _values("FAULT_TYPE_"),
        "fault_level": _values("FAULT_LEVEL_"),
    },
    xe.drm_xe_vm_get_property: {"property": VM_PROPERTY},
    xe.drm_xe_exec_queue_create: {"flags": _flags("DRM_XE_EXEC_QUEUE_")},
    xe.drm_xe_exec_queue_get_property: {"property": _values("DRM_XE_EXEC_QUEUE_GET_PROPERTY_")},
    xe.drm_xe_exec_queue_set_property: {"property": QUEUE_PROPERTY},
    xe.drm_xe_sync: {"type": SYNC_TYPE, "flags": _flags("DRM_XE_SYNC_FLAG_")},
    xe.drm_xe_wait_user_fence: {
        "op": _values("DRM_XE_UFENCE_WAIT_OP_"),
        "flags": _flags("DRM_XE_UFENCE_WAIT_FLAG_"),
    },
    xe.drm_xe_observation_param: {"observation_type": OBSERVATION_TYPE, "observation_op": OBSERVATION_OP},
    xe.drm_xe_oa_unit: {
        "oa_unit_type": _values("DRM_XE_OA_UNIT_TYPE_"),
        "capabilities": _flags("DRM_XE_OA_CAPS_"),
    },
    xe.drm_xe_oa_stream_status: {"oa_status": _flags("DRM_XE_OASTATUS_")},
    xe.drm_xe_query_eu_stall: {"capabilities": _flags("DRM_XE_EU_STALL_CAPS_")},
    xe.drm_xe_madvise: {"type": MADVISE_TYPE},
    xe._drm_xe_madvise_preferred_mem_loc: {"devmem_fd": PREFERRED_LOC, "migration_policy": MIGRATE},
    xe._drm_xe_madvise_atomic: {"val": ATOMIC},
    xe._drm_xe_madvise_purge_state_val: {"val": _values("DRM_XE_VMA_PURGEABLE_STATE_")},
    xe._drm_xe_mem_range_attr_preferred_mem_loc: {"devmem_fd": PREFERRED_LOC, "migration_policy": MIGRATE},
    xe._drm_xe_mem_range_attr_atomic: {"val": ATOMIC},
    drm.drm_get_cap: {"capability": _values("DRM_CAP_")},
    drm.drm_set_client_cap: {"capability": _values("DRM_CLIENT_CAP_")},
    drm.drm_prime_handle: {"flags": _flags("DRM_RDWR", "DRM_CLOEXEC")},
    drm.drm_syncobj_create: {"flags": _flags("DRM_SYNCOBJ_CREATE_")},
    drm.drm_syncobj_wait: {"flags": SYNCOBJ_WAIT_FLAGS},
    drm.drm_syncobj_timeline_wait: {"flags": SYNCOBJ_WAIT_FLAGS},
    drm.drm_syncobj_eventfd: {"flags": SYNCOBJ_WAIT_FLAGS},
    drm.drm_syncobj_timeline_array: {"flags": _flags("DRM_SYNCOBJ_QUERY_FLAGS_")},
}

# Two requests that share a structure and read different flags in it.
REQUEST_FIELDS: dict[Request, dict[str, Family]] = {
    drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD: {"flags": _flags("DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_")},
    drm.DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE: {"flags": _flags("DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_")},
}

# Families without a field of their own: values of properties, bits of a packed value, netlink ids.
OTHERS = (
    CONFIG,
    CONFIG_FLAGS,
    GEM_EXTENSION,
    GEM_PROPERTY,
    QUEUE_EXTENSION,
    QUEUE_GROUP,
    OA_EXTENSION,
    OA_PROPERTY,
    EU_STALL_EXTENSION,
    EU_STALL_PROPERTY,
    _flags("DRM_XE_OA_FORMAT_MASK_"),
    _values("DRM_XE_OA_FMT_TYPE_"),
    _values("DRM_XE_PXP_TYPE_"),
    _values("DRM_XE_RAS_ERR_SEV_"),
    _values("DRM_XE_RAS_ERR_COMP_"),
    _flags("DRM_PRIME_CAP_"),
)

FAMILIES: tuple[Family, ...] = (
    *{family: None for fields in (*FIELDS.values(), *REQUEST_FIELDS.values()) for family in fields.values()},
    *OTHERS,
)


@functools.cache
def family_of(name: str) -> Family | None:
    """The family that a name belongs to, by the longest prefix; None for limits and command numbers."""
    if name in COMMANDS:
        return None
    matches = [(len(p), family) for family in FAMILIES for p in family.prefixes if name.startswith(p)]
    return max(matches, key=lambda match: match[0])[1] if matches else None
