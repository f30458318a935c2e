# SPDX-License-Identifier: MIT
"""Memory types, fake offsets and CPU mappings of a GPU's buffer objects (struct ttm_device, xe_ttm_*_mgr.c)."""

from __future__ import annotations

import os
from collections.abc import Iterable

from mock.driver.ttm.mapping import Mappings
from mock.driver.ttm.storage import OffsetManager
from mock.driver.ttm.vram import VramManager


class TtmDevice:
    """struct ttm_device.

    index        number of the GPU
    vram         VRAM of each tile, None for a tile without
    system_used  bytes of system memory in use by BOs, of ``system_size``
    """

    def __init__(self, index: int, vram: Iterable[int], page: int) -> None:
        """``vram``: bytes of VRAM of each tile, in pages of ``page`` bytes."""
        self.index = index
        self.offsets = OffsetManager()
        self.mappings = Mappings()
        self.vram = [VramManager(size, page, self.mappings.collect) if size else None for size in vram]
        self.system_used = 0
        self.system_size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
