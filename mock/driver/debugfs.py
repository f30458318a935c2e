# SPDX-License-Identifier: MIT
"""Virtual files below /sys/kernel/debug/dri (xe_debugfs.c, xe_gt_debugfs.c)."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.svm.svm import ATOMIC_TIMESLICE

if TYPE_CHECKING:
    from mock.driver.device import Device, Gt

_STATS = re.compile(r"(?:tile\d+/)?gt(?P<gt>\d+)/stats")
_RUN_PERIOD = re.compile(r"min_run_period_(?P<kind>lr|pf)_ms")


def read(devices: list[Device], path: str) -> bytes | None:
    """Contents of a file below a device's directory, "<minor or PCI address>"; None without such a file."""
    device, name = _find(devices, path)
    if device is None:
        return None
    if name == "atomic_svm_timeslice_ms":
        return b"%d\n" % round(ATOMIC_TIMESLICE * 1000)
    if (kind := _run_period(device, name)) is not None:
        return b"%d\n" % device.min_run_period_ms[kind]
    gt = _gt(device, name)
    return gt.stats.text(device.level).encode() if gt is not None else None


def writable(devices: list[Device], path: str) -> bool:
    """Whether such a file may be written."""
    device, name = _find(devices, path)
    if device is None:
        return False
    if _gt(device, name) is not None:
        return device.has("stats-cleared-by-write")
    return _run_period(device, name) is not None


def write(devices: list[Device], path: str, data: bytes) -> None:
    """One write(2). Raises Refused with the errno of kstrtouint() or kstrtobool()."""
    device, name = _find(devices, path)
    if device is None:
        return
    text = data.decode(errors="replace")
    if (kind := _run_period(device, name)) is not None:
        device.min_run_period_ms[kind] = _unsigned(text)
    elif (gt := _gt(device, name)) is not None and _truth(text):
        gt.stats.clear()


def _find(devices: list[Device], path: str) -> tuple[Device | None, str]:
    directory, _, name = path.strip("/").partition("/")
    for device in devices:
        if directory in (str(device.minor), str(device.index), device.pci_address):
            return device, name
    return None, name


def _gt(device: Device, name: str) -> Gt | None:
    """The GT whose statistics are in a file."""
    match = _STATS.fullmatch(name)
    return device.gt(int(match["gt"])) if match is not None else None


def _run_period(device: Device, name: str) -> str | None:
    """The kind of VM whose minimum run period is in a file."""
    match = _RUN_PERIOD.fullmatch(name) if device.has("min-run-period") else None
    return match["kind"] if match is not None else None


def _unsigned(text: str) -> int:
    """kstrtouint() with base 0."""
    digits = text.removesuffix("\n")
    try:
        value = int(digits, 8 if re.fullmatch("0[0-7]+", digits) else 0)
    except ValueError as error:
        raise Refused(errno.EINVAL, f"{text!r} is not a number") from error
    refuse_if(value < 0, errno.EINVAL, f"{text!r} has a sign")
    refuse_if(value >> 32, errno.ERANGE, f"{text!r} has more than 32 bits")
    return value


def _truth(text: str) -> bool:
    """kstrtobool()."""
    if text[:1] in tuple("eEyYtT1") or text[:2].lower() == "on":
        return True
    refuse_if(
        not text or (text[0] not in "dDnNfF0" and text[:2].lower() != "of"),
        errno.EINVAL,
        "neither true nor false",
    )
    return False
