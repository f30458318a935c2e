# SPDX-License-Identifier: MIT
"""The driver as the transport sees it: nodes, open, ioctl, release, virtual files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mock.driver import debugfs
from mock.driver.device import Device, Machine
from mock.driver.exec.scheduler import Scheduler
from mock.driver.file import DrmFile
from mock.driver.level import FEATURES, Level
from mock.driver.lib.exports import Exports
from mock.driver.lib.fault_inject import FaultInjection
from mock.driver.pagemap.interconnect import Owners
from mock.driver.pagemap.process import Processes
from mock.driver.platform import Platform, find_platform
from mock.driver.ttm.dma_buf import DmaBufs
from mock.driver.uapi import gem
from mock.driver.uapi.table import make_table
from mock.kernel import PciDevice

if TYPE_CHECKING:
    from mock.kernel import Deferred, File, MapRequest, Services, Task

FIRST_RENDER_MINOR = 128
INTEL = 0x8086

_KALLSYMS = "/proc/kallsyms"
_DEBUGFS = "/sys/kernel/debug/"
_FAIL_NTH = re.compile(r"/proc/(?P<tid>\d+)/fail-nth")


class Driver:
    """The xe driver with all devices of a platform."""

    def __init__(self, platform: Platform | str, level: Level | str, services: Services) -> None:
        """Raises ValueError for an unknown platform or level."""
        self.platform = find_platform(platform) if isinstance(platform, str) else platform
        self.level = Level.parse(level) if isinstance(level, str) else level
        self.services = services
        self.table = make_table(self.level)
        # Before GPUs could name each other's VRAM, each was a group of its own (xe_svm_devm_owner).
        linked = FEATURES["preferred-location-region"] <= self.level
        self.faults = FaultInjection()
        self.machine = Machine(
            Exports(services.create_file, services.create_event_file),
            DmaBufs(services),
            Processes(),
            {},
            Owners(lambda one, other: linked and other in self.platform.links_of(one)),
            self.faults,
        )
        self.devices = [
            Device(
                profile,
                index,
                FIRST_RENDER_MINOR + index,
                self.level,
                self.platform.kconfig,
                self.platform.links_of(index),
                services,
                self.machine,
            )
            for index, profile in enumerate(self.platform.devices)
        ]
        self._schedulers = {device: Scheduler(device) for device in self.devices}

    def nodes(self) -> dict[str, int]:
        """Device nodes by name below /dev/dri, with their minor numbers."""
        names = {f"renderD{device.minor}": device.minor for device in self.devices}
        return names | {f"card{device.index}": device.index for device in self.devices}

    def _device(self, minor: int) -> Device:
        return self.devices[minor - FIRST_RENDER_MINOR if minor >= FIRST_RENDER_MINOR else minor]

    def pci(self, minor: int) -> PciDevice:
        """PCI configuration of the device behind a node."""
        device = self._device(minor)
        profile = device.profile
        vram = sum(tile.vram for tile in profile.tiles)
        return PciDevice(
            device.pci_address,
            INTEL,
            profile.device_id,
            INTEL,
            profile.device_id,
            profile.revision,
            memory_bar=1 << (vram - 1).bit_length() if vram else 0,  # a full BAR
        )

    def open(self, minor: int, task: Task, memory: File) -> DrmFile:
        """Open a node; ``memory`` is the file that the client got."""
        render = minor >= FIRST_RENDER_MINOR
        device = self._device(minor)
        self.machine.open_files[memory] = device
        return DrmFile(device, self._schedulers[device], task, memory, render=render)

    def ioctl(self, file: DrmFile, task: Task, request: int, argument: int) -> int | Deferred:
        """One ioctl(2). Raises OSError with the errno it fails with."""
        return self.table.call(self.services, file, task, request, argument)

    def mmap(self, file: DrmFile, task: Task, request: MapRequest) -> None:
        """mmap(2) of a buffer object (xe_mmap, drm_gem_mmap). Raises OSError to refuse it."""
        gem.mmap(file, task, request)

    def release(self, file: DrmFile) -> None:
        """The last reference to an open file is gone."""
        del self.machine.open_files[file.node]
        file.close()

    def read_file(self, path: str) -> bytes | None:
        """The text of a file in debugfs, /proc/TID/fail-nth or /proc/kallsyms; None when there is no such file."""
        if match := _FAIL_NTH.fullmatch(path):
            return self.faults.fail_nth(int(match["tid"]))
        if path == _KALLSYMS:
            return self.faults.kallsyms()
        name = path.removeprefix(_DEBUGFS)
        if name.startswith("dri/"):
            return debugfs.read(self.devices, name.removeprefix("dri/"))
        return self.faults.read(name)

    def writable_file(self, path: str) -> bool:
        """Whether such a file may be written."""
        name = path.removeprefix(_DEBUGFS)
        if name.startswith("dri/"):
            return debugfs.writable(self.devices, name.removeprefix("dri/"))
        return _FAIL_NTH.fullmatch(path) is not None or self.faults.writable(name)

    def write_file(self, path: str, data: bytes) -> None:
        """Raises OSError with the errno of write(2)."""
        if match := _FAIL_NTH.fullmatch(path):
            self.faults.set_fail_nth(int(match["tid"]), data)
            return
        name = path.removeprefix(_DEBUGFS)
        if name.startswith("dri/"):
            debugfs.write(self.devices, name.removeprefix("dri/"), data)
        else:
            self.faults.write(name, data)
