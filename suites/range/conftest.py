# SPDX-License-Identifier: MIT
"""Shared by tests of ranges: a GPU access, and the size of the range that it created or used."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fixtures.given import Sentinel
from fixtures.xe.counters import Counters
from fixtures.xe.queue import Queue

Cut = Callable[[Queue, int], str | None]
"""See ``cut``."""


@pytest.fixture
def cut(counters: Counters, sentinel: Sentinel) -> Cut:
    """``cut(queue, address)``: the GPU stores there; the size class of the range in which it faulted, 4K, 64K or 2M.

    None if it did not fault. A fault that the driver serves in several tries counts several times (before 7.0 it takes
    two to move less than 2M); ranges of several sizes fail the test.
    """

    def store(queue: Queue, address: int) -> str | None:
        before = counters.snapshot()
        queue.store(address, sentinel())
        faulted = counters.by_size("pagefault_count", since=before)
        assert len(faulted) <= 1, f"one store at {address:#x} used ranges of several sizes: {faulted}"
        return next(iter(faulted), None)

    return store
