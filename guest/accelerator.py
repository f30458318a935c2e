# SPDX-License-Identifier: MIT
"""Decides whether QEMU can use KVM: once per boot of the machine, by starting a kernel under it.

That /dev/kvm can be opened proves little: inside a virtual machine it may accept a guest and never run it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from guest import cache
from guest.qemu import Qemu

TCG = "tcg,thread=multi"
KVM = "kvm"
DEVICE = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TRIAL_S = 10.0  # a kernel without a root file system panics after about one second under KVM


def choose(qemu: Qemu, kernel: Path) -> str:
    """The value of QEMU's -accel: ``$SVMCTS_ACCEL``, else KVM if it works, else TCG (software)."""
    if own := os.environ.get("SVMCTS_ACCEL"):
        return own
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return TCG
    answer = cache.cache_root() / "accelerator" / BOOT_ID.read_text().strip()
    with cache.lock("accelerator"):
        if not answer.exists():
            answer.parent.mkdir(parents=True, exist_ok=True)
            for old in answer.parent.iterdir():
                old.unlink()
            answer.write_text(KVM if works(qemu, kernel) else TCG)
    return answer.read_text()


def works(qemu: Qemu, kernel: Path) -> bool:
    """Whether a kernel runs under KVM: without a root it panics, and the panic ends QEMU."""
    arguments = [
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-machine",
        "q35",
        "-accel",
        KVM,
    ]
    try:
        done = qemu.run(
            *arguments,
            "-cpu",
            "max",
            "-m",
            "512M",
            "-kernel",
            str(kernel),
            "-append",
            "panic=-1",
            timeout=TRIAL_S,
        )
    except subprocess.TimeoutExpired:
        cache.say(
            "/dev/kvm accepts guests but does not run them: software emulation is used (SVMCTS_ACCEL overrides)"
        )
        return False
    return done.returncode == 0
