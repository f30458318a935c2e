# SPDX-License-Identifier: MIT
"""Taking pages away from a client: MADV_DONTNEED_LOCKED, executed by its adviser.

madvise knows addresses, not mappings: memory that a thread of the client puts in place of what was copied would be
zapped in its stead, with what the thread stored there. But a thread that changes a mapping sleeps until its event is
read (fs/userfaultfd.c: userfaultfd_event_wait_completion), so its stores are safe if that is after the zap; and if it
was before the zap was asked for, the pages are spared (memory.migrate). So no event is read between the check of those
read and the end of the zap, except when the zap itself waits for its own event, and those before it, to be read. This
holds however long it takes: a stopped client does not start the zap before it continues.

Left are a change whose event gets into the queue just before that of a zap which has seen the mapping before the change
(mm/madvise.c: madvise_dontneed_free lets go of the mappings there, and looks the place up again when its event was
read), and the store of a third thread to a mapping whose maker has not returned yet. UFFDIO_MOVE, which takes a page
with its contents in one step, would close both. But it refuses pages that are shared with a child of fork or by KSM,
and Linux before 6.8 lacks it.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable

from mock.linux.adviser import MADV_DONTNEED_LOCKED, Adviser
from mock.linux.instructions import NAME
from mock.linux.procfs import sleeps_in, threads_named
from mock.memory.inbox import Inbox
from mock.memory.work import Pause, Work

_UNTOLD = 0.001
"""Seconds in which a zap has to begin, on a kernel that hides where a thread sleeps (/proc/PID/wchan)."""
_MOMENT = 0.0005
"""Seconds to look again at once."""
_WAITING = b"userfaultfd_"
_NOTHING = (b"", b"0")


class Zapper:
    """Zaps ranges of one address space."""

    def __init__(
        self,
        adviser: Adviser,
        pid: int,
        inbox: Inbox,
        log: Callable[[str], None],
    ) -> None:
        """``adviser`` is of process ``pid``."""
        self.fd = adviser.fd
        """Readable when a zap is over."""
        self._adviser = adviser
        self._pid = pid
        self._threads = threads_named(pid, NAME)
        self._told = sleeps_in(pid) not in _NOTHING
        self._inbox = inbox
        self._log = log
        self._over = select.poll()
        self._over.register(adviser.fd, select.POLLIN)
        self._something = select.poll()
        self._something.register(adviser.fd, select.POLLIN)
        self._something.register(inbox.fd, select.POLLIN)

    def zap(self, start: int, end: int) -> Work[bool]:
        """Drop the pages of [start, end). Returns False if the address space died in the meantime."""
        self._inbox.expect_removes()
        try:
            self._adviser.madvise(start, end, MADV_DONTNEED_LOCKED)
            self._inbox.reserved = True
            result = yield from self._result()
        except ProcessLookupError:  # the adviser ends with its process
            return False
        finally:
            self._inbox.reserved = False
        # The event of a zap that is over has been sent, and its reading is what let the zap end.
        complete = self._inbox.settle_removes(start, end)
        if not complete and result == 0:
            self._log(f"zap of [{start:#x}, {end:#x}) met memory that had just been mapped again")
        elif result not in (0, -errno.ENOMEM):
            self._log(f"zap of [{start:#x}, {end:#x}): {errno.errorcode.get(-result, result)}")
        return True

    def _result(self) -> Work[int]:
        """Result of the zap, once it is over: reads its event, and those before it, if it waits for that."""
        since: float | None = None
        while (result := self._adviser.result()) is None:
            if not self._something.poll(0):
                since = None
                yield Pause.EVENT
                continue
            now = time.monotonic()
            since = since or now
            # It falls asleep a moment after its event is there; if it does not, it has yet to begin.
            if self._waits() or (not self._told and now - since > _UNTOLD):
                self._inbox.read_anyway(1)
                since = None
            else:
                yield Pause.TURN if now - since < _MOMENT else Pause.MOMENT
        return result

    def wait(self, pause: Pause) -> None:
        """Do so, for some milliseconds at most."""
        if pause is Pause.EVENT:
            self._something.poll(5)
        elif pause is Pause.MOMENT:
            self._over.poll(1)
        else:
            os.sched_yield()

    def _waits(self) -> bool:
        places = [sleeps_in(thread) for thread in self._threads]
        self._told |= any(place not in _NOTHING for place in places)
        return any(place.startswith(_WAITING) for place in places)
