# SPDX-License-Identifier: MIT
"""The guest rig: any kernel under QEMU with one or two emulated GPUs, and the host's Python inside it.

``guest.cli`` is the command line, ``guest.python`` the "interpreter" that pytest-xdist starts as an environment.
"""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


class GuestError(Exception):
    """One line for the user: the error, and what to do."""
