# SPDX-License-Identifier: MIT
"""Chains of user extensions (gem_create_user_extensions, exec_queue_user_extensions)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ioctl import xe
from mock.driver.lib import user
from mock.driver.lib.errors import refuse_if

if TYPE_CHECKING:
    from mock.kernel import Mm

MAX_USER_EXTENSIONS = 16


def walk(mm: Mm, address: int, set_property: Callable[[Any], None], last_property: int) -> None:
    """Apply each SET_PROPERTY extension of a chain in order.

    Both ioctls with extensions have only extension 0, which sets a property; ``last_property`` is the highest property.
    Raises Refused: E2BIG for more than 16 extensions, EFAULT, EINVAL, and what ``set_property`` raises.
    """
    number = 0
    while True:
        refuse_if(number >= MAX_USER_EXTENSIONS, errno.E2BIG, "too many extensions")
        base = user.get(mm, address, xe.drm_xe_user_extension)
        refuse_if(base.pad or base.name != 0, errno.EINVAL, "extension name or pad")
        ext = user.get(mm, address, xe.drm_xe_ext_set_property)
        refuse_if(ext.property > last_property or ext.pad, errno.EINVAL, "property or pad")
        set_property(ext)
        if not base.next_extension:
            return
        address = base.next_extension
        number += 1
