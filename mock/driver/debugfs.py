# SPDX-License-Identifier: MIT
"""Virtual files below /sys/kernel/debug/dri (xe_debugfs.c, xe_gt_debugfs.c)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mock.driver.svm.svm import ATOMIC_TIMESLICE

if TYPE_CHECKING:
    from mock.driver.device import Device

_STATS = re.compile(r"(?:tile\d+/)?gt(?P<gt>\d+)/stats")


def read(devices: list[Device], path: str) -> bytes | None:
    """Contents of a file below the directory of a device, "<minor or PCI address>"; None for what is not there."""
    directory, _, name = path.strip("/").partition("/")
    for device in devices:
        if directory in (str(device.minor), str(device.index), device.pci_address):
            return _read(device, name)
    return None


def _read(device: Device, name: str) -> bytes | None:
    if name == "atomic_svm_timeslice_ms":
        return b"%d\n" % round(ATOMIC_TIMESLICE * 1000)
    match = _STATS.fullmatch(name)
    gt = device.gt(int(match["gt"])) if match is not None else None
    return gt.stats.text(device.level).encode() if gt is not None else None
