# SPDX-License-Identifier: MIT
"""A separate cache for every test, and the parts of a pretended guest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from guest import debian
from guest.channels import Channels
from guest.machine import PORTS
from guest.start import Parts
from tests.guest import pretended


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache: the user's is not touched."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("SVMCTS_CACHE", str(directory))
    debian.mirror.cache_clear()
    return directory


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """Parts of a guest whose QEMU is pretended."""
    return pretended.parts(tmp_path)


@pytest.fixture
def channels() -> Iterator[Channels]:
    """Channels of a guest, without a peer."""
    with Channels(PORTS) as made:
        yield made
