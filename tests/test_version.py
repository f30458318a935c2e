# SPDX-License-Identifier: MIT
"""The version of svm-cts, and unknown commands."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from common import version

ROOT = Path(__file__).resolve().parent.parent


def svmcts(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "svmcts", *words], capture_output=True, text=True, check=False)


def test_version_is_that_of_the_newest_changes() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version.VERSION


def test_version_has_the_commit() -> None:
    done = svmcts("--version")
    assert (done.returncode, done.stdout) == (0, f"{version.text(ROOT)}\n")
    assert version.commit(ROOT)[0] in done.stdout


def test_place_without_git_has_a_version(tmp_path: Path) -> None:
    assert version.text(tmp_path) == f"svm-cts {version.VERSION} ({version.UNKNOWN})"


@pytest.mark.parametrize(
    ("word", "says"), [("gaet", " (did you mean gate or guest?)"), ("xyzzy", ": there are run, doctor, mock")]
)
def test_unknown_command_names_what_is_there(word: str, says: str) -> None:
    done = svmcts(word)
    assert done.returncode == 2
    assert f"no command {word!r}{says}" in done.stderr
