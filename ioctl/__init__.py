# SPDX-License-Identifier: MIT
"""The uAPI of xe and of the DRM core below it: structures, requests, flags, and calls with a transcript."""

from __future__ import annotations

from ioctl.encoding import Direction, EncodingError, Request
from ioctl.errors import errno_name
from ioctl.syscall import call

__all__ = ["Direction", "EncodingError", "Request", "call", "errno_name"]
