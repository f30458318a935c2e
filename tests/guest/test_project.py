# SPDX-License-Identifier: MIT
"""The part of the project that workers import before they know what to run."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from guest import PROJECT, project, worker
from guest.compiled import FORMS, TAG
from guest.cpio import Writer
from tests.guest.test_cpio import entries

PLACE = str(project.PLACE).lstrip("/")
PROGRAM = """
import contextlib, json, runpy, sys
waiting = runpy.run_path(sys.argv[1])
waiting["remember_distributions"]()
waiting["warm_up"]()
imported = dict(sys.modules)
import pytest
with open("said", "w") as file, contextlib.redirect_stdout(file):
    assert pytest.main(["--version", "--version"]) == 0  # the session that comes later
    assert pytest.main(["--backend", "driver", "--collect-only", "-q", "suites"]) == pytest.ExitCode.NO_TESTS_COLLECTED
assert all(sys.modules.get(name) is module for name, module in imported.items())
ledgers = imported["fixtures.ledger"].load.cache_info().currsize
print(json.dumps([sorted(imported), ledgers, sys.path]))
"""


def packed(checkout: Path) -> dict[str, bytes]:
    """Packed files of a checkout, with their contents."""
    file = io.BytesIO()
    writer = Writer(file)
    project.pack(writer, checkout)
    writer.close()
    found = entries(file.getvalue()).items()
    return {
        name.removeprefix(f"{PLACE}/"): content for name, (_, _, content) in found if name.startswith(PLACE)
    }


def unpacked(directory: Path) -> Path:
    """Packed files of this project, at another place."""
    for name, content in packed(PROJECT).items():
        if content and not name.endswith(".pyc"):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
    (directory / project.FOLDER).mkdir()
    (directory / project.FOLDER / "test_none.py").touch()
    return directory


def test_what_is_packed_is_enough_for_a_worker(tmp_path: Path) -> None:
    """With nothing else of the project a worker imports the plugin and what tests use, and reads the ledger."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, worker.__file__],
        cwd=unpacked(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    modules, ledgers, path = json.loads(done.stdout)
    wanted = {
        "fixtures.plugin.runner",
        "fixtures.given",
        "fixtures.machine",
        "fixtures.xe.coredump",
        "gpu.batch",
        "ioctl.xe",
        "hypothesis",
    }
    assert wanted <= set(modules)
    assert ledgers == 1
    assert str(tmp_path) not in path  # a run may be of another checkout
    assert "conftest" not in modules


def test_modules_are_packed_with_their_compiled_forms(tmp_path: Path) -> None:
    for name in (*project.FILES, "fixtures/a.py", "gpu/b.py", "suites/vm/test_c.py", "mock/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    names = packed(tmp_path).keys()
    assert {f"fixtures/__pycache__/a.{tag}.pyc" for tag in FORMS} <= names
    assert f"gpu/__pycache__/b.{TAG}.pyc" in names
    assert "suites" in names
    assert not any(name.startswith(("suites/", "mock")) for name in names)


@pytest.mark.parametrize("change", ["content", "name", "another file"])
def test_any_change_is_another_digest(tmp_path: Path, change: str) -> None:
    for name in (*project.FILES, "fixtures/a.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    first, file = project.digest(tmp_path), tmp_path / "fixtures/a.py"
    assert project.digest(tmp_path) == first
    if change == "content":
        file.write_text("2")
    elif change == "name":
        file.rename(tmp_path / "fixtures/b.py")
    else:
        (tmp_path / "fixtures/b.py").write_text("")
    assert project.digest(tmp_path) != first
