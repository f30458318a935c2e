# SPDX-License-Identifier: MIT
"""System calls whose answer is deferred, and signals and deaths of their callers.

With WAIT_KILLABLE_RECV in the filter, a caller ignores signals as long as the mock has its call (otherwise a signal
would restart the call). So the mock polls for pending signals, and interrupts the wait as the kernel would.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from dataclasses import dataclass

from mock.call import Call
from mock.kernel import ERESTARTSYS, Deferred
from mock.linux import procfs
from mock.linux.seccomp import Gone
from mock.loop import EventLoop
from mock.memory.space import AddressSpace
from mock.unanswered import Unanswered

_LOOK = 0.005
"""Seconds between looks at waiting threads."""


@dataclass
class _Sleeper:
    call: Call
    deferred: Deferred
    shared_seen: bool = False
    """A signal for the whole process was pending at the last look."""


class Waiting:
    """The callers that wait for a Deferred. ``unsettled``: the memory of a thread that may not have an answer now."""

    def __init__(
        self, loop: EventLoop, unanswered: Unanswered, unsettled: Callable[[int], AddressSpace | None]
    ) -> None:
        self._loop = loop
        self._unsettled = unsettled
        self._unanswered = unanswered
        self._sleepers: dict[int, _Sleeper] = {}
        self._looking = False

    def add(self, call: Call, deferred: Deferred) -> None:
        """Answer this call when the Deferred is settled."""
        sleeper = _Sleeper(call, deferred)
        self._sleepers[sleeper.call.notification.id] = sleeper
        self._unanswered.sleep(sleeper.call.notification.id)
        deferred.deliver_to(lambda result: self._wake(sleeper, result))
        if self._sleepers and not self._looking:
            self._looking = True
            self._loop.call_at(self._loop.time() + _LOOK, self._look)

    def abandon_all(self) -> None:
        """All callers are gone."""
        for sleeper in list(self._sleepers.values()):
            self._remove(sleeper)
            sleeper.deferred.abandoned()

    def _remove(self, sleeper: _Sleeper) -> bool:
        self._unanswered.wake(sleeper.call.notification.id)
        return self._sleepers.pop(sleeper.call.notification.id, None) is not None

    def _wake(self, sleeper: _Sleeper, result: int) -> None:
        space = self._unsettled(sleeper.call.tid)
        if space is not None:
            space.when_settled(lambda: self._wake(sleeper, result))
            return
        if not self._remove(sleeper):
            return
        if result == -ERESTARTSYS and self._interruption(sleeper) != _RESTARTS:
            result = -errno.EINTR
        with contextlib.suppress(Gone):
            sleeper.call.answer(result)

    def _look(self) -> None:
        for sleeper in list(self._sleepers.values()):
            if not sleeper.call.listener.valid(sleeper.call.notification.id):
                self._remove(sleeper)
                sleeper.deferred.abandoned()
            elif self._interruption(sleeper):
                sleeper.deferred.signalled()
        self._looking = bool(self._sleepers)
        if self._looking:
            self._loop.call_at(self._loop.time() + _LOOK, self._look)

    def _interruption(self, sleeper: _Sleeper) -> int:
        """Whether signal_pending() would be true for the thread, and if so whether ERESTARTSYS can be given:
        that number reaches the program if no signal is delivered to this very thread at once.
        """
        try:
            status = procfs.status(sleeper.call.tid)
        except OSError:
            return _NOT
        if status.pending & ~status.blocked:
            return _RESTARTS
        if not status.shared_pending & ~status.blocked:
            sleeper.shared_seen = False
            return _NOT
        # The kernel gives a process's signal to the main thread if that does not block it, else to some thread that is
        # awake: if it is still pending at the next look, no other thread has taken it.
        if sleeper.call.tid == status.tgid or status.threads == 1:
            return _RESTARTS
        seen, sleeper.shared_seen = sleeper.shared_seen, True
        return _INTERRUPTS if seen else _NOT


_NOT = 0
_INTERRUPTS = 1
_RESTARTS = 2
