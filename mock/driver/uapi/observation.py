# SPDX-License-Identifier: MIT
"""OBSERVATION (xe_observation.c) of devices on which neither OA nor EU stall sampling is available."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ioctl import xe
from mock.driver.lib.errors import Refused, refuse_if

if TYPE_CHECKING:
    from mock.driver.uapi.dispatch import Call

_OPS = {
    xe.DRM_XE_OBSERVATION_TYPE_OA: {
        xe.DRM_XE_OBSERVATION_OP_STREAM_OPEN,
        xe.DRM_XE_OBSERVATION_OP_ADD_CONFIG,
        xe.DRM_XE_OBSERVATION_OP_REMOVE_CONFIG,
    },
    xe.DRM_XE_OBSERVATION_TYPE_EU_STALL: {xe.DRM_XE_OBSERVATION_OP_STREAM_OPEN},
}


def observation(call: Call, args: Any) -> None:
    """xe_observation_ioctl(): EINVAL for an unknown operation, ENODEV for the others."""
    refuse_if(args.extensions, errno.EINVAL, "extensions")
    ops = _OPS.get(args.observation_type, set())
    refuse_if(args.observation_op not in ops, errno.EINVAL, "observation_type or observation_op")
    raise Refused(errno.ENODEV, "no observation streams")
