# SPDX-License-Identifier: MIT
"""Kernel code that sleeps, without threads.

A function of the driver that may have to wait is a generator: it yields the fence it waits on and is resumed
when that fence has signalled. An ioctl handler of that form completes at once if it need not wait;
otherwise its reply is deferred. Call another sleeping function with ``yield from``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mock.driver.lib.errors import Refused
from mock.driver.lib.fence import Fence
from mock.kernel import ERESTARTSYS, Mm, Stalled

if TYPE_CHECKING:
    from mock.kernel import Loop

T = TypeVar("T")


@dataclass(frozen=True)
class Interruptible:
    """Yielded in place of a fence: a signal for the caller ends the wait with ERESTARTSYS."""

    fence: Fence


Blocking = Generator[Fence | Interruptible, None, T]

NO_DEADLINE = 1e9
"""Seconds of CLOCK_MONOTONIC that no machine reaches: a later deadline never expires."""


class Thread:
    """Runs one blocking function to completion, resumed by the fences it yields."""

    def __init__(
        self, body: Blocking[Any], done: Callable[[Any], None], failed: Callable[[BaseException], None]
    ) -> None:
        self._body = body
        self._done = done
        self._failed = failed
        self._cancel: Callable[[], None] = lambda: None
        self._interruptible = False
        self._interrupted = False
        self.finished = False

    def run(self) -> None:
        """Advance until the body waits on a fence that has not signalled, or ends."""
        while not self.finished:
            try:
                waits_for = self._advance()
            except StopIteration as stop:
                self.finished = True
                self._done(stop.value)
                return
            except Exception as error:
                self.finished = True
                self._failed(error)
                return
            self._interruptible = isinstance(waits_for, Interruptible)
            fence = waits_for.fence if isinstance(waits_for, Interruptible) else waits_for
            if not fence.signaled:
                self._cancel = fence.then(self.run)
                return

    def _advance(self) -> Fence | Interruptible:
        if self._interrupted:
            self._interrupted = False
            return self._body.throw(Refused(ERESTARTSYS, "interrupted by a signal"))
        return next(self._body)

    def interrupt(self) -> None:
        """A signal is pending for the caller: end an interruptible wait."""
        if not self.finished and self._interruptible:
            self._cancel()
            self._interrupted = True
            self.run()

    def kill(self) -> None:
        """The task died: unwind the body (its finally clauses run), report nothing."""
        if not self.finished:
            self.finished = True
            self._cancel()
            self._body.close()


def wait_until(
    loop: Loop, fences: Iterable[Fence], deadline: float, *, interruptible: bool = False
) -> Blocking[bool]:
    """Wait for any of the fences or the deadline (seconds of CLOCK_MONOTONIC).

    Returns True when a fence signalled, False when time ran out.
    """
    event = Fence()
    hit = [False]

    def on_fence() -> None:
        hit[0] = True
        event.signal()

    cancels = [fence.then(on_fence) for fence in fences]
    timed = deadline < NO_DEADLINE and not event.signaled
    timer = loop.call_at(deadline, event.signal) if timed else None
    try:
        yield Interruptible(event) if interruptible else event
    finally:
        for cancel in cancels:
            cancel()
        if timer is not None:
            timer.cancel()
    return hit[0]


def when_settled(attempt: Callable[[], Blocking[None]]) -> Blocking[None]:
    """Try to move memory; try again for as long as its process is not running."""
    while True:
        try:
            yield from attempt()
        except Stalled as stalled:
            yield settled(stalled.mm)
        else:
            return


def settled(mm: Mm) -> Fence:
    """A fence that signals when a process may have made progress."""
    fence = Fence()
    mm.when_settled(fence.signal)
    return fence


class WaitQueue:
    """A wait queue: ``wake`` releases all current waiters."""

    def __init__(self) -> None:
        self._event = Fence()

    def wake(self) -> None:
        event, self._event = self._event, Fence()
        event.signal()

    @property
    def event(self) -> Fence:
        """Signals at the next wake."""
        return self._event
