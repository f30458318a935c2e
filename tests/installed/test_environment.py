# SPDX-License-Identifier: MIT
"""The environment of a checkout: what is said while it is filled."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from common.heartbeat import Progress
from installed import environment

SAYS = """\
Collecting first==1.0 (from -r a.lock (line 1))
  Using cached first-1.0-py3-none-any.whl (1 kB)
Ignoring second: markers 'python_version < "3.0"' don't match your environment
Requirement already satisfied: third==1 in /x (from -r a.lock (line 3)) (1.0)
Requirement already satisfied: third in /x (from first) (1.0)
Installing collected packages: first
"""


def pip(folder: Path, status: int) -> list[str]:
    """Something that speaks as pip does."""
    program = folder / "pip.py"
    program.write_text(
        f"import sys\nprint({SAYS!r}, end='')\nprint('careful', file=sys.stderr)\nsys.exit({status})\n"
    )
    return [sys.executable, str(program)]


@pytest.mark.parametrize("status", [0, 1])
def test_each_package_is_a_step(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text("first==1.0 \\\n    --hash=sha256:0\nsecond==2\nthird==1\n")
    told: list[str] = []
    monkeypatch.setattr(Progress, "tell", lambda _, step: told.append(step))
    assert environment.install(lock, pip(tmp_path, status)) == status
    assert told == [
        "1 of 3, first",
        "2 of 3, second",
        "3 of 3, third",
        "3 of 3, third",
        "all are there, installing",
    ]
    said = capfd.readouterr()
    assert said.out == f"svm-cts: {lock}: 3 packages into {Path(sys.prefix).name}\n"
    assert said.err == "careful\n"
