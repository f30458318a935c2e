# SPDX-License-Identifier: MIT
"""Memory with room for batches and data, and a way to run a batch in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu import Batch, Engine, Execution, Reason
from tests.gpu.space import BATCH, DATA, SECOND, Pages


@pytest.fixture
def space() -> Pages:
    return Pages([address // 4096 + page for address in (BATCH, SECOND, DATA) for page in range(4)])


@pytest.fixture
def run(space: Pages) -> Callable[..., Execution]:
    """Run a batch to its end."""

    def run_batch(batch: Batch, engine: Engine | None = None) -> Execution:
        space.poke(BATCH, batch.encode(BATCH))
        execution = Execution(space, BATCH, engine=engine)
        stop = execution.run(10_000)
        assert stop.reason is Reason.FINISHED, stop
        return execution

    return run_batch
