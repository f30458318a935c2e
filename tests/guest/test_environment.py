# SPDX-License-Identifier: MIT
"""The archive of the Python environment."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from guest import GuestError, environment
from guest.cpio import Writer
from guest.run import LOCK
from tests.guest.test_cpio import entries


def test_the_environment_is_the_interpreter_its_library_and_what_is_locked() -> None:
    names = {str(path) for path in environment.contents(LOCK)}
    assert sys.executable in names
    assert os.__file__ in names
    assert pytest.__file__ in names
    assert not any("/site-packages/mypy/" in name for name in names)


def test_every_installed_pytest_plugin_is_there_with_what_it_needs(tmp_path: Path) -> None:
    """The waiting worker loads all of them: it imports nothing if one of them is missing."""
    lock = tmp_path / "run.lock"
    lock.write_text("pytest==1 \\\n")
    names = {str(path) for path in environment.contents(lock)}
    for part in (
        "random_order/plugin.py",
        "hypothesis/core.py",
        "execnet/gateway.py",
        "sortedcontainers/__init__.py",
    ):
        assert any(name.endswith(f"/site-packages/{part}") for name in names), part


def test_the_archive_does_not_depend_on_what_the_interpreter_was_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run is started by python3 (pytest) or by python (make)."""
    found = []
    for name in environment.names():
        monkeypatch.setattr(sys, "executable", str(name))
        found.append(environment.digest(environment.contents(LOCK)))
    assert len(found) > 1
    assert len(set(found)) == 1


def test_modules_of_pytest_plugins_are_told_apart() -> None:
    files = environment.contents(LOCK)
    tested = {path.parent.name for path, is_tested in files.items() if is_tested}
    assert "hypothesis" in tested
    assert "_pytest" not in tested


def test_a_package_that_is_missing_says_what_to_do(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    lock.write_text("no-such-distribution==1 \\\n")
    with pytest.raises(
        GuestError, match=r"no-such-distribution of run\.lock is not installed in .*: make setup"
    ):
        environment.contents(lock)


def test_a_changed_file_makes_another_archive(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("1")
    first = environment.digest([file])
    assert environment.digest([file]) == first
    os.utime(file, (1, 1))
    assert environment.digest([file]) != first


def test_an_object_without_its_symbols_still_runs(tmp_path: Path) -> None:
    """The dynamic loader wants segments only; any small program shows it."""
    program = Path(shutil.which("true") or "/bin/true").resolve()
    part = environment.loaded_part(program.read_bytes())
    assert len(part) <= program.stat().st_size
    (tmp_path / "true").write_bytes(part)
    (tmp_path / "true").chmod(0o755)
    assert subprocess.run([tmp_path / "true"], check=False).returncode == 0


def test_directories_that_are_whole_are_named(tmp_path: Path) -> None:
    for path in ("whole/a.py", "whole/__pycache__/a.pyc", "part/a.py", "part/left_out.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    file = io.BytesIO()
    writer = Writer(file)
    for path in ("whole/a.py", "part/a.py"):
        writer.host(tmp_path / path)
    environment.add_whole_directories(writer, "test")
    writer.close()
    named = entries(file.getvalue())[f"{environment.WHOLE[1:]}/test"][2].decode().split()
    assert str(tmp_path / "whole") in named
    assert str(tmp_path / "part") not in named
    assert str(tmp_path) not in named


def test_what_a_run_imports_of_the_project(tmp_path: Path) -> None:
    for path in ("conftest.py", "fixtures/a.py", "gpu/b.py", "mock/c.py", "suites/vm/test_d.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    sources = {
        str(path.relative_to(tmp_path)): tested for path, tested in environment.project_sources(tmp_path)
    }
    assert sources == {
        "conftest.py": True,
        "fixtures/a.py": True,
        "gpu/b.py": False,
        "suites/vm/test_d.py": True,
    }
