# SPDX-License-Identifier: MIT
"""Debug messages of the driver about ranges, in a kernel with CONFIG_DRM_XE_DEBUG_VM (xe_svm.c: range_debug)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fixtures import acts, behaviour, gpu_sees, needs, wait_until
from fixtures.counting import count
from fixtures.given import Memory, Sentinel
from fixtures.kernel_file import write
from fixtures.kmsg import KernelLog
from fixtures.sizes import SZ_64K
from fixtures.xe.vm import Vm
from ioctl import xe

_LEVEL = Path("/sys/module/drm/parameters/debug")
_OF_DRIVERS = 0x2
"""Messages of drivers (drm_print.h: DRM_UT_DRIVER)."""
_RANGE = re.compile(
    r"(?P<what>[A-Z][A-Z -]+): asid=\d+, gpusvm=\S+, vram=(?P<pages>[01]),(?P<binding>[01]), seqno=(?P<seqno>\d+), "
    r"start=0x(?P<start>[0-9a-f]+), end=0x(?P<end>[0-9a-f]+), size=(?P<size>\d+)"
)


@contextlib.contextmanager
def debug_messages() -> Iterator[KernelLog]:
    """In the block the driver's debug messages are in the kernel's log, which is read from here on."""
    before = _LEVEL.read_text().strip()
    with contextlib.closing(KernelLog()) as log:
        write(_LEVEL, str(int(before, 0) | _OF_DRIVERS))
        try:
            yield log
        finally:
            write(_LEVEL, before)


@behaviour("obs.debug-prints")
@acts("load", "invalidate")
@needs("debug-kernel", "root", "page-faults", "cpu-addr-mirror")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", ["system", pytest.param("vram", marks=needs("svm-vram"))])
def test_range_is_logged_from_fault_to_collection(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, place: str
) -> None:
    """Fault, copy, notifier and garbage collector print the range, its sequence number and where its pages are."""
    buffer, value, queue = memory(SZ_64K, align=SZ_64K), sentinel(), mirror_vm.queue()
    buffer.set_u32(0, value)
    if place == "system":
        mirror_vm.prefer(buffer, xe.DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM)
    lines: list[str] = []
    with debug_messages() as log:

        def seen(what: str) -> list[re.Match[str]]:
            lines.extend(record.text for record in log.read())
            found = (_RANGE.search(line) for line in lines)
            wanted = buffer.address, buffer.end, SZ_64K
            return [
                one
                for one in found
                if one
                and one["what"] == what
                and (int(one["start"], 16), int(one["end"], 16), int(one["size"])) == wanted
            ]

        gpu_sees(queue, buffer.address, value)
        wait_until(partial(seen, "PAGE FAULT"), what="the message about the fault")
        (bind, *_) = wait_until(partial(seen, "PAGE FAULT - BIND"), what="the message about the mapping")
        assert bind["pages"] == ("1" if place == "vram" else "0")
        copies = [line for line in lines if "COPY TO VRAM - 0x" in line and "NPAGES=16" in line]
        assert len(copies) == (place == "vram"), copies
        buffer.munmap()
        for what in "NOTIFIER", "NOTIFIER - EXECUTE", "GARBAGE COLLECTOR ADD", "GARBAGE COLLECTOR":
            (message, *_) = wait_until(partial(seen, what), what=f"the message {what!r}")
            assert int(message["seqno"]) > 0
    count("invalidate")
