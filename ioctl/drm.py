# SPDX-License-Identifier: MIT
"""The DRM core's part of the uAPI (include/uapi/drm/drm.h): what a compute client of xe uses.

Names, numbers and layouts are those of the header. Mode setting, authentication and the legacy requests are
left out.
"""

from __future__ import annotations

import os

from ioctl.about import About, Id, array, flags, text, values
from ioctl.encoding import Direction, Request
from ioctl.layout import Structure, char, s32, s64, u32, u64, word

DRM_IOCTL_BASE = "d"
DRM_COMMAND_BASE = 0x40
DRM_COMMAND_END = 0xA0


def DRM_IO(name: str, nr: int, since: str) -> Request:
    """A request without an argument."""
    return Request(name, Direction.NONE, DRM_IOCTL_BASE, nr, None, since)


def DRM_IOW(name: str, nr: int, struct: type[Structure], since: str) -> Request:
    """A request that the kernel only reads the argument of."""
    return Request(name, Direction.WRITE, DRM_IOCTL_BASE, nr, struct, since)


def DRM_IOWR(name: str, nr: int, struct: type[Structure], since: str, about: About | None = None) -> Request:
    """A request that the kernel reads and writes the argument of."""
    return Request(name, Direction.BOTH, DRM_IOCTL_BASE, nr, struct, since, about or {})


class drm_version(Structure):
    """Argument of DRM_IOCTL_VERSION: lengths are buffer sizes in and string lengths out."""

    __slots__ = ()
    _fields_ = (
        ("version_major", s32),
        ("version_minor", s32),
        ("version_patchlevel", s32),
        ("name_len", word),  # bytes
        ("name", word),  # user pointer
        ("date_len", word),  # bytes
        ("date", word),  # user pointer
        ("desc_len", word),  # bytes
        ("desc", word),  # user pointer
    )
    _about_ = {
        "name": text("name_len"),
        "date": text("date_len"),
        "desc": text("desc_len"),
    }


class drm_unique(Structure):
    """Argument of DRM_IOCTL_GET_UNIQUE: the device's bus id."""

    __slots__ = ()
    _fields_ = (
        ("unique_len", word),  # bytes
        ("unique", word),  # user pointer
    )
    _about_ = {
        "unique": text("unique_len"),
    }


class drm_gem_close(Structure):
    """Argument of DRM_IOCTL_GEM_CLOSE."""

    __slots__ = ()
    _fields_ = (
        ("handle", u32),
        ("pad", u32),
    )
    _about_ = {
        "handle": Id("bo"),
    }


class drm_gem_flink(Structure):
    """Argument of DRM_IOCTL_GEM_FLINK; name is written."""

    __slots__ = ()
    _fields_ = (
        ("handle", u32),
        ("name", u32),
    )


class drm_gem_open(Structure):
    """Argument of DRM_IOCTL_GEM_OPEN; handle and size are written."""

    __slots__ = ()
    _fields_ = (
        ("name", u32),
        ("handle", u32),
        ("size", u64),  # bytes
    )


class drm_gem_change_handle(Structure):
    """Argument of DRM_IOCTL_GEM_CHANGE_HANDLE."""

    __slots__ = ()
    _fields_ = (
        ("handle", u32),
        ("new_handle", u32),
    )


DRM_CAP_DUMB_BUFFER = 0x1
DRM_CAP_VBLANK_HIGH_CRTC = 0x2
DRM_CAP_DUMB_PREFERRED_DEPTH = 0x3
DRM_CAP_DUMB_PREFER_SHADOW = 0x4
DRM_CAP_PRIME = 0x5
DRM_PRIME_CAP_IMPORT = 0x1
DRM_PRIME_CAP_EXPORT = 0x2
PRIME_CAP = flags("DRM_PRIME_CAP_")  # value of DRM_CAP_PRIME
DRM_CAP_TIMESTAMP_MONOTONIC = 0x6
DRM_CAP_ASYNC_PAGE_FLIP = 0x7
DRM_CAP_CURSOR_WIDTH = 0x8
DRM_CAP_CURSOR_HEIGHT = 0x9
DRM_CAP_ADDFB2_MODIFIERS = 0x10
DRM_CAP_PAGE_FLIP_TARGET = 0x11
DRM_CAP_CRTC_IN_VBLANK_EVENT = 0x12
DRM_CAP_SYNCOBJ = 0x13
DRM_CAP_SYNCOBJ_TIMELINE = 0x14
DRM_CAP_ATOMIC_ASYNC_PAGE_FLIP = 0x15


