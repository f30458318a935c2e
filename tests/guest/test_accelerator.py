# SPDX-License-Identifier: MIT
"""Use of KVM: requested, tried once per boot of the machine, or missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from guest import accelerator
from guest.qemu import Qemu


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Qemu:
    """A QEMU whose trial ends as the file ``result`` says; a machine with /dev/kvm that has booted once."""
    monkeypatch.delenv("SVMCTS_ACCEL", raising=False)
    program = tmp_path / "qemu"
    program.write_text(f"#!/bin/sh\necho tried >> {tmp_path}/tries\nexec sh {tmp_path}/result\n")
    program.chmod(0o755)
    (tmp_path / "result").write_text("exit 0")
    (tmp_path / "kvm").touch()
    (tmp_path / "boot_id").write_text("first\n")
    monkeypatch.setattr(accelerator, "DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(accelerator, "BOOT_ID", tmp_path / "boot_id")
    return Qemu(program)


def choose(qemu: Qemu) -> str:
    return accelerator.choose(qemu, Path("/k/vmlinux"))


def test_without_the_device_software_is_used(qemu: Qemu, tmp_path: Path) -> None:
    (tmp_path / "kvm").unlink()
    assert choose(qemu) == accelerator.TCG
    assert not (tmp_path / "tries").exists()


def test_a_working_kvm_is_used_and_tried_once_a_boot(qemu: Qemu, tmp_path: Path) -> None:
    assert [choose(qemu), choose(qemu)] == [accelerator.KVM] * 2
    assert (tmp_path / "tries").read_text() == "tried\n"
    (tmp_path / "boot_id").write_text("second\n")
    (tmp_path / "result").write_text("exit 1")
    assert choose(qemu) == accelerator.TCG


def test_a_kvm_that_runs_nothing_is_not_used(
    qemu: Qemu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(accelerator, "TRIAL_S", 0.1)
    (tmp_path / "result").write_text("exec sleep 20")
    assert choose(qemu) == accelerator.TCG
    assert "/dev/kvm accepts guests but does not run them" in capsys.readouterr().err


def test_the_users_word_is_last(qemu: Qemu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVMCTS_ACCEL", "tcg,thread=single")
    assert choose(qemu) == "tcg,thread=single"
    assert not (tmp_path / "tries").exists()
