# SPDX-License-Identifier: MIT
"""Options that a kernel needs to run the suite on an emulated GPU, and the refusal of one that lacks them.

A kernel that is built here (guest/builds.py) has that, ``base.config``, and the ``NAME.config`` of each profile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from guest import GuestError

# Option -> what it is for. "m" or "y" both do, unless the option is in BUILT_IN.
REQUIRED: Mapping[str, str] = {
    "64BIT": "the emulated GPU is a 64-bit PCI device",
    "MODULES": "drivers are loaded by the guest's init",
    "BLK_DEV_INITRD": "the guest starts from an initramfs",
    "BINFMT_ELF": "programs",
    "BINFMT_SCRIPT": "init is a script",
    "DEVTMPFS": "/dev",
    "TMPFS": "/tmp and the writable layer",
    "TMPFS_XATTR": "the writable layer of overlayfs",
    "OVERLAY_FS": "the host's files with a writable layer on top",
    "PROC_FS": "/proc",
    "PROC_PAGE_MONITOR": "/proc/PID/smaps and pagemap, oracles of the suite",
    "SYSFS": "/sys",
    "DEBUG_FS": "GT statistics",
    "PCI_MSI": "interrupts of the emulated GPU",
    "VIRTIO_PCI": "channels and files of the host",
    "VIRTIO_CONSOLE": "the channel to Python inside the guest",
    "NET_9P_VIRTIO": "the host's files",
    "9P_FS": "the host's files",
    "SERIAL_8250_CONSOLE": "the kernel's log",
    "TRANSPARENT_HUGEPAGE": "migration in 2 MiB pages",
    "MMU_NOTIFIER": "GPU SVM",
    "HMM_MIRROR": "GPU SVM",
    "ZONE_DEVICE": "pages in VRAM",
    "DEVICE_PRIVATE": "pages in VRAM that the CPU cannot touch",
    "DRM_XE": "the driver under test",
    "DRM_XE_GPUSVM": "CPU address mirror (DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR)",
}
MODULAR = frozenset(("OVERLAY_FS", "NET_9P_VIRTIO", "9P_FS", "DRM_XE"))
"""Required options that may be modules; init loads them."""


PROFILES: Mapping[str, str] = {
    "lockdep": "lock order, and sleeping where it is not allowed",
    "kasan": "use of memory after it was freed, or out of bounds",
    "kmemleak": "memory leaks",
    "faults": "fault injection: functions, allocations, copies from and to programs",
    "xe-debug": "checks and injections of the driver",
    "debug-vm": "checks of memory management",
    "dmem": "limits of VRAM by control group",
    "iommu": "DMA only to memory that the driver has mapped (with --iommu)",
    "gcov": "coverage of the driver and the SVM layers",
}
"""Optional profiles of a kernel, in any combination."""
COVERED = ("drivers/gpu/drm/xe/xe_*.c", "drivers/gpu/drm/drm_gpusvm.c", "drivers/gpu/drm/drm_pagemap*.c")
"""Files whose coverage ``gcov`` records: all of the kernel would be many times slower."""


def read(name: str) -> dict[str, str]:
    """The options of ``NAME.config``."""
    return parse(Path(__file__).with_name(f"{name}.config").read_text())


def asked(profiles: Iterable[str]) -> dict[str, str]:
    """The options of a kernel with these profiles that it must not lack."""
    options = wanted()
    for name in profiles:
        options |= read(name)
    return options


def name(text: str) -> str:
    """The option that a line of a .config is about; empty for any other line."""
    found = re.match(r"(?:# )?CONFIG_(\w+)(?:=| is not set)", text)
    return found[1] if found else ""


def line(option: str, value: str) -> str:
    """Notation of an option in a .config."""
    return f"# CONFIG_{option} is not set" if value == "n" else f"CONFIG_{option}={value}"


def does(value: str, asked_for: str) -> bool:
    """Whether a value will do: what may be a module may be built in."""
    return value == asked_for or (asked_for, value) == ("m", "y")


def purpose(option: str, profiles: Iterable[str]) -> str:
    """Purpose of an option, in brackets."""
    if option in REQUIRED:
        return f" ({REQUIRED[option]})"
    return "".join(f" (profile {profile})" for profile in profiles if option in read(profile))


def parse(text: str) -> dict[str, str]:
    """The options of a .config that are set, without the CONFIG_ prefix."""
    return dict(re.findall(r"^CONFIG_(\w+)=(.*)$", text, re.MULTILINE))


def wanted() -> dict[str, str]:
    """The required options as a guest wants them: modules where they may be."""
    return {name: "m" if name in MODULAR else "y" for name in REQUIRED}


def missing(options: Mapping[str, str]) -> list[str]:
    """Required options that ``options`` does not have in a usable form, as lines of a .config that would do."""
    return [
        f"CONFIG_{name}={value}"
        for name, value in wanted().items()
        if not does(options.get(name, "n"), value)
    ]


def check(kernel: str, options: Mapping[str, str]) -> None:
    """Refuse a kernel that lacks an option, naming each one and what it is for."""
    if lacking := missing(options):
        reasons = [f"{line} ({REQUIRED[line[7:-2]]})" for line in lacking]
        raise GuestError(f"kernel {kernel} cannot run the suite, it was built without {', '.join(reasons)}")


def check_iommu(kernel: str, options: Mapping[str, str]) -> None:
    """Refuse a kernel without a driver of the machine's IOMMU."""
    if options.get("INTEL_IOMMU") != "y":
        raise GuestError(
            f"kernel {kernel} cannot use the machine's IOMMU (--iommu), it was built without CONFIG_INTEL_IOMMU=y: "
            "svmcts kernel build --profile iommu"
        )


def find(release: str, image: Path, modules: Path) -> dict[str, str]:
    """The configuration of a kernel, from the places where builds and distributions leave it."""
    places = [
        modules / "config",
        modules / ".config",
        modules / "build/.config",
        image.parent / f"config-{release}",
        image.parent / "config",
        image.parent / ".config",
        *(parent / ".config" for parent in image.parents[2:4]),  # arch/x86/boot/bzImage of a built tree
        Path(f"/boot/config-{release}"),
    ]
    for place in places:
        if place.is_file():
            return parse(place.read_text())
    raise GuestError(f"no configuration of kernel {release} found: put its .config next to {image}")