class drm_get_cap(Structure):
    """Argument of DRM_IOCTL_GET_CAP; value is written."""

    __slots__ = ()
    _fields_ = (
        ("capability", u64),
        ("value", u64),
    )
    _about_ = {
        "capability": values("DRM_CAP_"),
    }


DRM_CLIENT_CAP_STEREO_3D = 1
DRM_CLIENT_CAP_UNIVERSAL_PLANES = 2
DRM_CLIENT_CAP_ATOMIC = 3
DRM_CLIENT_CAP_ASPECT_RATIO = 4
DRM_CLIENT_CAP_WRITEBACK_CONNECTORS = 5
DRM_CLIENT_CAP_CURSOR_PLANE_HOTSPOT = 6
DRM_CLIENT_CAP_PLANE_COLOR_PIPELINE = 7


class drm_set_client_cap(Structure):
    """Argument of DRM_IOCTL_SET_CLIENT_CAP."""

    __slots__ = ()
    _fields_ = (
        ("capability", u64),
        ("value", u64),
    )
    _about_ = {
        "capability": values("DRM_CLIENT_CAP_"),
    }


DRM_CLIENT_NAME_MAX_LEN = 64  # bytes, without a terminating 0


class drm_set_client_name(Structure):
    """Argument of DRM_IOCTL_SET_CLIENT_NAME."""

    __slots__ = ()
    _fields_ = (
        ("name_len", u64),  # bytes
        ("name", u64),  # user pointer
    )
    _about_ = {
        "name": array(char, "name_len"),
    }


DRM_RDWR = os.O_RDWR
DRM_CLOEXEC = os.O_CLOEXEC


class drm_prime_handle(Structure):
    """Argument of both PRIME requests; flags count for handle to fd only."""

    __slots__ = ()
    _fields_ = (
        ("handle", u32),
        ("flags", u32),
        ("fd", s32),
    )
    _about_ = {
        "handle": Id("bo"),
        "flags": flags("DRM_RDWR", "DRM_CLOEXEC"),
        "fd": Id("dmabuf"),
    }


DRM_SYNCOBJ_CREATE_SIGNALED = 1 << 0


class drm_syncobj_create(Structure):
    """Argument of DRM_IOCTL_SYNCOBJ_CREATE; handle is written."""

    __slots__ = ()
    _fields_ = (
        ("handle", u32),
        ("flags", u32),
    )
    _about_ = {
        "handle": Id("syncobj", made=True),
        "flags": flags("DRM_SYNCOBJ_CREATE_"),
    }


class drm_syncobj_destroy(Structure):
    """Argument of DRM_IOCTL_SYNCOBJ_DESTROY."""

    __slots__ = ()
    _fields_ = (
        ("handle", u32),
        ("pad", u32),
    )
    _about_ = {
        "handle": Id("syncobj"),
    }


DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE = 1 << 0
DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_TIMELINE = 1 << 1
DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE = 1 << 0
DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE = 1 << 1


class drm_syncobj_handle(Structure):
    """Argument of DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD and _FD_TO_HANDLE; point is younger than 6.12."""

    __slots__ = ()
    _fields_ = (
        ("handle", u32),
        ("flags", u32),
        ("fd", s32),
        ("pad", u32),
        ("point", u64),
    )
    _about_ = {
        "handle": Id("syncobj"),
        "fd": Id("syncfd"),
    }


class drm_syncobj_transfer(Structure):
    """Argument of DRM_IOCTL_SYNCOBJ_TRANSFER."""

    __slots__ = ()
    _fields_ = (
        ("src_handle", u32),
        ("dst_handle", u32),
        ("src_point", u64),
        ("dst_point", u64),
        ("flags", u32),
        ("pad", u32),
    )
    _about_ = {
        "src_handle": Id("syncobj"),
        "dst_handle": Id("syncobj"),
    }


DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL = 1 << 0
DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT = 1 << 1
DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE = 1 << 2
DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE = 1 << 3
SYNCOBJ_WAIT_FLAGS = flags("DRM_SYNCOBJ_WAIT_FLAGS_")


class drm_syncobj_wait(Structure):
    """Argument of DRM_IOCTL_SYNCOBJ_WAIT; first_signaled is written unless WAIT_ALL."""

    __slots__ = ()
    _fields_ = (
        ("handles", u64),  # user pointer to count_handles u32
        ("timeout_nsec", s64),  # absolute, ns of CLOCK_MONOTONIC
        ("count_handles", u32),
        ("flags", u32),
        ("first_signaled", u32),
        ("pad", u32),
        ("deadline_nsec", u64),  # absolute, ns of CLOCK_MONOTONIC; a hint
    )
    _about_ = {
        "handles": array(u32, "count_handles", sort="syncobj"),
        "flags": SYNCOBJ_WAIT_FLAGS,
    }


class drm_syncobj_timeline_wait(Structure):
    """Argument of DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT; first_signaled is written unless WAIT_ALL."""

    __slots__ = ()
    _fields_ = (
        ("handles", u64),  # user pointer to count_handles u32
        ("points", u64),  # user pointer to count_handles u64
        ("timeout_nsec", s64),  # absolute, ns of CLOCK_MONOTONIC
        ("count_handles", u32),
        ("flags", u32),
        ("first_signaled", u32),
        ("pad", u32),
        ("deadline_nsec", u64),  # absolute, ns of CLOCK_MONOTONIC; a hint
    )
    _about_ = {
        "handles": array(u32, "count_handles", sort="syncobj"),
        "points": array(u64, "count_handles"),
        "flags": SYNCOBJ_WAIT_FLAGS,
    }


class drm_syncobj_eventfd(Structure):
    """Argument of DRM_IOCTL_SYNCOBJ_EVENTFD: adds 1 to the eventfd when the point is signalled."""

    __slots__ = ()
    _fields_ = (
        ("handle", u32),
        ("flags", u32),  # 0 or DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE
        ("point", u64),
        ("fd", s32),
        ("pad", u32),
    )
    _about_ = {
        "handle": Id("syncobj"),
        "flags": SYNCOBJ_WAIT_FLAGS,
    }


class drm_syncobj_array(Structure):
    """Argument of DRM_IOCTL_SYNCOBJ_RESET and _SIGNAL."""

    __slots__ = ()
    _fields_ = (
        ("handles", u64),  # user pointer to count_handles u32
        ("count_handles", u32),
        ("pad", u32),
    )
    _about_ = {
        "handles": array(u32, "count_handles", sort="syncobj"),
    }


DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED = 1 << 0


class drm_syncobj_timeline_array(Structure):
    """Argument of DRM_IOCTL_SYNCOBJ_QUERY, which writes points, and _TIMELINE_SIGNAL, which reads them."""

    __slots__ = ()
    _fields_ = (
        ("handles", u64),  # user pointer to count_handles u32
        ("points", u64),  # user pointer to count_handles u64
        ("count_handles", u32),
        ("flags", u32),
    )
    _about_ = {
        "handles": array(u32, "count_handles", sort="syncobj"),
        "points": array(u64, "count_handles", after=True),
        "flags": flags("DRM_SYNCOBJ_QUERY_FLAGS_"),
    }


