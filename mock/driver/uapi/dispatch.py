# SPDX-License-Identifier: MIT
"""From a request number to its handler: copy in, permission, call, copy out (drm_ioctl.c)."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from ioctl import Direction, Request
from mock.driver.level import Level
from mock.driver.lib.blocking import Thread
from mock.driver.lib.errors import refuse_if
from mock.kernel import Deferred

if TYPE_CHECKING:
    from mock.driver.device import Device
    from mock.driver.exec.scheduler import Scheduler
    from mock.driver.file import DrmFile
    from mock.kernel import Mm, Services, Task

INTERNAL_ERROR = errno.ENOTRECOVERABLE
"""Errno for a bug of the mock itself. No xe ioctl returns it, so no test mistakes it for a refusal."""


_DRM = ord("d")
_IN, _OUT = int(Direction.WRITE), int(Direction.READ)


@dataclass(slots=True)
class Call:
    """The caller: its open file and its task, in whose memory the pointers of arguments are."""

    file: DrmFile
    task: Task

    @property
    def device(self) -> Device:
        return self.file.device

    @property
    def scheduler(self) -> Scheduler:
        return self.file.scheduler


Handler = Callable[[Call, Any], Any]
"""Gets the argument structure and changes it in place; raises Refused. A generator if it may sleep.
Its result is the return value of ioctl(2), None for 0."""


class _NoArgument(ctypes.Structure):
    """For handlers of ioctls without an argument."""


class Ioctl:
    """One entry of an ioctl table (struct drm_ioctl_desc). ``since``: older uAPI levels do not have it."""

    def __init__(
        self,
        request: Request,
        handler: Handler,
        *,
        render_allowed: bool = True,
        since: Level | None = None,
    ) -> None:
        self.request = request
        self.handler = handler
        self.render_allowed = render_allowed
        self.since = since
        # Plain numbers: they are compared at each call.
        self.struct = request.struct or _NoArgument
        self.size = request.size
        self.copies = int(request.direction)


class Unknown(Protocol):
    """Refuses an ioctl number that is not in the table."""

    def __call__(self, number: int, *, render: bool) -> NoReturn: ...


class Table:
    """The ioctls of the DRM core and the driver at one uAPI level."""

    def __init__(self, level: Level, ioctls: Iterable[Ioctl], unknown: Unknown) -> None:
        self._unknown = unknown
        self._by_number = {
            ioctl.request.nr: ioctl for ioctl in ioctls if ioctl.since is None or ioctl.since <= level
        }

    def call(
        self, services: Services, file: DrmFile, task: Task, request: int, argument: int
    ) -> int | Deferred:
        """drm_ioctl(): returns the result of the ioctl, or a Deferred. Raises OSError with the errno."""
        refuse_if(request >> 8 & 0xFF != _DRM, errno.ENOTTY, "not a DRM ioctl")
        ioctl = self._by_number.get(request & 0xFF)
        if ioctl is None:
            self._unknown(request & 0xFF, render=file.render)
        # Size and direction are the caller's, within the limits of the table: structures may grow.
        size = request >> 16 & 0x3FFF
        copies = request >> 30 & ioctl.copies
        data = task.mm.read(argument, size) if copies & _IN and size else b""
        if not ioctl.render_allowed:
            refuse_if(file.render, errno.EACCES, "not on a render node")
        arg = ioctl.struct.from_buffer_copy(data[: ioctl.size].ljust(ioctl.size, b"\0"))
        out = _CopyOut(task.mm, argument, arg, data, size) if copies & _OUT and size else None
        return _Reply(services, ioctl.request, out).run(ioctl.handler, Call(file, task), arg)


class _CopyOut:
    """Copies the argument back to the caller, in the caller's size."""

    __slots__ = ("_address", "_arg", "_mm", "_sent", "_size")

    def __init__(self, mm: Mm, address: int, arg: ctypes.Structure, sent: bytes, size: int) -> None:
        self._mm = mm
        self._address = address
        self._arg = arg
        self._sent = sent
        self._size = size

    def __call__(self) -> None:
        data = bytes(self._arg)
        if len(data) != self._size:
            # Bytes beyond our structure are copied back unchanged, or as zeros.
            data = (data + self._sent[len(data) :])[: self._size].ljust(self._size, b"\0")
        self._mm.write(self._address, data)


class _Reply:
    """Runs one handler and replies: at once, or through a Deferred if it sleeps."""

    __slots__ = ("_copy_out", "_deferred", "_request", "_result", "_services")

    def __init__(self, services: Services, request: Request, copy_out: _CopyOut | None) -> None:
        self._services = services
        self._request = request
        self._copy_out = copy_out
        self._result = 0
        self._deferred: Deferred | None = None

    def run(self, handler: Handler, call: Call, arg: Any) -> int | Deferred:
        try:
            outcome = handler(call, arg)
        except Exception as error:
            self._failed(error)
        else:
            if isinstance(outcome, Generator):
                thread = Thread(outcome, self._done, self._failed)
                thread.run()
                if not thread.finished:
                    self._deferred = Deferred()
                    self._deferred.on_abandon(thread.kill)
                    self._deferred.on_signal(thread.interrupt)
                    return self._deferred
            else:
                self._done(outcome)
        return self._answer()

    def _answer(self) -> int:
        if self._result < 0:
            raise OSError(-self._result, f"{self._request}: {errno.errorcode.get(-self._result)}")
        return self._result

    def _done(self, value: Any) -> None:
        self._finish(value or 0)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, OSError) and error.errno:
            self._finish(-error.errno)
        else:
            self._services.internal_error(f"{self._request}", error)
            self._finish(-INTERNAL_ERROR)

    def _finish(self, result: int) -> None:
        # The kernel copies the structure back on errors too.
        if self._copy_out is not None:
            try:
                self._copy_out()
            except OSError as error:
                result = -(error.errno or errno.EFAULT)
        self._result = result
        if self._deferred is not None:
            if result < 0:
                self._deferred.fail(-result)
            else:
                self._deferred.resolve(result)
