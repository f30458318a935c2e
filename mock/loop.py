# SPDX-License-Identifier: MIT
"""The one thread of the mock: descriptors, timers, and work for later, in that order."""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum

Callback = Callable[[], object]


class Order(IntEnum):
    """Priority of descriptors that are ready at the same time. A client's munmap or close ends before its next ioctl
    begins, so changes of memory and files are handled before system calls.
    """

    MEMORY = 0
    FILES = 1
    PROCESSES = 2
    CALLS = 3


class _Timer:
    """Implements kernel.Timer."""

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class EventLoop:
    """Implements kernel.Loop.

    ``settle`` runs after every callback, and delivers what that left. Exceptions of callbacks go to ``failed``; the
    loop continues.
    """

    def __init__(self, settle: Callback, failed: Callable[[str, BaseException], None]) -> None:
        self._settle = settle
        self._failed = failed
        self._epoll = select.epoll()
        self._handlers: dict[int, tuple[Order, Callback]] = {}
        self._timers: list[tuple[float, int, _Timer]] = []
        self._serial = itertools.count()
        self._ready: deque[Callback] = deque()
        self._running = False

    def time(self) -> float:
        return time.monotonic()

    def call_soon(self, callback: Callback) -> None:
        self._ready.append(callback)

    def call_at(self, when: float, callback: Callback) -> _Timer:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (when, next(self._serial), timer))
        return timer

    def watch(self, fd: int, order: Order, callback: Callback, events: int = select.EPOLLIN) -> None:
        """Call back while the descriptor is readable or hung up."""
        self._handlers[fd] = (order, callback)
        self._epoll.register(fd, events)

    def forget(self, fd: int) -> None:
        """Undo watch(); call it before the descriptor is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def stop(self) -> None:
        """Let ``run`` return after the current callback."""
        self._running = False

    def run(self) -> None:
        """Run until stop() is called."""
        self._running = True
        while self._running:
            self._wait()
            self._fire_timers()
            # One item a turn: a GPU time slice must not keep system calls waiting for the next.
            if self._ready:
                self._call(self._ready.popleft())

    def _wait(self) -> None:
        timeout: float | None = None
        if self._ready:
            timeout = 0
        elif self._timers:
            timeout = max(0.0, self._timers[0][0] - time.monotonic())
        ready = self._epoll.poll(timeout)
        if len(ready) > 1:
            ready.sort(key=self._rank)
        for fd, _ in ready:
            handler = self._handlers.get(fd)
            if handler is not None and self._running:
                self._call(handler[1])

    def _rank(self, event: tuple[int, int]) -> Order:
        handler = self._handlers.get(event[0])
        return handler[0] if handler is not None else Order.CALLS

    def _fire_timers(self) -> None:
        if not self._timers:
            return
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                self._call(callback)

    def _call(self, callback: Callback) -> None:
        try:
            callback()
        except Exception as error:
            self._failed(getattr(callback, "__qualname__", "callback"), error)
        try:
            self._settle()
        except Exception as error:
            self._failed("settle", error)
