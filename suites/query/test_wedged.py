# SPDX-License-Identifier: MIT
"""A device that the driver has declared wedged, until it is bound again (xe_device.c: xe_drm_ioctl)."""

from __future__ import annotations

import errno

import pytest

from fixtures import PLAIN, Vm, acts, behaviour, needs, refused
from fixtures.given import OpenDevice, Unplug
from fixtures.sizes import SZ_64K
from fixtures.xe.bo import Bo
from fixtures.xe.device import Device
from fixtures.xe.reset import wedged
from fixtures.xe.sync import Syncobj
from ioctl import xe

pytestmark = [
    needs("driver-unbind", "gt-reset", "fault-injection", "root"),
    pytest.mark.timeout(60),
]


@behaviour("query.wedged-device")
@acts("refusal")
def test_ioctl_on_wedged_device_is_ecanceled(
    device: Device, plain_vm: Vm, unplug: Unplug, open_device: OpenDevice
) -> None:
    """Every ioctl gives ECANCELED on a wedged device, those of DRM and of a new descriptor included."""
    queue, bo = plain_vm.queue(), Bo(device, SZ_64K)
    plain_vm.map(bo, 1 << 32)
    with wedged(device, unplug):
        for opened in device, open_device():
            for query in xe.DRM_XE_DEVICE_QUERY_CONFIG, xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS:
                with refused(errno.ECANCELED):
                    opened.query(query)
            with refused(errno.ECANCELED):
                Vm(opened, PLAIN)
            with refused(errno.ECANCELED):
                Bo(opened, SZ_64K)
            with refused(errno.ECANCELED):
                Syncobj(opened)
        with refused(errno.ECANCELED):
            plain_vm.bind(addr=2 << 32, range=SZ_64K, obj=bo.handle)
        with refused(errno.ECANCELED):
            queue.submit(1 << 32)
        with refused(errno.ECANCELED):
            bo.map()
