# SPDX-License-Identifier: MIT
"""Platforms of the mock, and the page that lists them for users."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mock.driver.platform import PLATFORMS, find_platform

PAGE = Path(__file__).resolve().parents[3] / "docs" / "mock.md"


def test_page_lists_the_platforms_that_there_are() -> None:
    _, _, table = PAGE.read_text(encoding="utf-8").partition("| platform of the mock |")
    rows, _, _ = table.partition("\n\n")
    assert re.findall(r"^\| `(.+?)` \|", rows, re.MULTILINE) == list(PLATFORMS)


def test_unknown_platform_is_an_error_that_names_them() -> None:
    with pytest.raises(ValueError, match=f"no platform 'a770': there are {', '.join(PLATFORMS)}"):
        find_platform("a770")
