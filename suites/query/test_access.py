# SPDX-License-Identifier: MIT
"""Permissions of a render node."""

from __future__ import annotations

import os

from fixtures import acts, behaviour, in_child
from fixtures.counting import count
from fixtures.given import MakeBo
from fixtures.sizes import SZ_64K
from fixtures.xe.device import Device
from fixtures.xe.vm import Vm
from ioctl import xe

NOBODY = 65534


@behaviour("query.render-node")
@acts("ioctl")
def test_unprivileged_use_of_render_node(device: Device, bo: MakeBo) -> None:
    """Queries, VMs, BOs, binds, queues and fences work on a render node without any privilege."""

    def unprivileged() -> int:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        assert device.query(xe.DRM_XE_DEVICE_QUERY_ENGINES)
        vm = Vm(device)
        made = bo(SZ_64K)
        vm.map(made, SZ_64K)
        queue = vm.queue()
        assert queue.id
        assert not queue.banned
        queue.close()
        vm.unmap(SZ_64K, SZ_64K)
        vm.close()
        made.close()
        assert os.geteuid() != 0
        return xe.DRM_XE_DEVICE_QUERY_ENGINES

    ended = in_child(unprivileged)
    assert not ended.error, ended.error
    assert ended.result == xe.DRM_XE_DEVICE_QUERY_ENGINES
    count("ioctl")
