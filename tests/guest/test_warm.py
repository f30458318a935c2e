# SPDX-License-Identifier: MIT
"""Templates: their inputs, how they are made and used, and damaged ones."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import GuestError, initrd, project, warm
from guest.channels import Channels
from guest.machine import PORTS, Machine, Topology
from guest.modules import Module
from guest.start import Parts, memory_file, path_of
from guest.warm import CopyError, Warm
from tests.guest import pretended


def test_a_debian_kernel_under_software_emulation_starts_warm(parts: Parts) -> None:
    assert warm.possible(parts)


def test_kernel_built_here_starts_warm(parts: Parts) -> None:
    kernel = dataclasses.replace(parts.kernel, debian=None, build="7.3.4-deb1")
    assert warm.possible(pretended.changed(parts, kernel=kernel))


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: {"accelerator": "kvm"},
        lambda parts: {"kernel": dataclasses.replace(parts.kernel, debian=None)},
        lambda parts: {"machine": dataclasses.replace(parts.machine, options=("quiet",))},
        lambda parts: {"machine": dataclasses.replace(parts.machine, options=("i915.wedged_mode=0",))},
    ],
    ids=["kvm", "built by the user", "a kernel parameter", "a parameter of another module"],
)
def test_what_is_likely_to_be_of_one_run_boots(
    parts: Parts, change: Callable[[Parts], dict[str, object]]
) -> None:
    assert not warm.possible(pretended.changed(parts, **change(parts)))


def test_warm_starts_can_be_switched_off(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVMCTS_WARM", "0")
    assert not warm.possible(parts)


def touched(parts: Parts) -> dict[str, object]:
    os.utime(parts.qemu.program, (1, 1))
    return {}


CHANGES: dict[str, Callable[[Parts], dict[str, object]]] = {
    "QEMU": touched,
    "kernel": lambda parts: {"kernel": dataclasses.replace(parts.kernel, boot=Path("/other/vmlinux"))},
    "modules": lambda parts: {
        "kernel": dataclasses.replace(parts.kernel, files=[Module("overlay", b"\x7fELF other", {})])
    },
    "a module of the same size": lambda parts: {
        "kernel": dataclasses.replace(
            parts.kernel,
            files=[dataclasses.replace(module, elf=module.elf[:-1] + b"x") for module in parts.kernel.files],
        )
    },
    "environment": lambda parts: {"environment": Path("/other/environment.cpio")},
    "GPUs": lambda parts: {"machine": dataclasses.replace(parts.machine, gpus=2)},
    "topology": lambda parts: {"machine": Machine(gpus=2, topology=Topology.FAR)},
    "memory": lambda parts: {"machine": dataclasses.replace(parts.machine, memory=2 << 20)},
    "clock": lambda parts: {"rate": 3_000_000},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_template_is_of_everything_that_it_was_made_of(
    parts: Parts, change: Callable[[Parts], dict[str, object]]
) -> None:
    first = warm.digest(parts)
    assert warm.digest(parts) == first
    assert warm.digest(pretended.changed(parts, **change(parts))) != first


@pytest.mark.parametrize("name", initrd.SOURCES)
def test_a_template_is_of_the_programs_inside(
    parts: Parts, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = warm.digest(parts)
    (tmp_path / name).write_text("other")
    monkeypatch.setitem(initrd.SOURCES, name, tmp_path / name)
    assert warm.digest(parts) != first


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose files can be changed."""
    directory = tmp_path / "checkout"
    directory.mkdir()
    for name in project.FILES:
        (directory / name).write_text("1")
    for module in warm, initrd:
        monkeypatch.setattr(module, "PROJECT", directory)
    return directory


def test_a_change_of_the_project_makes_no_other_template_but_is_noticed(parts: Parts, checkout: Path) -> None:
    template = warm.provide(parts)
    assert warm.is_current(template)
    (checkout / "conftest.py").write_text("2")
    assert not warm.is_current(template)
    assert warm.provide(parts) == template
    (checkout / "conftest.py").write_text("1")
    assert warm.is_current(template)


def test_an_old_template_of_a_changed_project_is_made_anew(parts: Parts, checkout: Path) -> None:
    template = warm.provide(parts)
    os.utime(template / warm.IMPORTED, (1, 1))
    warm.provide(parts)
    assert (template / warm.IMPORTED).stat().st_mtime == 1  # old, and still right
    (checkout / "conftest.py").write_text("2")
    assert warm.is_current(warm.provide(parts))


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: {"machine": dataclasses.replace(parts.machine, emulator=("--vram", "1G"))},
        lambda parts: {"machine": dataclasses.replace(parts.machine, options=("xe.wedged_mode=0",))},
        lambda parts: {
            "kernel": dataclasses.replace(parts.kernel, driver=[Module("xe", b"\x7fELF other", {})])
        },
    ],
    ids=["emulated GPUs", "a parameter of the driver", "a driver"],
)
def test_what_comes_to_the_copy_makes_no_other_template(
    parts: Parts, change: Callable[[Parts], dict[str, object]]
) -> None:
    """GPUs are plugged into it, and it loads the driver."""
    other = pretended.changed(parts, **change(parts))
    assert warm.possible(other)
    assert warm.digest(other) == warm.digest(parts)


