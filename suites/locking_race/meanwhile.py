# SPDX-License-Identifier: MIT
"""Background steps: calls that a thread repeats while the test goes on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from fixtures.patience import patient

DEADLINE = 10.0
"""Seconds that the last step may take after the end of the block (patient)."""
MOST = 300
"""Steps of a thread: more of them, one right after the other, could leave no time for what they race with."""


@contextlib.contextmanager
def meanwhile(*steps: Callable[[int], object], most: int = MOST) -> Iterator[None]:
    """Each of ``steps``, called with 0, 1, 2 ..., in a thread of its own, at least once and until the block ends.

    ``most`` bounds the number of steps.
    What a step raises ends its thread and is raised at the end of the block. A step that does not return within
    DEADLINE fails the test.
    """
    over = threading.Event()
    raised: list[BaseException] = []

    def repeat(step: Callable[[int], object]) -> None:
        number = 0
        try:
            while number != most and not (number and over.is_set()):
                step(number)
                number += 1
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=repeat, args=(step,), daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(patient(DEADLINE))
    assert not any(thread.is_alive() for thread in threads), "background steps did not stop"
    for error in raised:
        raise error
