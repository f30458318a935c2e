# SPDX-License-Identifier: MIT
"""The project's folders in one file: what is in it, and what the guest makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guest import bundle, compiled, init

SOURCE = "def test_it():\n    assert 1\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for folder in bundle.FOLDERS:
        (root / folder).mkdir(parents=True)
    (root / "suites/area").mkdir()
    (root / "suites/area/test_it.py").write_text(SOURCE)
    os.utime(root / "suites/area/test_it.py", ns=(1_700_000_000_123_456_789,) * 2)
    (root / "behaviours/area.yaml").write_bytes(b"\xff\n\0")
    (root / "README.md").write_text("not in a folder of the bundle")
    return root


def unpack(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, list[tuple[str, str]]]:
    """Unpack the project's bundle as init does; returns where, and what is mounted where."""
    mounts: list[tuple[str, str]] = []

    def mount(source: str, target: str, kind: str, options: str = "", flags: int = 0) -> None:
        if kind == "tmpfs":
            Path(target).mkdir()
        else:
            mounts.append((source, target))

    monkeypatch.setattr(init, "mount", mount)
    monkeypatch.setattr(init, "RIG", str(tmp_path / "rig"))
    (tmp_path / "rig").mkdir()
    (tmp_path / "rig/host").symlink_to("/")
    bundle.write(tmp_path / bundle.NAME, project)
    init.unpack_project(str(tmp_path / bundle.NAME), str(project))
    return tmp_path / "rig/unpacked", sorted(mounts)


def test_the_guest_has_the_same_files(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where, mounts = unpack(project, tmp_path, monkeypatch)
    there = {str(path.relative_to(where)): path.read_bytes() for path in where.rglob("*") if path.is_file()}
    assert there == {"suites/area/test_it.py": SOURCE.encode(), "behaviours/area.yaml": b"\xff\n\0"}
    # To the nanosecond: with its time a source stays as old as its compiled form says.
    assert (where / "suites/area/test_it.py").stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert mounts == [
        (f"{where}/{folder}", f"{init.ROOT}{project}/{folder}") for folder in ("behaviours", "suites")
    ]


def test_compiled_forms_are_those_of_this_python_and_pytest(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project / "suites/area/test_it.py"
    compiled.refresh([(source, True)])
    (source.parent / "__pycache__/test_it.cpython-27.pyc").write_bytes(b"of another Python")
    where, _ = unpack(project, tmp_path, monkeypatch)
    forms = {path.name for path in (where / "suites/area/__pycache__").iterdir()}
    assert forms == {f"test_it.{tag}.pyc" for tag in compiled.FORMS}


def test_without_a_bundle_the_guest_has_the_files_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "mount", lambda *_, **__: pytest.fail("something is mounted"))
    init.unpack_project("", "/project")


def test_only_regular_files_are_bundled(project: Path) -> None:
    (project / "suites/link.py").symlink_to("area/test_it.py")
    os.mkfifo(project / "suites/pipe")
    assert {path.name for path in bundle.files(project)} == {"test_it.py", "area.yaml"}
