# SPDX-License-Identifier: MIT
"""The private root of the test programs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from guest import GuestError, debian
from guest.debian import Package
from guest.igt import tree


class Archive:
    """Stand-in for Debian's archive."""

    packages_found = (Package("igt-gpu-tools-tests", "2.5-1", "pool/x.deb", 1, ""),)

    def __init__(self, *releases: str) -> None:
        assert releases == ("sid",)

    def refresh(self) -> None:
        pass

    def packages(self, _pattern: str) -> list[Package]:
        return list(self.packages_found)

    def fetch_closure(self, *names: str) -> list[Path]:
        assert "igt-gpu-tools-tests" in names
        return []


def unpack(_files: Iterable[Path], directory: Path) -> None:
    for place in ("usr/bin", "usr/lib", "usr/lib64", "usr/sbin", str(tree.TESTS)):
        (directory / place).mkdir(parents=True)
    (directory / tree.TESTS / "xe_vm").touch()
    (directory / tree.TESTS / "data").mkdir()


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(debian, "Archive", Archive)
    monkeypatch.setattr(debian, "unpack", unpack)
    tree.build(tmp_path)
    return tmp_path


def test_what_the_base_system_has_is_there(built: Path) -> None:
    assert (built / "lib64").readlink() == Path("usr/lib64")
    assert (built / "usr/bin/sh").readlink() == Path("dash")
    assert all((built / name).is_dir() for name in ("proc", "sys", "dev", "tmp"))


def test_version_and_programs_are_known(built: Path) -> None:
    assert tree.version(built) == "2.5-1"
    assert tree.programs(built) == ["xe_vm"]


def test_a_release_without_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "Archive", Archive)
    monkeypatch.setattr(Archive, "packages_found", ())
    with pytest.raises(GuestError, match="igt-gpu-tools-tests"):
        tree.build(tmp_path)


def test_subtests_are_listed_by_the_tree_s_own_loader(built: Path) -> None:
    loader = built / tree.LOADER
    loader.write_text("#!/bin/sh\necho a; echo b\n")
    loader.chmod(0o755)
    assert tree.subtests(built, "xe_vm") == ["a", "b"]
    loader.write_text("#!/bin/sh\necho E: no >&2; exit 1\n")
    with pytest.raises(GuestError, match="xe_vm"):
        tree.subtests(built, "xe_vm")
