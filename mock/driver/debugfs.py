# SPDX-License-Identifier: MIT
"""Virtual files below /sys/kernel/debug/dri (xe_debugfs.c, xe_gt_debugfs.c)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mock.driver.device import Device

_STATS = re.compile(r"(?P<device>[^/]+)/(?:tile\d+/)?gt(?P<gt>\d+)/stats")


def read(devices: list[Device], path: str) -> bytes | None:
    """Contents of "<minor or PCI address>/gt<n>/stats"; None for what is not there."""
    match = _STATS.fullmatch(path.strip("/"))
    if match is None:
        return None
    for device in devices:
        if match["device"] in (str(device.minor), str(device.index), device.pci_address):
            gt = next((gt for gt in device.gts if gt.id == int(match["gt"])), None)
            return gt.stats.text(device.level).encode() if gt else None
    return None
