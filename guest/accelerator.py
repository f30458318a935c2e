# SPDX-License-Identifier: MIT
"""Whether QEMU may use KVM here: asked once a boot of the machine, by starting something under it."""

import os
from pathlib import Path

from guest import cache
from guest.qemu import Qemu

TCG = "tcg,thread=multi"


def choose(qemu: Qemu) -> str:
    """``$SVMCTS_ACCEL``, or kvm where it works, or TCG (software, works everywhere)."""
    if own := os.environ.get("SVMCTS_ACCEL"):
        return own
    return TCG


__all__ = ["TCG", "Path", "cache", "choose"]
