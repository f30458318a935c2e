# SPDX-License-Identifier: MIT
"""What a kernel must be built with to run the suite on an emulated GPU, and the refusal of one that is not."""

import re
from collections.abc import Mapping
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


def parse(text: str) -> dict[str, str]:
    """The options of a .config that are set, without the CONFIG_ prefix."""
    return dict(re.findall(r"^CONFIG_(\w+)=(.*)$", text, re.MULTILINE))


def wanted() -> dict[str, str]:
    """The required options as a guest wants them: modules where they may be."""
    return {name: "m" if name in MODULAR else "y" for name in REQUIRED}


def missing(options: Mapping[str, str]) -> list[str]:
    """Required options that ``options`` does not have in a usable form, as lines of a .config that would do."""
    return [
        f"CONFIG_{name}={value}" for name, value in wanted().items() if options.get(name) not in (value, "y")
    ]


def check(kernel: str, options: Mapping[str, str]) -> None:
    """Refuse a kernel that lacks an option, naming each one and what it is for."""
    if lacking := missing(options):
        reasons = [f"{line} ({REQUIRED[line[7:-2]]})" for line in lacking]
        raise GuestError(f"kernel {kernel} cannot run the suite, it was built without {', '.join(reasons)}")


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
    raise GuestError(f"no configuration of kernel {release} found: put its .config beside {image}")
