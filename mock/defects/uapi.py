# SPDX-License-Identifier: MIT
"""Defects of ioctls: their results and side effects."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from ioctl import xe
from mock.defects.patch import nothing, replace
from mock.driver.exec import sync
from mock.driver.file import DrmFile
from mock.driver.lib.blocking import Blocking
from mock.driver.lib.fence import Fence, stub
from mock.driver.stats import GtStats
from mock.driver.svm.svm import Svm
from mock.driver.uapi import bind, bind_check, madvise, queue_ioctl
from mock.driver.uapi.dispatch import Call, Table, _Reply
from mock.driver.vm.steps import MapRequest
from mock.driver.vm.vm import Vm
from mock.driver.vm.vma import Vma
from mock.driver.vm.vma_ops import VmaOps
from mock.kernel import Deferred, Services, Task


def ioctls_succeed() -> None:
    """Every ioctl returns 0 and does nothing, except for DEVICE_QUERY, without which no test would start."""
    sound = Table.call

    def call(
        self: Table, services: Services, file: DrmFile, task: Task, request: int, argument: int
    ) -> int | Deferred:
        if request & 0xFF == xe.DRM_IOCTL_XE_DEVICE_QUERY.nr:
            try:
                return sound(self, services, file, task, request, argument)
            except OSError:
                pass
        return 0

    replace(Table, "call", call)


def _on_refusal(then: Callable[[OSError, Task, int, int], int]) -> None:
    """Call ``then`` with error, task, request and argument of each refused ioctl; it returns the result."""
    sound = Table.call

    def call(
        self: Table, services: Services, file: DrmFile, task: Task, request: int, argument: int
    ) -> int | Deferred:
        try:
            return sound(self, services, file, task, request, argument)
        except OSError as error:
            return then(error, task, request, argument)

    replace(Table, "call", call)


def refusals_succeed() -> None:
    """Ioctls work, but return 0 instead of an error."""
    _on_refusal(lambda error, task, request, argument: 0)

    def failed(self: _Reply, error: BaseException) -> None:
        self._finish(0)

    replace(_Reply, "_failed", failed)


def _answers(right: int, wrong: int) -> None:
    sound = _Reply._failed

    def failed(self: _Reply, error: BaseException) -> None:
        mistaken = isinstance(error, OSError) and error.errno == right
        sound(self, OSError(wrong, os.strerror(wrong)) if mistaken else error)

    replace(_Reply, "_failed", failed)


def enoent_is_einval() -> None:
    """Ioctls that should return ENOENT return EINVAL."""
    _answers(errno.ENOENT, errno.EINVAL)


def ebusy_is_eagain() -> None:
    """Ioctls that should return EBUSY return EAGAIN."""
    _answers(errno.EBUSY, errno.EAGAIN)


def efault_is_einval() -> None:
    """Ioctls that should return EFAULT return EINVAL."""
    _answers(errno.EFAULT, errno.EINVAL)


def refusal_writes() -> None:
    """A refused ioctl changes the last byte of its argument."""

    def write(error: OSError, task: Task, request: int, argument: int) -> int:
        last = argument + (request >> 16 & 0x3FFF) - 1
        task.mm.write(last, bytes([task.mm.read(last, 1)[0] ^ 0xFF]))
        raise error

    _on_refusal(write)


def half_arrays() -> None:
    """A VM_BIND that fails keeps the binds before the bad one."""
    replace(VmaOps, "unwind", nothing)


def binds_reversed() -> None:
    """The binds of an array are executed from the last to the first."""
    sound = bind_check.read_ops

    def read_ops(*arguments: Any) -> list[Any]:
        return sound(*arguments)[::-1]

    replace(bind_check, "read_ops", read_ops)


def in_syncs_ignored() -> None:
    """VM_BIND and EXEC do not wait for their in-syncs."""
    sound = sync.parse

    def parse(*arguments: Any, **options: Any) -> sync.SyncEntry:
        entry = sound(*arguments, **options)
        entry.fence = None
        return entry

    replace(sync, "parse", parse)


def out_syncs_early() -> None:
    """VM_BIND and EXEC signal their out-syncs at once, whether or not the work is done."""
    sound = sync.SyncEntry.signal_with

    def signal_with(self: sync.SyncEntry, fence: Fence) -> None:
        sound(self, stub())

    replace(sync.SyncEntry, "signal_with", signal_with)


def unbind_forgets() -> None:
    """UNMAP removes the VMA, but leaves its page table entries."""

    def unbind(self: VmaOps, vma: Vma, start: int, end: int) -> Callable[[], None]:
        return nothing

    replace(VmaOps, "_unbind", unbind)


def unmap_never_busy() -> None:
    """VM_BIND replaces mirrors even if the GPU has mapped them."""

    def has_mapping(self: Svm, start: int, end: int) -> bool:
        return False

    replace(Svm, "has_mapping", has_mapping)


def readonly_ignored() -> None:
    """READONLY bindings can be written."""
    sound = bind._map_request

    def map_request(*arguments: Any) -> MapRequest:
        request = sound(*arguments)
        request.read_only = False
        return request

    replace(bind, "_map_request", map_request)


def prefetch_idle() -> None:
    """PREFETCH of mirrored memory succeeds and does nothing."""

    def prefetch(*_: object) -> Blocking[int]:
        return 0
        yield

    replace(Svm, "prefetch", prefetch)


def advice_lost() -> None:
    """MADVISE returns 0 and changes nothing."""
    replace(madvise, "madvise", nothing)


def ban_hidden() -> None:
    """EXEC_QUEUE_GET_PROPERTY never reports that a queue is banned."""

    def get_property(call: Call, args: Any) -> None:
        args.value = 0

    replace(queue_ioctl, "get_property", get_property)


def faults_forgotten() -> None:
    """Faults that could not be served are not recorded."""
    replace(Vm, "add_fault", nothing)


def counters_stand() -> None:
    """The GT statistics never change."""
    replace(GtStats, "add", nothing)


DEFECTS = {
    "ioctls-succeed": ioctls_succeed,
    "refusals-succeed": refusals_succeed,
    "enoent-is-einval": enoent_is_einval,
    "ebusy-is-eagain": ebusy_is_eagain,
    "efault-is-einval": efault_is_einval,
    "refusal-writes": refusal_writes,
    "half-arrays": half_arrays,
    "binds-reversed": binds_reversed,
    "in-syncs-ignored": in_syncs_ignored,
    "out-syncs-early": out_syncs_early,
    "unbind-forgets": unbind_forgets,
    "unmap-never-busy": unmap_never_busy,
    "readonly-ignored": readonly_ignored,
    "prefetch-idle": prefetch_idle,
    "advice-lost": advice_lost,
    "ban-hidden": ban_hidden,
    "faults-forgotten": faults_forgotten,
    "counters-stand": counters_stand,
}
