# SPDX-License-Identifier: MIT
"""Migration of a range to VRAM, all of it or nothing (drm_pagemap.c: drm_pagemap_migrate_to_devmem)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mock.driver import copies
from mock.driver.devmem import DevMem, Pagemap, runs
from mock.driver.errors import Refused, refuse_if
from mock.driver.platform import SZ_4K

if TYPE_CHECKING:
    from mock.driver.process import Process


def to_vram(process: Process, pagemap: Pagemap, start: int, end: int, timeslice: float = 0.0) -> None:
    """Move [start, end) to VRAM, with a second try after everything went to system memory (xe_svm_alloc_vram).

    `timeslice` in seconds. Raises Refused: EBUSY when a page cannot be had, ENOMEM without room, ENOENT or EINVAL
    when the CPU mapping does not cover the range.
    """
    pages = process.device_pages(start, end)
    if len(pages) * SZ_4K == end - start and all(devmem.pagemap is pagemap for _, devmem, _ in pages):
        return
    try:
        _populate(process, pagemap, start, end, timeslice)
    except Refused as refusal:
        if refusal.code != errno.EBUSY:
            raise
        to_system(process, start, end)
        _populate(process, pagemap, start, end, timeslice)


def to_system(process: Process, start: int, end: int, *, keep: object = None) -> None:
    """Move what is in VRAM of [start, end) to system memory, except pages of the owner `keep` (hmm_range_fault)."""
    found: dict[DevMem, list[int]] = {}
    for _, devmem, index in process.device_pages(start, end):
        if keep is None or devmem.pagemap.owner is not keep:
            found.setdefault(devmem, []).append(index)
    for devmem, indices in found.items():
        process.to_system(devmem, indices)


def _populate(process: Process, pagemap: Pagemap, start: int, end: int, timeslice: float) -> None:
    devmem = DevMem(pagemap, process, end - start, timeslice)
    try:
        _migrate(process, devmem, start, end)
    finally:
        if not devmem.addresses:
            devmem.release()


def _migrate(process: Process, devmem: DevMem, start: int, end: int) -> None:
    pagemap, mm = devmem.pagemap, process.mm
    vma = next(iter(mm.vmas(start, start + SZ_4K)), None)
    if vma is None:
        raise Refused(errno.ENOENT, "nothing is mapped")
    refuse_if(end > vma.end or start < vma.start, errno.EINVAL, "range is larger than the CPU mapping")
    refuse_if(not vma.anonymous, errno.EBUSY, "not anonymous memory")
    there = process.device_pages(start, end)
    refuse_if(
        any(old.pagemap.owner is not pagemap.owner for _, old, _ in there), errno.EBUSY, "foreign pages"
    )
    own = sum(old.pagemap is pagemap for _, old, _ in there)
    if own * SZ_4K == end - start:
        return
    refuse_if(own, errno.EBUSY, "some pages are there already")
    process.notify(start, end)
    isolated = mm.isolate(start, end)
    if (len(isolated) + len(there)) * SZ_4K != end - start:
        for page, contents in isolated.items():
            mm.restore(page, contents)
        raise Refused(errno.EBUSY, "a page could not be had")
    with copies.timed(pagemap.tile.primary_gt, "device", (end - start) // SZ_4K):
        _fill(devmem, start, isolated)
        for address, old, index in there:
            devmem.write(address - start, old.page(index))
    copies.count(
        pagemap.tile.primary_gt, "device", [page for page, data in isolated.items() if data is not None]
    )
    for address, old, index in there:
        # The device that has the page writes it out to the other one (drm_pagemap_migrate_range).
        copies.count(old.pagemap.tile.primary_gt, "cpu", [address])
        old.detach(index)
    for address in range(start, end, SZ_4K):
        devmem.attach((address - start) // SZ_4K, address)
    devmem.start_timeslice()


def _fill(devmem: DevMem, start: int, isolated: dict[int, bytes | None]) -> None:
    """Copy populated pages; the others read as the zeros that fresh VRAM was cleared to."""
    populated = sorted(page for page, contents in isolated.items() if contents is not None)
    for first, count in runs(populated, SZ_4K):
        contents = (isolated[first + number * SZ_4K] for number in range(count))
        devmem.write(first - start, b"".join(page for page in contents if page is not None))
