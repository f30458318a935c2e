# SPDX-License-Identifier: MIT
"""Starting QEMU, with a program that pretends to be QEMU."""

from __future__ import annotations

import dataclasses
import gzip
import os
from pathlib import Path

import pytest

from guest import GuestError
from guest.channels import Channels
from guest.machine import NODES, SWAP
from guest.modules import Module
from guest.start import Cold, Parts, guest_memory, memory_file, path_of
from tests.guest import made, pretended


def words(process: int) -> list[str]:
    return Path(f"/proc/{process}/cmdline").read_text().split("\0")


def test_a_kernel_is_booted_with_its_gpus(parts: Parts, channels: Channels, tmp_path: Path) -> None:
    with Cold(parts)(pretended.place(tmp_path / "run"), channels, [{"driver": "vfio-user-pci"}]) as process:
        line = words(process.pid)
        assert '{"driver": "vfio-user-pci"}' in line
        assert line[line.index("-kernel") + 1] == str(parts.kernel.boot)
        process.kill()
    assert not (tmp_path / "run/initrd").exists()


def test_the_guest_is_told_the_rate_of_its_clock(parts: Parts, channels: Channels, tmp_path: Path) -> None:
    """The parameter is before those of the user, which come last."""
    parts = pretended.changed(parts, machine=pretended.Machine(gpus=0, memory=1 << 20, options=("quiet",)))
    with Cold(parts)(pretended.place(tmp_path / "run"), channels, []) as process:
        line = words(process.pid)
        assert line[line.index("-append") + 1].endswith(" tsc_early_khz=2000000 quiet")
        process.kill()


def test_driver_gets_its_parameters_when_it_is_loaded(parts: Parts, tmp_path: Path) -> None:
    """The kernel would keep them for a module that is built in, or for modprobe."""
    options = ("xe.wedged_mode=0", "quiet", "other.a=1", "xe.svm-notifier-size=2M")
    parts = pretended.changed(parts, machine=pretended.Machine(gpus=0, options=options))
    assert parts.booted.options == ("quiet", "other.a=1")
    assert parts.driver(tmp_path) == [
        {"path": str(tmp_path / "xe.ko"), "parameters": "wedged_mode=0 svm-notifier-size=2M"}
    ]
    assert (tmp_path / "xe.ko").read_bytes() == parts.kernel.driver[0].elf


def test_driver_is_loaded_from_its_own_file(parts: Parts, tmp_path: Path) -> None:
    """A compressed module is written uncompressed first."""
    own = tmp_path / "build/xe.ko"
    own.parent.mkdir()
    own.write_bytes(made.module("xe"))
    packed = tmp_path / "build/drm-exec.ko.gz"
    packed.write_bytes(gzip.compress(made.module("drm_exec")))
    modules = [Module.read(packed), Module.read(own)]
    parts = pretended.changed(parts, kernel=dataclasses.replace(parts.kernel, driver=modules))
    place = tmp_path / "run"
    place.mkdir()
    assert [one["path"] for one in parts.driver(place)] == [str(place / "drm_exec.ko"), str(own)]
    assert (place / "drm_exec.ko").read_bytes() == made.module("drm_exec")


def test_a_qemu_that_does_not_come_up_is_quoted(
    parts: Parts, channels: Channels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRETEND_DIES", "qemu: no such machine")
    with pytest.raises(GuestError, match=r"QEMU ended .*\(qemu: no such machine\)"):
        Cold(parts)(pretended.place(tmp_path / "run"), channels, [])


def test_a_qemu_is_killed_when_it_cannot_be_set_up(parts: Parts, channels: Channels, tmp_path: Path) -> None:
    with guest_memory() as memory, pytest.raises(KeyboardInterrupt):
        place, paths = pretended.place(tmp_path / "run"), [path_of(file) for file in memory]
        launched = parts.launched(place, tmp_path / "initrd", paths, channels, inherit=memory)
        with launched as (process, _):
            raise KeyboardInterrupt
    assert process.returncode == -9


def test_memory_is_gone_with_the_last_process_that_has_it() -> None:
    with guest_memory() as memory:
        assert len(memory) == NODES
        for file in memory:
            assert os.readlink(path_of(file)).startswith("/memfd:")  # noqa: PTH115 (not a path)
    for file in memory:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(file)


def test_a_disk_to_swap_to_takes_no_place_until_it_is_used() -> None:
    with memory_file("swap", SWAP) as file:
        status = os.fstat(file)
        assert (status.st_size, status.st_blocks) == (SWAP, 0)
