# SPDX-License-Identifier: MIT
"""Loads the suite's pytest plugin (fixtures/plugin) and the fixtures that tests ask for
(fixtures/given.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from common.needed import missing

if absent := missing(Path(__file__).parent):
    print(
        f"svm-cts: {sys.executable} lacks {', '.join(absent)}: make setup, and use .venv/bin/pytest",
        file=sys.stderr,
    )
    raise SystemExit(pytest.ExitCode.USAGE_ERROR)

pytest_plugins = (
    "fixtures.plugin.lab",
    "fixtures.plugin.options",
    "fixtures.plugin.guests",
    "fixtures.plugin.resume",
    "fixtures.plugin.affected",
    "fixtures.plugin.start",
    "fixtures.plugin.case",
    "fixtures.plugin.main",
    "fixtures.plugin.kernel",
    "fixtures.plugin.executed",
    "fixtures.plugin.differing",
    "fixtures.given",
)
