# SPDX-License-Identifier: MIT
"""Whatever a client sends, the driver answers with an errno: never with an exception, never by hanging."""

import ctypes
import random
from typing import Any

import pytest

from ioctl import Request, drm, xe
from mock.driver.dispatch import INTERNAL_ERROR
from mock.kernel import Deferred
from tests.mock.driver.double import Client
from tests.mock.driver.gpu_client import BATCH, DATA, FAULT, LR, SCRATCH, Gpu

REQUESTS = sorted(
    (value for module in (drm, xe) for value in vars(module).values() if isinstance(value, Request) and value.struct),
    key=lambda request: request.name,
)


class Chaos:
    """A client that makes calls which are nearly right."""

    def __init__(self, client: Client, seed: int) -> None:
        self.random = random.Random(seed)
        self.client = client
        gpu = Gpu(client)
        self.memory = client.mm.map(1 << 16)
        for flags in (0, LR, FAULT, SCRATCH):
            vm = gpu.vm(flags)
            batch, data = gpu.bo(), gpu.bo()
            coherent = 2 if client.file.device.profile.graphics_version >= 20 else 3
            gpu.map(vm, batch, BATCH, pat_index=coherent)
            gpu.map(vm, data, DATA, pat_index=coherent)
            gpu.queue(vm)
            gpu.syncobj()
            gpu.write(batch, 0, self.random.randbytes(0x10000))

    def number(self, bits: int) -> int:
        choice = self.random.random()
        if choice < 0.45:
            return self.random.randrange(0, 6)
        if choice < 0.6:
            return self.random.choice((self.memory, self.memory + 0x1000, BATCH, DATA)) & (1 << bits) - 1
        if choice < 0.75:
            return 0x1000 * self.random.randrange(0, 64) & (1 << bits) - 1
        if choice < 0.85:
            return 1 << self.random.randrange(bits)
        if choice < 0.95:
            return (1 << bits) - 1 - self.random.randrange(3)
        return self.random.getrandbits(bits)

    def fill(self, kind: Any, zero: float) -> Any:
        arg = kind()
        self._fill(arg, zero)
        return arg

    def _fill(self, arg: Any, zero: float) -> None:
        for name, kind, *_ in arg._fields_:
            current = getattr(arg, name)
            if isinstance(current, (ctypes.Structure, ctypes.Union)):
                self._fill(current, zero)
            elif isinstance(current, ctypes.Array):
                for index in range(len(current)):
                    if self.random.random() > 0.95:
                        current[index] = self.number(8)
            elif not isinstance(current, bytes) and self.random.random() > zero:
                blank = name in ("extensions", "pad", "pad2", "handle") and self.random.random() < 0.9
                value = 0 if blank and name != "handle" else self.number(8 * ctypes.sizeof(kind))
                setattr(arg, name, value)

    def scribble(self) -> None:
        """Arrays that arguments point to: syncs, binds, extensions, handles."""
        kinds = (xe.drm_xe_sync, xe.drm_xe_vm_bind_op, xe.drm_xe_ext_set_property, xe.drm_xe_engine_class_instance)
        for page in range(2):
            kind = self.random.choice(kinds)
            data = b"".join(bytes(self.fill(kind, 0.6)) for _ in range(8))
            self.client.mm.write(self.memory + 0x1000 * page, data)

    def call(self) -> None:
        request = self.random.choice(REQUESTS)
        self.scribble()
        arg = self.fill(request.struct, self.random.choice((0.0, 0.3, 0.6, 0.8)))
        number = request.number
        if self.random.random() < 0.05:
            number = self.random.getrandbits(32)
        try:
            address = self.client.put(arg) if self.random.random() < 0.97 else self.random.getrandbits(48)
            result = self.client.driver.ioctl(self.client.file, self.client.task, number, address)
        except OSError as error:
            assert error.errno
            assert error.errno != INTERNAL_ERROR, (request, arg)
            return
        if isinstance(result, Deferred):
            result.deliver_to(lambda answer: None)
            if self.random.random() < 0.5:
                result.signalled()
            if self.random.random() < 0.5:
                result.abandoned()
        for _ in range(20):
            if not self.client.services.loop.step():
                break


@pytest.mark.parametrize("platform", ["lnl", "bmg", "bmg2", "pvc"])
@pytest.mark.parametrize("seed", range(3))
def test_garbage_is_answered(open_client: Any, platform: str, seed: int) -> None:
    client = open_client(platform)
    chaos = Chaos(client, seed)
    for _ in range(400):
        chaos.call()
    client.driver.release(client.file)
    client.services.loop.run_until(lambda: client.services.loop.idle, 1)


@pytest.mark.parametrize("level", ["6.17", "6.18", "6.19", "7.0", "7.1", "7.2"])
def test_garbage_is_answered_at_every_level(open_client: Any, level: str) -> None:
    chaos = Chaos(open_client("bmg", level), 7)
    for _ in range(200):
        chaos.call()
