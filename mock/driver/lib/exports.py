# SPDX-License-Identifier: MIT
"""Syncobjs and fences as files (drm_syncobj.c, drivers/dma-buf/sync_file.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mock.driver.lib.fence import Fence
    from mock.driver.lib.syncobj import Syncobj
    from mock.kernel import EventFile, File


class Exports:
    """Syncobjs and fences that were exported as descriptors; for buffer objects see ttm/dma_buf.py."""

    def __init__(
        self,
        make: Callable[[str, Callable[[], None]], File],
        make_event: Callable[[Callable[[], None]], EventFile],
    ) -> None:
        self._make = make
        self._make_event = make_event
        self._syncobjs: dict[File, Syncobj] = {}
        self._fences: dict[File, Fence] = {}

    def syncobj_file(self, syncobj: Syncobj) -> File:
        """A file for a new descriptor of a syncobj (drm_syncobj_get_fd)."""
        file = self._make("syncobj_file", lambda: self._forget(file))
        self._syncobjs[file] = syncobj
        return file

    def sync_file(self, fence: Fence) -> File:
        """A sync file, which can be polled (sync_file_create)."""
        file = self._make_event(lambda: self._forget(file))
        self._fences[file] = fence
        fence.then(file.signal)
        return file

    def _forget(self, file: File) -> None:
        self._syncobjs.pop(file, None)
        self._fences.pop(file, None)

    def syncobj_of(self, file: File | None) -> Syncobj | None:
        return self._syncobjs.get(file) if file is not None else None

    def fence_of(self, file: File | None) -> Fence | None:
        return self._fences.get(file) if file is not None else None
