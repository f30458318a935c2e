# SPDX-License-Identifier: MIT
"""An io_uring with a kernel thread (SQPOLL), used by another process than the one that created it.

Its requests act on the memory of the process that created it. The mock uses this for MADV_DONTNEED_LOCKED in a client:
no code runs in the client for that.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import threading
from dataclasses import dataclass

from mock.linux.syscall import syscall

_SETUP_SQPOLL = 1 << 1
_OFF_SQ_RING = 0
_OFF_CQ_RING = 0x8000000
_OFF_SQES = 0x10000000
_SQ_NEED_WAKEUP = 1 << 0
_ENTER_SQ_WAKEUP = 1 << 1
_OP_MADVISE = 25

ENTRIES = 4
IDLE_MS = 1
"""Time that the kernel thread spins before it sleeps; short, as it uses a CPU of the client. The kernel rounds it to
one or two ticks: at 250 Hz 4 to 8 ms for each request, which is half of the time of memory moves on two busy
processors.
"""

_PARAMS = struct.Struct("=7I12x10I10I")  # struct io_uring_params; the offsets end in a 64-bit user_addr
PARAMS_SIZE = 120
_SQE = struct.Struct(
    "=BBHiQQIIQ24x"
)  # struct io_uring_sqe: opcode, flags, ioprio, fd, off, addr, len, advice, user_data
_CQE = struct.Struct("=QiI")

MADV_DONTNEED_LOCKED = 24


def parameters() -> bytes:
    """Struct io_uring_params to create the ring with."""
    return struct.pack("=7I", 0, 0, _SETUP_SQPOLL, 0, IDLE_MS, 0, 0).ljust(PARAMS_SIZE, b"\0")


@dataclass(frozen=True)
class Created:
    """A new ring: its descriptor, and the parameters as the kernel filled them in."""

    fd: int
    parameters: bytes


def create() -> Created:
    """Create a ring. Raises OSError: EPERM if /proc/sys/kernel/io_uring_disabled or a sandbox forbids it."""
    params = ctypes.create_string_buffer(parameters(), PARAMS_SIZE)
    fd = syscall("io_uring_setup", ENTRIES, params)
    return Created(fd, params.raw)


class Ring:
    """The submission side, one request at a time.

    Words shared with the kernel are accessed through memoryviews of native integers: one load or store each. The
    struct module works byte by byte, and a half-written tail makes the kernel repeat old requests.
    """

    def __init__(self, fd: int, params: bytes) -> None:
        self.fd = fd
        values = _PARAMS.unpack(params)
        sq_entries, cq_entries = values[0], values[1]
        _, sq_tail, sq_mask, _, sq_flags, _, sq_array, *_ = values[7:17]
        cq_head, cq_tail, cq_mask, _, _, self._cqes, *_ = values[17:27]
        self._sq_map = mmap.mmap(fd, sq_array + 4 * sq_entries, offset=_OFF_SQ_RING)
        self._cq_map = mmap.mmap(fd, self._cqes + _CQE.size * cq_entries, offset=_OFF_CQ_RING)
        self._entries = mmap.mmap(fd, 64 * sq_entries, offset=_OFF_SQES)
        self._sq = memoryview(self._sq_map)[: sq_array + 4 * sq_entries].cast("I")
        self._cq = memoryview(self._cq_map)[: self._cqes + _CQE.size * cq_entries].cast("I")
        self._sq_tail, self._sq_flags, self._array = sq_tail // 4, sq_flags // 4, sq_array // 4
        self._cq_head, self._cq_tail = cq_head // 4, cq_tail // 4
        self._sq_mask, self._cq_mask = self._sq[sq_mask // 4], self._cq[cq_mask // 4]
        self._barrier = threading.Lock()

    def _fence(self) -> None:
        """Order our accesses to the shared memory: taking and releasing a lock does that on every machine."""
        with self._barrier:
            pass

    def madvise(self, start: int, end: int, advice: int) -> None:
        """Submit madvise(2) on [start, end). Get its completion with ``result`` before the next one."""
        tail = self._sq[self._sq_tail]
        index = tail & self._sq_mask
        _SQE.pack_into(self._entries, 64 * index, _OP_MADVISE, 0, 0, -1, 0, start, end - start, advice, 0)
        self._sq[self._array + index] = index
        self._fence()
        self._sq[self._sq_tail] = tail + 1 & 0xFFFFFFFF
        self._fence()
        if self._sq[self._sq_flags] & _SQ_NEED_WAKEUP:
            syscall("io_uring_enter", self.fd, 1, 0, _ENTER_SQ_WAKEUP, 0, 0)

    def result(self) -> int | None:
        """The result of madvise (0 or negative errno), None while it runs."""
        head = self._cq[self._cq_head]
        if head == self._cq[self._cq_tail]:
            return None
        self._fence()
        result: int = _CQE.unpack_from(self._cq_map, self._cqes + _CQE.size * (head & self._cq_mask))[1]
        self._cq[self._cq_head] = head + 1 & 0xFFFFFFFF
        return result

    def close(self) -> None:
        self._sq.release()
        self._cq.release()
        for area in (self._sq_map, self._cq_map, self._entries):
            area.close()
        os.close(self.fd)
