# SPDX-License-Identifier: MIT
"""Compiled forms: equal to those of Python and pytest, and fresh for both."""

from __future__ import annotations

import importlib.util
import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest

from guest import compiled


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "test_it.py"
    path.write_text("def test_it():\n    value = 3\n    assert value == 4\n")
    return path


def write(found) -> None:
    for path, content in found:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def test_python_takes_the_compiled_form(tmp_path: Path) -> None:
    """The compiled form differs from the source, so that an import shows which was used."""
    path = tmp_path / "module.py"
    path.write_text("VALUE = 1")
    ((name, content),) = compiled.forms(path, tested=False)
    assert name == Path(importlib.util.cache_from_source(str(path)))
    other = marshal.dumps(compile("VALUE = 2", str(path), "exec"))
    write([(name, content[:16] + other)])
    done = subprocess.run(
        [sys.executable, "-c", "import module; print(module.VALUE)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "2\n", done.stderr


def test_pytest_takes_its_form_and_need_not_compile(source: Path) -> None:
    write(compiled.forms(source, tested=True))
    before = {path.name: path.stat().st_mtime_ns for path in (source.parent / "__pycache__").iterdir()}
    assert len(before) == 2
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            ".",
            source.name,
        ],
        cwd=source.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "assert 3 == 4" in done.stdout
    # pytest would have rewritten a form that it did not find fresh.
    assert {
        path.name: path.stat().st_mtime_ns for path in (source.parent / "__pycache__").iterdir()
    } == before


def test_what_is_not_python_has_no_form(tmp_path: Path) -> None:
    path = tmp_path / "template.py"
    path.write_text("{{ name }} = ?")
    assert list(compiled.forms(path, tested=True)) == []


def compiled_files(source: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (source.parent / "__pycache__").iterdir()}


def test_only_what_has_changed_is_compiled(source: Path) -> None:
    compiled.refresh([(source, True)])
    first = compiled_files(source)
    assert len(first) == 2
    compiled.refresh([(source, True)])
    assert compiled_files(source) == first
    source.write_text("VALUE = 3\n")
    os.utime(source, (1, 1))
    compiled.refresh([(source, True)])
    assert all(compiled_files(source)[name] > when for name, when in first.items())


def test_what_is_compiled_is_taken_for_fresh(source: Path) -> None:
    """For Python, which compares times: a second import writes nothing."""
    compiled.refresh([(source, False)])
    first = compiled_files(source)
    subprocess.run([sys.executable, "-c", f"import {source.stem}"], cwd=source.parent, check=True)
    assert compiled_files(source) == first


def test_the_form_of_pytest_is_made_only_of_what_it_compiles(source: Path) -> None:
    compiled.refresh([(source, False)])
    assert list(compiled_files(source)) == [compiled.place(source, compiled.TAG).name]


def test_sources_that_are_wrong_are_left_to_the_guest(source: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def\n")
    compiled.refresh([(wrong, True), (source, False)])
    assert list(compiled_files(source)) == [compiled.place(source, compiled.TAG).name]


def test_a_project_that_cannot_be_written_is_left_to_the_guest(source: Path) -> None:
    (source.parent / "__pycache__").write_text("in the way")
    compiled.refresh([(source, True)])
    assert (source.parent / "__pycache__").read_text() == "in the way"
