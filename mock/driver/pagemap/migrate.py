# SPDX-License-Identifier: MIT
"""Migration of a range to VRAM, all or nothing (drm_pagemap.c: drm_pagemap_migrate_to_devmem)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.sizes import SZ_4K
from mock.driver.pagemap import copies
from mock.driver.pagemap.devmem import DevMem, Pagemap, Stretch
from mock.spans import runs

if TYPE_CHECKING:
    from mock.driver.pagemap.process import Process


def to_vram(process: Process, pagemap: Pagemap, start: int, end: int, timeslice: float = 0.0) -> None:
    """Move [start, end) to VRAM; if that fails, evict it to system memory and try once more (xe_svm_alloc_vram).

    ``timeslice`` in seconds. Raises Refused: EBUSY if a page cannot be isolated, ENOMEM without room, ENOENT or EINVAL
    if the CPU mapping does not cover the range.
    """
    if sum(s.size for s in process.vram.within(start, end) if s.devmem.pagemap is pagemap) == end - start:
        return
    try:
        _populate(process, pagemap, start, end, timeslice)
    except Refused as refusal:
        if refusal.code != errno.EBUSY:
            raise
        to_system(process, start, end)
        _populate(process, pagemap, start, end, timeslice)


def to_system(process: Process, start: int, end: int, *, keep: object = None) -> None:
    """Move pages of [start, end) from VRAM to system memory, except those of the owner ``keep`` (hmm_range_fault)."""
    found: dict[DevMem, list[Stretch]] = {}
    for stretch in process.vram.within(start, end):
        if keep is None or stretch.devmem.pagemap.owner is not keep:
            found.setdefault(stretch.devmem, []).append(stretch)
    for devmem, stretches in found.items():
        process.to_system(devmem, stretches)


def _populate(process: Process, pagemap: Pagemap, start: int, end: int, timeslice: float) -> None:
    devmem = DevMem(pagemap, process.to_system, end - start, timeslice)
    try:
        _migrate(process, devmem, start, end)
    finally:
        if not devmem.stretches:
            devmem.release()


def _migrate(process: Process, devmem: DevMem, start: int, end: int) -> None:
    pagemap, mm = devmem.pagemap, process.mm
    vma = next(iter(mm.vmas(start, start + SZ_4K)), None)
    if vma is None:
        raise Refused(errno.ENOENT, "nothing is mapped")
    refuse_if(end > vma.end or start < vma.start, errno.EINVAL, "range is larger than the CPU mapping")
    refuse_if(not vma.anonymous, errno.EBUSY, "not anonymous memory")
    there = process.vram.within(start, end)
    refuse_if(any(s.devmem.pagemap.owner is not pagemap.owner for s in there), errno.EBUSY, "foreign pages")
    own = sum(s.size for s in there if s.devmem.pagemap is pagemap)
    if own == end - start:
        return
    refuse_if(own, errno.EBUSY, "some pages are there already")
    process.notify(start, end)
    isolated = mm.isolate(start, end)
    if len(isolated) * SZ_4K + sum(s.size for s in there) != end - start:
        for page, contents in isolated.items():
            mm.restore(page, contents)
        raise Refused(errno.EBUSY, "a page could not be isolated")
    with copies.timed(pagemap.stats, "device", end - start):
        _fill(devmem, start, isolated)
        for old in there:
            devmem.write(old.start - start, old.devmem.copy_out(old.offset, old.size))
    copies.count(
        pagemap.stats, "device", runs(sorted(page for page, data in isolated.items() if data is not None))
    )
    for old in there:
        # The device that holds the page copies it to the other one, page by page (drm_pagemap_migrate_range).
        for page in range(old.start, old.end, SZ_4K):
            copies.count(old.devmem.pagemap.stats, "cpu", [(page, page + SZ_4K)])
        process.vram.drop(old.start, old.end)
    process.vram.add(Stretch(start, end, devmem, 0))
    devmem.start_timeslice()


def _fill(devmem: DevMem, start: int, isolated: dict[int, bytes | None]) -> None:
    """Copy populated pages; the others read as zero, as new VRAM is cleared."""
    populated = sorted(page for page, contents in isolated.items() if contents is not None)
    for first, last in runs(populated):
        contents = (isolated[page] for page in range(first, last, SZ_4K))
        devmem.write(first - start, b"".join(page for page in contents if page is not None))
