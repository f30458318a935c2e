# SPDX-License-Identifier: MIT
"""DRM core ioctls that are not part of xe: version, bus id, capabilities, client name (drm_ioctl.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, NoReturn

from ioctl import drm
from mock.driver.lib.errors import Refused, refuse_if

if TYPE_CHECKING:
    from mock.driver.uapi.dispatch import Call
    from mock.kernel import Mm

# xe_drv.h
NAME = b"xe"
DESCRIPTION = b"Intel Xe2 Graphics"
VERSION = (1, 1, 0)


# Ioctls for displays and legacy ioctls, which are in the kernel's table and not in ours.
_DISPLAY = frozenset({0x3A, 0x3B, 0x3C, *range(0xA0, 0xBF), 0xC6, 0xC7, 0xC8, 0xC9, 0xCE, 0xD0})
_LEGACY = frozenset({0x02, 0x05, 0x06, 0x07, 0x10, 0x11, 0x12, 0x13, 0x27, 0x28, 0x2C, 0x3F})


def refuse_unknown(number: int, *, render: bool) -> NoReturn:
    """Answer an ioctl number that the mock has no handler for.

    Raises Refused: EACCES on render nodes for those of card nodes, EOPNOTSUPP for display ioctls, else EINVAL.
    """
    refuse_if(render and number in _DISPLAY | _LEGACY, errno.EACCES, "not on a render node")
    refuse_if(number in _DISPLAY, errno.EOPNOTSUPP, "no display")
    raise Refused(errno.EINVAL, f"no ioctl {number:#x}")


def version(call: Call, args: Any) -> None:
    """drm_version(): strings are truncated to the buffers, their lengths are always written."""
    args.version_major, args.version_minor, args.version_patchlevel = VERSION
    # The kernel no longer has a driver date; user space gets "0".
    for field, text in (("name", NAME), ("date", b"0"), ("desc", DESCRIPTION)):
        _copy_field(call.task.mm, args, field, text)


def _copy_field(mm: Mm, args: Any, field: str, text: bytes) -> None:
    """drm_copy_field()."""
    room = min(getattr(args, f"{field}_len"), len(text))
    setattr(args, f"{field}_len", len(text))
    pointer = getattr(args, field)
    if room and pointer:
        mm.write(pointer, text[:room])


def get_unique(call: Call, args: Any) -> None:
    """drm_getunique(): the bus id of the master, which only SET_VERSION sets. It is empty."""
    args.unique_len = 0


def get_cap(call: Call, args: Any) -> None:
    """drm_getcap(). The mock's GPUs have no display."""
    values = {
        drm.DRM_CAP_TIMESTAMP_MONOTONIC: 1,
        drm.DRM_CAP_PRIME: drm.DRM_PRIME_CAP_IMPORT | drm.DRM_PRIME_CAP_EXPORT,
        drm.DRM_CAP_SYNCOBJ: 1,
        drm.DRM_CAP_SYNCOBJ_TIMELINE: 1,
    }
    args.value = 0
    refuse_if(args.capability not in values, errno.EOPNOTSUPP, "capability is for displays")
    args.value = values[args.capability]


def set_client_cap(call: Call, args: Any) -> None:
    """drm_setclientcap(): all client capabilities are for displays."""
    raise Refused(errno.EOPNOTSUPP, "no display")


def set_client_name(call: Call, args: Any) -> None:
    """drm_set_client_name(): printable ASCII without blanks, or nothing to clear it."""
    length = args.name_len
    refuse_if(length > drm.DRM_CLIENT_NAME_MAX_LEN, errno.EINVAL, "name too long")
    name = call.task.mm.read(args.name, length) if length else b""
    refuse_if(any(not 0x21 <= byte <= 0x7E for byte in name), errno.EINVAL, "not printable")
    call.file.client_name = name.decode() if name else None


def set_master(call: Call, args: Any) -> None:
    """drm_setmaster_ioctl(): the first open file of a card node is master already."""
    _check_may_change_master(call)
    if call.file.is_master:
        return
    refuse_if(call.device.master is not None, errno.EBUSY, "another file is master")
    call.file.become_master()


def drop_master(call: Call, args: Any) -> None:
    """drm_dropmaster_ioctl()."""
    _check_may_change_master(call)
    refuse_if(not call.file.is_master, errno.EINVAL, "not master")
    call.device.master = None


def _check_may_change_master(call: Call) -> None:
    """drm_master_check_perm()."""
    own = call.file.was_master and call.file.opener == call.task.tgid
    refuse_if(not own and not call.task.capable("CAP_SYS_ADMIN"), errno.EACCES, "not permitted")


def flink(call: Call, args: Any) -> None:
    """drm_gem_flink_ioctl(): the mock does not implement global names.

    A BO is opened by name in order to map it. mmap(2) maps the memfd of the caller's open file, but the BO's bytes are
    in that of the file that created it, so it could not be mapped (see gem.mmap).
    """
    refuse_if(not call.file.authenticated, errno.EACCES, "not authenticated")
    refuse_if(call.file.bos.get(args.handle) is None, errno.ENOENT, "no such object")
    raise Refused(errno.EOPNOTSUPP, "the mock does not implement global names")


def gem_open(call: Call, args: Any) -> None:
    """drm_gem_open_ioctl(): the mock does not implement global names."""
    refuse_if(not call.file.authenticated, errno.EACCES, "not authenticated")
    raise Refused(errno.ENOENT, "no such name")


def invalid(call: Call, args: Any) -> None:
    """drm_invalid_op()."""
    raise Refused(errno.EINVAL, "ioctl was removed")
