# SPDX-License-Identifier: MIT
"""An open device node: the handles a client holds (drm_file.c, xe_device.c: struct xe_file)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mock.driver import queue_ioctl, vm_ioctl
from mock.driver.errors import Refused
from mock.driver.ids import IdMap
from mock.driver.storage import Memory

if TYPE_CHECKING:
    from mock.driver.bo import Bo
    from mock.driver.device import Device
    from mock.driver.queue import ExecQueue
    from mock.driver.syncobj import Syncobj
    from mock.driver.vm import Vm
    from mock.kernel import File


class DrmFile:
    """One drm_file. `render`: opened through the render node, so only render-allowed ioctls answer."""

    def __init__(self, device: Device, memory: File, *, render: bool) -> None:
        self.device = device
        self.render = render
        self.memory = Memory(memory)
        self.bos: IdMap[Bo] = IdMap()
        self.vms: IdMap[Vm] = IdMap()
        self.queues: IdMap[ExecQueue] = IdMap()
        self.syncobjs: IdMap[Syncobj] = IdMap()
        self.client_name: str | None = None

    def add_handle(self, bo: Bo) -> int:
        """A handle for an object (drm_gem_handle_create)."""
        handle = self.bos.add(bo)
        if handle is None:
            raise Refused(errno.ENOSPC)
        bo.get()
        return handle

    def close(self) -> None:
        """The file is released (xe_file_close, drm_gem_release, drm_syncobj_release)."""
        for _, queue in self.queues.items():
            queue_ioctl.discard(queue)
        for _, vm in self.vms.items():
            vm_ioctl.close_vm(vm)
        for handle, bo in self.bos.items():
            self.bos.pop(handle)
            bo.put()
