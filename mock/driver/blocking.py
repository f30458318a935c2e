# SPDX-License-Identifier: MIT
"""Kernel code that sleeps, without threads.

A function of the driver that may have to wait is a generator: it yields the fence it waits on and is resumed
when that fence has signalled. An ioctl handler written so runs to its end at once when nothing makes it wait;
otherwise its reply is deferred. Call another sleeping function with `yield from`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from mock.driver.fence import Fence

if TYPE_CHECKING:
    from mock.kernel import Loop

T = TypeVar("T")

Blocking = Generator[Fence, None, T]


class Thread:
    """Runs one blocking function to its end, resumed by the fences it yields."""

    def __init__(
        self, body: Blocking[Any], done: Callable[[Any], None], failed: Callable[[BaseException], None]
    ) -> None:
        self._body = body
        self._done = done
        self._failed = failed
        self._cancel: Callable[[], None] = lambda: None
        self.finished = False

    def run(self) -> None:
        """Advance until the body waits on a fence that has not signalled, or ends."""
        while not self.finished:
            try:
                fence = next(self._body)
            except StopIteration as stop:
                self.finished = True
                self._done(stop.value)
                return
            except Exception as error:
                self.finished = True
                self._failed(error)
                return
            if not fence.signaled:
                self._cancel = fence.then(self.run)
                return

    def kill(self) -> None:
        """The task died: unwind the body (its finally clauses run), report nothing."""
        if not self.finished:
            self.finished = True
            self._cancel()
            self._body.close()


def wait_until(loop: Loop, fences: Iterable[Fence], deadline: float | None) -> Blocking[bool]:
    """Wait for any of the fences or the deadline (seconds of CLOCK_MONOTONIC, None: no end).

    Returns True when a fence signalled, False when time ran out.
    """
    event = Fence()
    hit = [False]

    def on_fence() -> None:
        hit[0] = True
        event.signal()

    cancels = [fence.then(on_fence) for fence in fences]
    timer = None if deadline is None or event.signaled else loop.call_at(deadline, event.signal)
    try:
        yield event
    finally:
        for cancel in cancels:
            cancel()
        if timer is not None:
            timer.cancel()
    return hit[0]


class WaitQueue:
    """A wait queue: `wake` releases everyone waiting now."""

    def __init__(self) -> None:
        self._event = Fence()

    def wake(self) -> None:
        event, self._event = self._event, Fence()
        event.signal()

    @property
    def event(self) -> Fence:
        """Signals at the next wake."""
        return self._event
