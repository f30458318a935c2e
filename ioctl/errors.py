# SPDX-License-Identifier: MIT
"""Names of errnos as the kernel spells them."""

from __future__ import annotations

import errno

_NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}
"""Python knows number 95 as ENOTSUP, the name that POSIX gives it."""


def errno_name(code: int) -> str:
    """``EINVAL`` for 22; an errno without a name stays a number."""
    return _NAMES.get(code, str(code))
