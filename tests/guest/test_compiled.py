# SPDX-License-Identifier: MIT
"""Compiled forms: what Python and pytest would make, and take for fresh."""

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
    """The form says something else than the source: what is imported shows which was taken."""
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
    # A form that pytest had not found fresh it would have written anew.
    assert {
        path.name: path.stat().st_mtime_ns for path in (source.parent / "__pycache__").iterdir()
    } == before


def test_what_is_not_python_has_no_form(tmp_path: Path) -> None:
    path = tmp_path / "template.py"
    path.write_text("{{ name }} = ?")
    assert list(compiled.forms(path, tested=True)) == []


def test_forms_are_made_once(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiled.kept_forms(source, tmp_path / "kept", tested=True)
    monkeypatch.setattr(compiled, "forms", lambda *_, **__: pytest.fail("made again"))
    assert compiled.kept_forms(source, tmp_path / "kept", tested=True) == first


def test_a_changed_source_has_new_forms(source: Path, tmp_path: Path) -> None:
    first = compiled.kept_forms(source, tmp_path / "kept", tested=False)
    source.write_text("VALUE = 2\n")
    assert compiled.kept_forms(source, tmp_path / "kept", tested=False) != first


def test_a_damaged_form_is_made_again(source: Path, tmp_path: Path) -> None:
    first = compiled.kept_forms(source, tmp_path / "kept", tested=True)
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    assert compiled.kept_forms(source, tmp_path / "kept", tested=True) == first


def test_equal_sources_at_two_places_are_two(tmp_path: Path) -> None:
    """A code object knows the file that it came from."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("VALUE = 1\n")
    found = [
        compiled.kept_forms(tmp_path / name / "__init__.py", tmp_path / "kept", tested=False) for name in "ab"
    ]
    assert found[0] != found[1]
