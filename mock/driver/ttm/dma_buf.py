# SPDX-License-Identifier: MIT
"""dma-bufs: files that share buffer objects with other drivers and processes (drivers/dma-buf/dma-buf.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mock.driver.ttm.bo import Bo
    from mock.kernel import File, Services


class DmaBufs:
    """The dma-bufs of this mock: which file stands for which BO."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._bos: dict[File, Bo] = {}

    def export(self, bo: Bo) -> File:
        """The dma-buf of a BO, created once; it holds a reference while any descriptor of it is open."""
        if bo.dma_buf is None:
            bo.dma_buf = self._services.create_file("dmabuf", lambda: self._released(bo))
            self._bos[bo.dma_buf] = bo.get()
            bo.willneed_get()
        return bo.dma_buf

    def _released(self, bo: Bo) -> None:
        if bo.dma_buf is not None:
            self._bos.pop(bo.dma_buf, None)
            bo.dma_buf = None
            bo.willneed_put()
            bo.put()

    def find(self, file: File | None) -> Bo | None:
        return self._bos.get(file) if file is not None else None
