# SPDX-License-Identifier: MIT
"""A cache of its own for every test."""

from pathlib import Path

import pytest

from guest import debian


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache stays as it is."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("SVMCTS_CACHE", str(directory))
    debian.mirror.cache_clear()
    return directory
