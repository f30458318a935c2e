# SPDX-License-Identifier: MIT
"""Choice of QEMU, and how to start one from packages that were only unpacked."""

from __future__ import annotations

from pathlib import Path

import pytest

from guest import GuestError, debian, qemu

DEVICES = 'name "vfio-user-pci", bus PCI'


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all of PATH, except for the shell."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.delenv("SVMCTS_QEMU", raising=False)
    return directory


def program(file: Path, devices: str = DEVICES, version: str = "11.1.3") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"#!/bin/sh\ncase $* in *help) echo '{devices}';; *) echo 'QEMU emulator version {version} (x)';; esac\n"
    )
    file.chmod(0o755)
    return file


def test_a_new_enough_qemu_of_the_machine_is_used(path: Path) -> None:
    own = program(path / qemu.PROGRAM)
    found = qemu.find()
    assert found is not None
    assert (found.command, found.version) == ((str(own),), "11.1.3")


def test_an_old_one_is_not(path: Path) -> None:
    program(path / qemu.PROGRAM, devices='name "vfio-pci", bus PCI')
    assert qemu.find() is None


def test_the_users_choice_comes_first(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path / qemu.PROGRAM)
    chosen = program(tmp_path / "own/qemu")
    monkeypatch.setenv("SVMCTS_QEMU", str(chosen))
    found = qemu.find()
    assert found is not None
    assert found.program == chosen


@pytest.mark.parametrize("devices", [None, "nothing"])
def test_a_choice_that_does_not_do_is_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: str | None
) -> None:
    if devices:
        program(tmp_path / "own/qemu", devices=devices)
    monkeypatch.setenv("SVMCTS_QEMU", str(tmp_path / "own/qemu"))
    with pytest.raises(GuestError, match=r"has no vfio-user-pci device: QEMU 10\.1 or later is needed"):
        qemu.find()


def tree(directory: Path, devices: str = DEVICES) -> None:
    """An unpacked QEMU, whose dynamic loader is a shell script that leaves out what is only for a loader."""
    program(directory / "usr/bin" / qemu.PROGRAM, devices)
    loader = directory / "usr/lib64/ld-linux-x86-64.so.2"
    loader.parent.mkdir(parents=True)
    loader.write_text('#!/bin/sh\n[ "$1" = --library-path ] || exit 9\nshift 2\nexec "$@"\n')
    loader.chmod(0o755)


def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, devices: str = DEVICES) -> list[Path]:
    """Have Debian's packages be one file that is unpacked into such a tree."""
    files = [tmp_path / "qemu.deb"]
    files[0].touch()
    monkeypatch.setattr(debian.Archive, "refresh", lambda _: None)
    monkeypatch.setattr(debian.Archive, "fetch_closure", lambda *_: files)
    monkeypatch.setattr(debian, "unpack", lambda _, directory: tree(directory, devices))
    return files


def test_without_one_debians_is_unpacked_once(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fetched(monkeypatch, tmp_path)
    found = qemu.provide()
    assert not files[0].exists()
    monkeypatch.setattr(debian, "unpack", lambda *_: pytest.fail("unpacked again"))
    assert qemu.provide() == found
    assert found.has_device()
    loader, _, libraries, started, *options = found.command
    assert loader.endswith("usr/lib64/ld-linux-x86-64.so.2")
    assert all(found.program.parents[2] in Path(path).parents for path in (loader, *libraries.split(":")))
    assert started == str(found.program)
    assert options[::2] == ["-L", "-L"]
    assert found.environment["QEMU_MODULE_DIR"].startswith(str(found.program.parents[2]))


def test_a_debian_qemu_without_the_device_is_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched(monkeypatch, tmp_path, devices="nothing")
    with pytest.raises(GuestError, match=r"trixie-backports \(11\.1\.3\) has no vfio-user-pci device"):
        qemu.provide()
    assert qemu.find() is None
