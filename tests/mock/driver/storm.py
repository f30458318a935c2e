# SPDX-License-Identifier: MIT
"""A client that sends random calls to a real mock: ``python -m tests.mock.driver.storm SEED``."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import random
import sys

from ioctl import Request, drm, xe
from mock.attach import attach

CALLS = 3000
libc = ctypes.CDLL(None)
libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
REQUESTS = [
    value
    for module in (drm, xe)
    for value in vars(module).values()
    if isinstance(value, Request) and value.struct and value.kind == "d"
]


def storm(seed: int) -> str:
    """Random ioctls on every node. Returns what is wrong afterwards, empty if nothing is."""
    attached = attach("bmg2")
    pick = random.Random(seed)
    nodes = [os.open(path, os.O_RDWR) for path in attached.nodes]
    memory = mmap.mmap(-1, 1 << 16)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))

    def number() -> int:
        pointer, page, bit = (
            base + 8 * pick.randrange(64),
            0x1000 * pick.randrange(64),
            1 << pick.randrange(64),
        )
        small = pick.randrange(4), pick.randrange(4)
        return pick.choice((0, 0, 0, *small, pointer, page, bit, (1 << 64) - 1))

    for _ in range(CALLS):
        for at in range(0, 1024, 8):
            memory[at : at + 8] = number().to_bytes(8, "little")
        request = pick.choice(REQUESTS)
        data = b"".join(number().to_bytes(8, "little") for _ in range(request.size // 8 + 1))
        memory[4096 : 4096 + request.size] = data[: request.size]
        # An endless wait would not be a bug of the mock.
        if "WAIT" in request.name:
            continue
        address = base + 4096 if pick.random() < 0.97 else pick.getrandbits(47)
        libc.ioctl(pick.choice(nodes), request.number, address)
    name = drm.drm_version()
    fcntl.ioctl(nodes[0], drm.DRM_IOCTL_VERSION.number, name)
    for node in nodes:
        os.close(node)
    again = os.open(attached.nodes[0], os.O_RDWR)
    fcntl.ioctl(again, drm.DRM_IOCTL_VERSION.number, name)
    return attached.errors() or ("" if attached.alive() else "the mock died")


if __name__ == "__main__":
    sys.exit(storm(int(sys.argv[1])) or 0)
