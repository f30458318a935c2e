# SPDX-License-Identifier: MIT
"""Nothing of a test's machines stays behind."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.emulator.driver import end_machines


@pytest.fixture(autouse=True)
def machines() -> Iterator[None]:
    """Ends the machines of a test."""
    yield
    end_machines()


@pytest.fixture(autouse=True, scope="module")
def mappings() -> Iterator[None]:
    """Python closes what it has mapped when it collects cycles, which no number of descriptors makes it do."""
    yield
    gc.collect()
