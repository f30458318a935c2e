# SPDX-License-Identifier: MIT
"""pytest outside of the environment that ``make setup`` makes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.needed import LIST, missing

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that needs one library more than are installed."""
    for name in ("conftest.py", "pytest.ini"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "common", tmp_path / "common", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / LIST).parent.mkdir()
    (tmp_path / LIST).write_text(
        (ROOT / LIST).read_text(encoding="utf-8") + "not-a-library\n", encoding="utf-8"
    )
    return tmp_path


def test_pytest_outside_of_the_environment_ends_in_one_line(checkout: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (pytest.ExitCode.USAGE_ERROR, "")
    assert ended.stderr == (
        f"svm-cts: {sys.executable} lacks not-a-library: make setup, and use .venv/bin/pytest\n"
    )


def test_only_libraries_for_this_python_are_needed(checkout: Path) -> None:
    with (checkout / LIST).open("a", encoding="utf-8") as file:
        file.write("neither-a-library; python_version < '3'\n")
    assert missing(checkout) == ["not-a-library"]


def test_this_environment_and_a_wheel_lack_nothing(tmp_path: Path) -> None:
    assert not missing(ROOT)
    assert not missing(tmp_path)