# Requests older than the oldest recorded header are "<=6.12".
DRM_IOCTL_VERSION = DRM_IOWR("DRM_IOCTL_VERSION", 0x00, drm_version, "<=6.12")
DRM_IOCTL_GET_UNIQUE = DRM_IOWR("DRM_IOCTL_GET_UNIQUE", 0x01, drm_unique, "<=6.12")
DRM_IOCTL_GEM_CLOSE = DRM_IOW("DRM_IOCTL_GEM_CLOSE", 0x09, drm_gem_close, "<=6.12")
DRM_IOCTL_GEM_FLINK = DRM_IOWR("DRM_IOCTL_GEM_FLINK", 0x0A, drm_gem_flink, "<=6.12")
DRM_IOCTL_GEM_OPEN = DRM_IOWR("DRM_IOCTL_GEM_OPEN", 0x0B, drm_gem_open, "<=6.12")
DRM_IOCTL_GET_CAP = DRM_IOWR("DRM_IOCTL_GET_CAP", 0x0C, drm_get_cap, "<=6.12")
DRM_IOCTL_SET_CLIENT_CAP = DRM_IOW("DRM_IOCTL_SET_CLIENT_CAP", 0x0D, drm_set_client_cap, "<=6.12")
DRM_IOCTL_SET_MASTER = DRM_IO("DRM_IOCTL_SET_MASTER", 0x1E, "<=6.12")
DRM_IOCTL_DROP_MASTER = DRM_IO("DRM_IOCTL_DROP_MASTER", 0x1F, "<=6.12")
DRM_IOCTL_PRIME_HANDLE_TO_FD = DRM_IOWR(
    "DRM_IOCTL_PRIME_HANDLE_TO_FD", 0x2D, drm_prime_handle, "<=6.12", {"fd": Id("dmabuf", made=True)}
)
DRM_IOCTL_PRIME_FD_TO_HANDLE = DRM_IOWR(
    "DRM_IOCTL_PRIME_FD_TO_HANDLE", 0x2E, drm_prime_handle, "<=6.12", {"handle": Id("bo", made=True)}
)
DRM_IOCTL_SYNCOBJ_CREATE = DRM_IOWR("DRM_IOCTL_SYNCOBJ_CREATE", 0xBF, drm_syncobj_create, "<=6.12")
DRM_IOCTL_SYNCOBJ_DESTROY = DRM_IOWR("DRM_IOCTL_SYNCOBJ_DESTROY", 0xC0, drm_syncobj_destroy, "<=6.12")
DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD = DRM_IOWR(
    "DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD",
    0xC1,
    drm_syncobj_handle,
    "<=6.12",
    {"flags": flags("DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_"), "fd": Id("syncfd", made=True)},
)
DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE = DRM_IOWR(
    "DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE",
    0xC2,
    drm_syncobj_handle,
    "<=6.12",
    {"flags": flags("DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_"), "handle": Id("syncobj", made=True)},
)
DRM_IOCTL_SYNCOBJ_WAIT = DRM_IOWR("DRM_IOCTL_SYNCOBJ_WAIT", 0xC3, drm_syncobj_wait, "<=6.12")
DRM_IOCTL_SYNCOBJ_RESET = DRM_IOWR("DRM_IOCTL_SYNCOBJ_RESET", 0xC4, drm_syncobj_array, "<=6.12")
DRM_IOCTL_SYNCOBJ_SIGNAL = DRM_IOWR("DRM_IOCTL_SYNCOBJ_SIGNAL", 0xC5, drm_syncobj_array, "<=6.12")
DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT = DRM_IOWR(
    "DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT", 0xCA, drm_syncobj_timeline_wait, "<=6.12"
)
DRM_IOCTL_SYNCOBJ_QUERY = DRM_IOWR("DRM_IOCTL_SYNCOBJ_QUERY", 0xCB, drm_syncobj_timeline_array, "<=6.12")
DRM_IOCTL_SYNCOBJ_TRANSFER = DRM_IOWR("DRM_IOCTL_SYNCOBJ_TRANSFER", 0xCC, drm_syncobj_transfer, "<=6.12")
DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL = DRM_IOWR(
    "DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL", 0xCD, drm_syncobj_timeline_array, "<=6.12"
)
DRM_IOCTL_SYNCOBJ_EVENTFD = DRM_IOWR("DRM_IOCTL_SYNCOBJ_EVENTFD", 0xCF, drm_syncobj_eventfd, "<=6.12")
DRM_IOCTL_SET_CLIENT_NAME = DRM_IOWR("DRM_IOCTL_SET_CLIENT_NAME", 0xD1, drm_set_client_name, "<=6.16")
DRM_IOCTL_GEM_CHANGE_HANDLE = DRM_IOWR("DRM_IOCTL_GEM_CHANGE_HANDLE", 0xD2, drm_gem_change_handle, "6.18")

REQUESTS = tuple(value for value in dict(globals()).values() if isinstance(value, Request))
