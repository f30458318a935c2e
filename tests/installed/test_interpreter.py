# SPDX-License-Identifier: MIT
"""Choice of the Python for an environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from common.place import ROOT
from installed import interpreter

LIBRARY = "7f0000000000-7f0000001000 r-xp 00000000 08:01 1 /opt/lib/libpython3.11.so.1.0\n"
PROGRAM = "000000400000-000000401000 r-xp 00000000 08:01 1 /usr/bin/python3.11\n"


@pytest.mark.parametrize(
    ("configured", "maps", "is_optimized"),
    [
        ("'--enable-shared'", LIBRARY, False),
        ("'--enable-shared' '--enable-optimizations'", LIBRARY, True),
        ("'--enable-shared'", PROGRAM, True),
        (None, PROGRAM, True),
    ],
)
def test_library_without_profiles_is_not_optimized(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, configured: str | None, maps: str, is_optimized: bool
) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", {"CONFIG_ARGS": configured}.get)
    monkeypatch.setattr(interpreter, "MAPS", tmp_path / "maps")
    interpreter.MAPS.write_text(maps)
    assert interpreter.optimized() is is_optimized


@pytest.mark.parametrize(
    ("is_optimized", "status", "taken"),
    [(False, 0, "distribution"), (False, 1, "own"), (False, None, "own"), (True, 0, "own")],
)
def test_slow_python_gives_way_to_suitable_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_optimized: bool, status: int | None, taken: str
) -> None:
    program = tmp_path / "python3"
    if status is not None:
        program.write_text(f"#!/bin/sh\nexit {status}\n")
        program.chmod(0o755)
    monkeypatch.setattr(interpreter, "DISTRIBUTION", str(program))
    monkeypatch.setattr(interpreter, "optimized", lambda: is_optimized)
    assert interpreter.choose() == (str(program) if taken == "distribution" else sys.executable)


@pytest.mark.parametrize("told", [None, "/usr/bin/true"])
def test_makefile_takes_what_is_chosen_unless_told(tmp_path: Path, told: str | None) -> None:
    program = tmp_path / "python3"
    program.write_text("#!/bin/sh\necho /opt/chosen\n")
    program.chmod(0o755)
    asked = subprocess.run(
        [
            "make",
            "-n",
            f"VENV={tmp_path}/env",
            *([f"PYTHON={told}"] if told else []),
            f"{tmp_path}/env/bin/pip",
        ],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{told or '/opt/chosen'} -m venv {tmp_path}/env" in asked.stdout
