# SPDX-License-Identifier: MIT
"""Refusals: an OSError with the errno the kernel returns, raised where the rule is checked."""

from __future__ import annotations

import os


class Refused(OSError):  # noqa: N818 - an answer of the driver, not an error in it
    """An ioctl answered with an errno. The text is only for the mock's own log."""

    def __init__(self, code: int, why: str = "") -> None:
        super().__init__(code, why or os.strerror(code))
        self.code = code


def refuse_if(condition: object, code: int, why: str = "") -> None:
    """Raise Refused(code) when the condition holds: XE_IOCTL_DBG of xe_macros.h followed by a return."""
    if condition:
        raise Refused(code, why)
