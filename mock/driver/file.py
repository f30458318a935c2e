# SPDX-License-Identifier: MIT
"""An open device node and its handles (drm_file.c, xe_device.c: struct xe_file)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mock.driver.lib.errors import Refused
from mock.driver.lib.ids import IdMap
from mock.driver.ttm.storage import Memory

if TYPE_CHECKING:
    from mock.driver.device import Device
    from mock.driver.exec.queue import ExecQueue
    from mock.driver.exec.scheduler import Scheduler
    from mock.driver.lib.syncobj import Syncobj
    from mock.driver.ttm.bo import Bo
    from mock.driver.vm.vm import Vm
    from mock.kernel import File, Task


class DrmFile:
    """One drm_file.

    scheduler  runs its queues
    node       the file that the client holds
    opener     process that opened it
    render     opened through the render node, so only render-allowed ioctls answer
    """

    def __init__(
        self, device: Device, scheduler: Scheduler, task: Task, memory: File, *, render: bool
    ) -> None:
        self.device = device
        self.scheduler = scheduler
        self.opener = task.tgid
        self.render = render
        self.node = memory
        self.memory = Memory(memory)
        self.bos: IdMap[Bo] = IdMap()
        self.vms: IdMap[Vm] = IdMap()
        self.queues: IdMap[ExecQueue] = IdMap()
        self.syncobjs: IdMap[Syncobj] = IdMap()
        self.prime_handles: dict[Bo, int] = {}
        """Handles of BOs that were exported or imported here: another import gives the same handle."""
        self.was_master = False
        self.authenticated = task.capable("CAP_SYS_ADMIN")
        if not render and device.master is None:
            self.become_master()
        self.client_name: str | None = None

    @property
    def is_master(self) -> bool:
        """DRM master of the card node (drm_is_current_master)."""
        return self.device.master is self

    def become_master(self) -> None:
        """drm_new_set_master()."""
        self.device.master = self
        self.was_master = self.authenticated = True

    def add_handle(self, bo: Bo) -> int:
        """A handle for an object (drm_gem_handle_create)."""
        handle = self.bos.add(bo)
        if handle is None:
            raise Refused(errno.ENOSPC)
        bo.get()
        return handle

    def close_handle(self, handle: int) -> None:
        """Drop a handle (drm_gem_handle_delete). Raises Refused(EINVAL) if it does not exist."""
        bo = self.bos.pop(handle)
        if bo is None:
            raise Refused(errno.EINVAL, "no such object")
        for source in (bo, bo.import_source):
            if source is not None and self.prime_handles.get(source) == handle:
                del self.prime_handles[source]
        bo.put()

    def close(self) -> None:
        """The file is released (xe_file_close, drm_gem_release, drm_syncobj_release)."""
        if self.is_master:
            self.device.master = None
        for _, queue in self.queues.items():
            self.scheduler.discard(queue)
        for _, vm in self.vms.items():
            vm.close()
        for handle, _ in self.bos.items():
            self.close_handle(handle)
        self.device.ttm.mappings.file_released(self.memory.file)
        self.memory.put()