def test_one_rate_measured_twice_is_one_rate(parts: Parts) -> None:
    assert warm.digest(pretended.changed(parts, rate=2_000_300)) == warm.digest(parts)


def test_a_template_is_made_once(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    template = warm.provide(parts)
    assert (template / "state").read_text() == "state"
    assert [Path(path).stat().st_size for path in warm.memory_files(template)] == [512 << 10] * 2
    assert (template / "initrd").stat().st_size == 0
    monkeypatch.setattr(warm, "build", lambda *_: pytest.fail("made again"))
    assert warm.provide(parts) == template


def test_the_templates_used_last_are_kept(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "KEPT", 2)
    made = []
    for megabytes in (1, 2, 3):
        machine = Machine(gpus=0, memory=megabytes << 20)
        made.append(warm.provide(pretended.changed(parts, machine=machine)))
        os.utime(made[-1], (megabytes, megabytes))
    assert [path.exists() for path in made] == [False, True, True]


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("PRETEND_DIES", "qemu: no space", r"QEMU ended .*\(qemu: no space\)"),
        ("PRETEND_REFUSES", "migrate", "QEMU: migrate: not today"),
        ("PRETEND_EVENTS", '[{"event": "failed", "message": "load xe"}]', "did not come up: load xe"),
        ("PRETEND_EVENTS", '[{"event": "init"}]', "the guest's kernel ended: a kernel boots"),
    ],
)
def test_a_template_that_cannot_be_made_leaves_nothing(
    parts: Parts, own_cache: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, why: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(GuestError, match=why):
        warm.provide(parts)
    assert list((own_cache / "templates").iterdir()) == []


def test_a_machine_that_never_gets_ready_is_given_up(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "DEADLINE_S", 0.2)
    with Channels(PORTS) as channels, pytest.raises(GuestError, match="the guest did not come up in time"):
        warm.wait_for_template(channels, pretended.place(parts.environment.parent / "run"))


def test_a_copy_goes_on_with_its_gpus(parts: Parts, channels: Channels, tmp_path: Path) -> None:
    template = warm.provide(parts)
    place = pretended.place(tmp_path / "run")
    with Warm(parts, template)(place, channels, [{"driver": "vfio-user-pci", "id": "gpu0"}]) as process:
        line = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
        process.kill()
    assert line[line.index("-incoming") + 1] == "defer"
    assert place.console.read_text() == "a kernel boots\na copy continues\n"


DAMAGES: dict[str, Callable[[Path], None]] = {
    "the memory is missing": lambda template: (template / "memory0").unlink(),
    "the memory of one node is missing": lambda template: (template / "memory1").unlink(),
    "the memory is empty": lambda template: os.truncate(template / "memory0", 0),
    "the memory was cut off": lambda template: os.truncate(template / "memory1", 4096),
    "the state is missing": lambda template: (template / "state").unlink(),
    "the state was cut off": lambda template: os.truncate(template / "state", 2),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_template_is_told_from_a_guest_that_fails(
    parts: Parts, channels: Channels, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    template = warm.provide(parts)
    damage(template)
    with pytest.raises(CopyError) as caught:
        Warm(parts, template)(pretended.place(tmp_path / "run"), channels, [])
    assert caught.value.template == template


def test_a_copy_with_which_qemu_does_not_get_along_is_ended(
    parts: Parts, channels: Channels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = warm.provide(parts)
    monkeypatch.setenv("PRETEND_REFUSES", "device_add")
    with pytest.raises(CopyError, match="QEMU: device_add: not today"):
        Warm(parts, template)(pretended.place(tmp_path / "run"), channels, [{"driver": "vfio-user-pci"}])


@pytest.mark.parametrize("pieces", [(), (0,), (3,), (0, 3), (1, 2, 7)], ids=str)
def test_memory_is_copied_with_its_holes(tmp_path: Path, pieces: tuple[int, ...]) -> None:
    """In pieces of 1 MiB of 8."""
    source = tmp_path / "memory"
    with source.open("wb") as file:
        file.truncate(8 << 20)
        for piece in pieces:
            file.seek(piece << 20)
            file.write(bytes([piece + 1]) * (1 << 20))
    with memory_file("copy") as memory:
        warm.copy_data(source, memory)
        copy = Path(path_of(memory))
        assert copy.read_bytes() == source.read_bytes()
        assert os.fstat(memory).st_blocks <= source.stat().st_blocks


def test_pages_of_zeros_take_no_place(parts: Parts) -> None:
    done = subprocess.run(["fallocate", "--version"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no fallocate here (util-linux)")
    assert [Path(path).stat().st_blocks for path in warm.memory_files(warm.provide(parts))] == [0, 0]
