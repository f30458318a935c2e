# SPDX-License-Identifier: MIT
"""Fences: single, array and timeline chain (drivers/dma-buf/dma-fence*.c)."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator

Callback = Callable[[], None]

_contexts = itertools.count(1)


def new_context() -> int:
    """A fresh fence context: fences of one context signal in order of their sequence number."""
    return next(_contexts)


_pending: deque[Callback] = deque()
_draining = False


def _drain() -> None:
    global _draining  # noqa: PLW0603 - one thread, one queue of callbacks
    if _draining:
        return
    _draining = True
    try:
        while _pending:
            _pending.popleft()()
    finally:
        _draining = False


class Fence:
    """Signalled once, permanently. ``error`` is 0 or a negative errno."""

    def __init__(self, context: int = 0, seqno: int = 0) -> None:
        self.context = context
        self.seqno = seqno
        self.error = 0
        self._signaled = False
        self._callbacks: dict[int, Callback] = {}
        self._serial = itertools.count()

    @property
    def signaled(self) -> bool:
        return self._signaled

    def signal(self, error: int = 0) -> None:
        """Signal once; later calls change nothing (dma_fence_signal)."""
        if self._signaled:
            return
        self._signaled = True
        self.error = error
        callbacks, self._callbacks = self._callbacks, {}
        _pending.extend(callbacks.values())
        _drain()

    def then(self, callback: Callback) -> Callback:
        """Call back on signal, at once when already signalled. Returns a function that cancels.

        If a callback signals another fence, that fence's callbacks run after it returns: long chains do not nest.
        """
        if self._signaled:
            callback()
            return lambda: None
        key = next(self._serial)
        self._callbacks[key] = callback

        def cancel() -> None:
            self._callbacks.pop(key, None)

        return cancel


def stub() -> Fence:
    """A fence that is already signalled (dma_fence_get_stub)."""
    fence = Fence()
    fence.signal()
    return fence


class FenceArray(Fence):
    """Signals when all of its fences have; carries the first error seen."""

    def __init__(self, fences: Iterable[Fence]) -> None:
        super().__init__(new_context(), 1)
        pending = [fence for fence in fences if not fence.signaled]
        self._left = len(pending)
        self._first_error = 0
        if not pending:
            self.signal()
        for fence in pending:
            fence.then(lambda fence=fence: self._one_done(fence))  # type: ignore[misc]

    def _one_done(self, fence: Fence) -> None:
        self._left -= 1
        self._first_error = self._first_error or fence.error
        if self._left == 0:
            self.signal(self._first_error)


class FenceChain(Fence):
    """One point of a timeline: signals when its own fence and all earlier points have."""

    def __init__(self, previous: Fence | None, fence: Fence, seqno: int) -> None:
        if isinstance(previous, FenceChain) and seqno > previous.seqno:
            super().__init__(previous.context, seqno)
            self.previous_seqno = previous.seqno
        else:
            # An out-of-order point starts a new context; sequence numbers never go back.
            if isinstance(previous, FenceChain):
                seqno = max(previous.seqno, seqno)
            super().__init__(new_context(), seqno)
            self.previous_seqno = 0
        self.fence = fence
        self.previous = previous
        fence.then(self._check)
        if previous is not None:
            previous.then(self._check)

    def _check(self) -> None:
        if self.fence.signaled and (self.previous is None or self.previous.signaled):
            self.signal(self.fence.error)

    def walk(self) -> Iterator[Fence]:
        """The node itself and the unsignalled ones before it; drops signalled nodes on the way."""
        node: Fence | None = self
        while node is not None:
            yield node
            if not isinstance(node, FenceChain):
                return
            while isinstance(node.previous, FenceChain) and node.previous.fence.signaled:
                node.previous = node.previous.previous
            if (
                node.previous is not None
                and not isinstance(node.previous, FenceChain)
                and node.previous.signaled
            ):
                node.previous = None
            node = node.previous

    def find(self, seqno: int) -> Fence | None:
        """The fence to wait on for a point (dma_fence_chain_find_seqno); None: that point has signalled."""
        for node in self.walk():
            if node.context != self.context:
                return node
            if not isinstance(node, FenceChain) or node.previous_seqno < seqno:
                return node
        return None
