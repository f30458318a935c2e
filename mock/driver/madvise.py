# SPDX-License-Identifier: MIT
"""MADVISE and VM_QUERY_MEM_RANGE_ATTRS (xe_vm_madvise.c): the seam for the memory attributes."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from mock.driver.errors import Refused

if TYPE_CHECKING:
    from mock.driver.dispatch import Call


def madvise(call: Call, args: Any) -> None:
    """xe_vm_madvise_ioctl()."""
    raise Refused(errno.EOPNOTSUPP, "not there yet")


def query_mem_range_attrs(call: Call, args: Any) -> None:
    """xe_vm_query_vmas_attrs_ioctl()."""
    raise Refused(errno.EOPNOTSUPP, "not there yet")
