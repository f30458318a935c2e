# SPDX-License-Identifier: MIT
"""Taking pages away from a client: MADV_DONTNEED_LOCKED, carried out on its memory by its io_uring."""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Callable

from mock.linux.uring import MADV_DONTNEED_LOCKED, Ring
from mock.memory.inbox import PATIENCE, Inbox, StuckError


class Zapper:
    """Zaps ranges of one address space."""

    def __init__(
        self, ring: Ring, inbox: Inbox, alive: Callable[[], bool], log: Callable[[str], None]
    ) -> None:
        self._ring = ring
        self._inbox = inbox
        self._alive = alive
        self._log = log
        self._poll = select.poll()
        self._poll.register(ring.fd, select.POLLIN)
        self._poll.register(inbox.fd, select.POLLIN)

    def zap(self, start: int, end: int) -> bool:
        """Drop the pages of [start, end); False when the address space died meanwhile. Raises StuckError.

        The kernel sends an event first and goes on once it is read. Reading it last, with nothing else
        unread, keeps the time short in which the client can put another mapping there that would be zapped in
        its place.
        """
        self._inbox.read()
        self._inbox.expect_removes()
        self._ring.madvise(start, end, MADV_DONTNEED_LOCKED)
        deadline = time.monotonic() + PATIENCE
        result = self._ring.result()
        while result is None:
            self._poll.poll(50)
            self._inbox.read()
            result = self._ring.result()
            if result is None and time.monotonic() > deadline:
                raise StuckError
            if result is None and not self._alive():
                return False
        # The event of a zap that is over has been sent, and its reading is what let the zap end.
        complete = self._inbox.settle_removes(start, end)
        if not complete and result == 0:
            self._log(f"zap of [{start:#x}, {end:#x}) met memory that had just been mapped anew")
        elif result not in (0, -errno.ENOMEM):
            self._log(f"zap of [{start:#x}, {end:#x}): {errno.errorcode.get(-result, result)}")
        return True
