# SPDX-License-Identifier: MIT
"""Fixtures and settings of all tests of the project."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _heeded_signals() -> Iterator[None]:
    """Let signals end the programs that tests start, even if pytest was started to ignore them (nohup, ``&`` in a
    script): a program inherits an ignored signal, but not a handler.
    """
    ignored = [
        number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_IGN
    ]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
