# SPDX-License-Identifier: MIT
"""A short soak with hostile batches; tests/emulator/soak.py runs a long one."""

from __future__ import annotations

import pytest

from tests.emulator.soak import Soak


@pytest.mark.parametrize("seed", range(3))
def test_hostile_batches_do_not_take_the_gpu_down(seed: int) -> None:
    soak = Soak(seed)
    for _ in range(60):
        soak.round()
    soak.check()
