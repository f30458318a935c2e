# SPDX-License-Identifier: MIT
"""The rows of drm_xe_sync, which VM_BIND and EXEC share (xe_sync.c: xe_sync_entry_parse)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from errno import EFAULT, EINVAL, ENOENT, EOPNOTSUPP

from fixtures import behaviour
from fixtures.negative import (
    Call,
    Parts,
    Row,
    each_bit,
    row,
    some_bits,
    unknown_flags,
    unknown_values,
)
from ioctl import xe
from ioctl.layout import Structure
from suites.negative.values import strange_syncobjs, unreadable

SYNC = ctypes.sizeof(xe.drm_xe_sync)
SYNCOBJ = xe.DRM_XE_SYNC_TYPE_SYNCOBJ
TIMELINE = xe.DRM_XE_SYNC_TYPE_TIMELINE_SYNCOBJ
USER_FENCE = xe.DRM_XE_SYNC_TYPE_USER_FENCE
SIGNAL = xe.DRM_XE_SYNC_FLAG_SIGNAL

COMMON: tuple[Row, ...] = (
    row("sync.extensions", some_bits, None, behaviour("sync.extensions-unchecked")),
    row("sync.type", unknown_values, EINVAL, behaviour("sync.type-unknown")),
    row("sync.flags", unknown_flags(), EINVAL, behaviour("sync.flags-unknown")),
    row("sync.reserved", each_bit, EINVAL, behaviour("sync.flags-unknown")),
)
"""Rows of a sync of any type."""


def _high_halves(call: Call, path: str) -> Iterator[int]:
    """The right handle with one bit more in the half of the union that a handle does not use."""
    holder, _, _ = call.build().place(path)
    for bit in range(32, 64):
        yield holder.handle | 1 << bit


BINARY: tuple[Row, ...] = (
    *COMMON,
    row("sync.handle", strange_syncobjs, ENOENT, behaviour("sync.handle-unknown")),
    row("sync.addr", _high_halves, EINVAL, behaviour("sync.handle-high-bits"), label="high-half"),
    row("sync.timeline_value", (1, 1 << 63), None, behaviour("sync.binary-value-unchecked")),
)
"""Rows of a sync that signals a syncobj."""

POINT: tuple[Row, ...] = (
    *COMMON,
    row("sync.handle", strange_syncobjs, ENOENT, behaviour("sync.handle-unknown")),
    row("sync.addr", _high_halves, EINVAL, behaviour("sync.handle-high-bits"), label="high-half"),
    row("sync.timeline_value", (0,), EINVAL, behaviour("sync.timeline-zero")),
)
"""Rows of a sync that signals a point of a timeline."""


def fence_rows(*, bind: bool) -> tuple[Row, ...]:
    """Rows of a user fence: VM_BIND checks the address, which is the CPU's; EXEC leaves it to the GPU."""
    rows = (
        *COMMON,
        row("sync.flags", (0,), EOPNOTSUPP, behaviour("sync.ufence-needs-signal"), label="no-signal"),
        row(
            "sync.addr",
            lambda call, path: [call.build().pointed["sync"].addr + off for off in range(1, 8)],
            EINVAL,
            behaviour("sync.ufence-align"),
            label="unaligned",
        ),
    )
    if not bind:
        return rows
    unmapped = row(
        "sync.addr",
        lambda *_: unreadable(8)[:3],
        EFAULT,
        behaviour("sync.bind-ufence-unmapped"),
        label="unmapped",
    )
    kernel = row(
        "sync.addr",
        lambda *_: unreadable(8)[4:],
        EFAULT,
        behaviour("sync.bind-ufence-unmapped"),
        label="no-user-address",
    )
    return (*rows, unmapped, kernel)


def array_rows(fields: str = "syncs") -> tuple[Row, ...]:
    """Rows of the pointer to one sync."""
    return (row(fields, lambda *_: unreadable(SYNC), EFAULT, behaviour("sync.array-fault")),)


def with_sync(build: Callable[[], Structure], sync: Callable[[], xe.drm_xe_sync]) -> Callable[[], Parts]:
    """Creates an argument with one sync."""

    def made() -> Parts:
        argument, entry = build(), sync()
        argument.num_syncs = 1
        argument.syncs = ctypes.addressof(entry)
        return Parts(argument, sync=entry)

    return made
