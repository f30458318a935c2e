# SPDX-License-Identifier: MIT
"""Batches that wait for the test, and engines outside of a group (xe_hw_engine_group.c)."""

from __future__ import annotations

from fixtures.given import MakeBo
from fixtures.memory import PAGE, Buffer
from fixtures.xe.device import Device
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound."""
OTHERS = (xe.DRM_XE_ENGINE_CLASS_RENDER, xe.DRM_XE_ENGINE_CLASS_COMPUTE)
"""Classes of engines that are in no group with copy engines (xe_hw_engine_setup_groups)."""


def away(device: Device) -> xe.drm_xe_engine_class_instance:
    """An engine that is not in the group of the default one."""
    return next(engine for engine in device.known_engines if engine.engine_class in OTHERS)


class Held:
    """A VM without long-running mode and an object in it at AT, at whose start batches wait for a word."""

    def __init__(self, vm: Vm, bo: MakeBo, go: int) -> None:
        self.vm, self._go = vm, go
        made = bo(PAGE)
        self.seen: Buffer = made.map()
        vm.map(made, AT)

    def batch(self) -> Batch:
        """A batch that waits."""
        return Batch().semaphore_wait(AT, self._go)

    def open(self) -> None:
        """Let it continue."""
        self.seen.set_u32(0, self._go)
