# SPDX-License-Identifier: MIT
"""The files by which programs find devices: /dev/dri and parts of sysfs, in a file system that is not mounted anywhere.

Below its root, every file has the path under which clients see it: dev/dri/card0, sys/class/drm/card0, ...
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import struct
import tempfile
from collections.abc import Mapping
from ctypes import c_char_p
from pathlib import Path

from mock.kernel import PciDevice
from mock.linux.syscall import syscall

DRM_MAJOR = 226
NODES = "/dev/dri"
_BRIDGE = "sys/devices/pci0000:00"

_FSCONFIG_CMD_CREATE = 6
_CLOEXEC = 1
_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_NODEV = 0x4
_AT_EMPTY_PATH = 0x1000
_MOUNT_ATTRIBUTES = struct.Struct("=4Q")  # struct mount_attr
_LOOKS = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_PATH
"""Flags of open(2) that matter where nothing can be written."""


class Tree:
    """Created with the first request for one of its files. ``devices``: minor to PCI device."""

    def __init__(self, nodes: Mapping[str, int], devices: Mapping[int, PciDevice]) -> None:
        self._nodes = nodes
        self._devices = devices
        self._root: int | None = None
        self._temporary: str | None = None
        slots = {device.slot for device in devices.values()}
        self._places = (
            NODES,
            "/sys/class/drm",
            *(f"/sys/dev/char/{DRM_MAJOR}:{minor}" for minor in nodes.values()),
            *(f"/sys/bus/pci/devices/{slot}" for slot in slots),
            *(f"/{_BRIDGE}/{slot}" for slot in slots),
        )

    def has(self, path: str) -> bool:
        """Whether a normalised absolute path is in one of the mock's places, even if no such file exists."""
        return path.startswith(self._places) and any(
            path == place or path.startswith(f"{place}/") for place in self._places
        )

    def open(self, path: str, flags: int) -> int:
        """A new descriptor, which never waits. Raises OSError as open(2): sysfs has nothing to write."""
        fd = os.open(path[1:], flags & _LOOKS | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._made())
        try:
            if not flags & os.O_PATH:
                if flags & (os.O_ACCMODE | os.O_TRUNC):
                    is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
                    raise OSError(errno.EISDIR if is_directory else errno.EACCES, path)
                os.set_blocking(fd, not flags & os.O_NONBLOCK)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def stat(self, path: str, *, follow: bool) -> os.stat_result:
        """Raises OSError as stat(2)."""
        return os.stat(path[1:], dir_fd=self._made(), follow_symlinks=follow)

    def readlink(self, path: str) -> str:
        """Raises OSError as readlink(2)."""
        return os.readlink(path[1:], dir_fd=self._made())

    def is_nodes(self, path: str) -> bool:
        """Whether that path, of a descriptor in /proc, leads to the directory of nodes."""
        if self._root is None:
            return False
        try:
            # Only these are asked for their type: another file system may never answer.
            if not os.readlink(path).endswith(NODES):  # noqa: PTH115 - often, and pathlib is slow
                return False
            return os.path.samestat(Path(path).stat(), self.stat(NODES, follow=True))
        except OSError:
            return False

    def close(self) -> None:
        """Clean up."""
        if self._root is not None:
            os.close(self._root)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _made(self) -> int:
        if self._root is None:
            try:
                self._root = _unnamed_file_system()
            except OSError:
                # Without privilege: a directory with a name, removed at the end.
                self._temporary = tempfile.mkdtemp(prefix="svm-cts-")
                self._root = os.open(self._temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._fill(Path(f"/proc/self/fd/{self._root}"))
            if self._temporary is None:
                attributes = _MOUNT_ATTRIBUTES.pack(_MOUNT_ATTR_RDONLY, 0, 0, 0)
                syscall(
                    "mount_setattr", self._root, c_char_p(b""), _AT_EMPTY_PATH, attributes, len(attributes)
                )
        return self._root

    def _fill(self, root: Path) -> None:
        for place in ("dev/dri", "sys/class/drm", "sys/dev/char", "sys/bus/pci/devices"):
            (root / place).mkdir(parents=True)
        for device in set(self._devices.values()):
            self._fill_device(root, device)
        for name, minor in self._nodes.items():
            self._fill_node(root, name, minor, self._devices[minor].slot)

    @staticmethod
    def _fill_device(root: Path, device: PciDevice) -> None:
        home = root / _BRIDGE / device.slot
        (home / "drm").mkdir(parents=True)
        files = {
            "vendor": f"{device.vendor:#06x}\n",
            "device": f"{device.device:#06x}\n",
            "subsystem_vendor": f"{device.subsystem_vendor:#06x}\n",
            "subsystem_device": f"{device.subsystem_device:#06x}\n",
            "revision": f"{device.revision:#04x}\n",
            "class": "0x030000\n",
            "resource": _resources(device),
            "uevent": f"DRIVER=xe\nPCI_CLASS=30000\nPCI_ID={device.vendor:04X}:{device.device:04X}\n"
            f"PCI_SUBSYS_ID={device.subsystem_vendor:04X}:{device.subsystem_device:04X}\nPCI_SLOT_NAME={device.slot}\n",
        }
        for name, text in files.items():
            _write(home / name, text)
        (home / "subsystem").symlink_to("../../../bus/pci")
        (home / "driver").symlink_to("../../../bus/pci/drivers/xe")
        (root / "sys/bus/pci/devices" / device.slot).symlink_to(f"../../../devices/pci0000:00/{device.slot}")

    @staticmethod
    def _fill_node(root: Path, name: str, minor: int, slot: str) -> None:
        node = root / "dev/dri" / name
        try:
            os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(DRM_MAJOR, minor))
        except OSError:
            node.touch(0o666)
        home = root / _BRIDGE / slot / "drm" / name
        home.mkdir()
        _write(home / "dev", f"{DRM_MAJOR}:{minor}\n")
        _write(
            home / "uevent",
            f"MAJOR={DRM_MAJOR}\nMINOR={minor}\nDEVNAME=dri/{name}\nDEVTYPE=drm_minor\n",
        )
        (home / "device").symlink_to("../..")
        (home / "subsystem").symlink_to("../../../../../class/drm")
        (root / "sys/class/drm" / name).symlink_to(f"../../devices/pci0000:00/{slot}/drm/{name}")
        (root / f"sys/dev/char/{DRM_MAJOR}:{minor}").symlink_to(f"../../devices/pci0000:00/{slot}/drm/{name}")


def _resources(device: PciDevice) -> str:
    """First and last address and flags of each BAR, one line each; only the memory BAR exists here."""
    start, flags = 1 << 38, 0x14220C  # prefetchable, of 64 bits
    bars = [(0, 0, 0)] * 6
    if device.memory_bar:
        bars[2] = (start, start + device.memory_bar - 1, flags)
    return "".join(f"{first:#018x} {last:#018x} {bits:#018x}\n" for first, last, bits in bars)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o444)


def _unnamed_file_system() -> int:
    """A tmpfs that goes with its last descriptor. Raises OSError without CAP_SYS_ADMIN."""
    context = syscall("fsopen", c_char_p(b"tmpfs"), _CLOEXEC)
    try:
        syscall("fsconfig", context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return syscall("fsmount", context, _CLOEXEC, _MOUNT_ATTR_NODEV)
    finally:
        with contextlib.suppress(OSError):
            os.close(context)
