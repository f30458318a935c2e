# SPDX-License-Identifier: MIT
"""For any call of a client, the driver answers with an errno: it neither raises nor hangs."""

from __future__ import annotations

import ctypes
import random
from collections import Counter
from typing import Any

import pytest

from gpu import Batch
from ioctl import Request, drm, xe
from mock.driver.uapi.dispatch import INTERNAL_ERROR
from mock.kernel import Deferred
from tests.mock.driver.double import Client
from tests.mock.driver.gpu_client import (
    BATCH,
    DATA,
    FAULT,
    LR,
    SCRATCH,
    Gpu,
    in_syncobj,
    out_syncobj,
    user_fence,
)

REQUESTS = sorted(
    (
        value
        for module in (drm, xe)
        for value in vars(module).values()
        if isinstance(value, Request) and value.struct
    ),
    key=lambda request: request.name,
)


class Chaos:
    """A client whose calls are nearly right."""

    def __init__(self, client: Client, seed: int) -> None:
        self.random = random.Random(seed)
        self.client = client
        self.answered: Counter[str] = Counter()
        self.gpu = gpu = Gpu(client)
        self.coherent = 2 if client.file.device.profile.graphics_version >= 20 else 3
        self.memory = client.mm.map(1 << 16)
        for flags in (0, LR, FAULT, SCRATCH):
            vm = gpu.vm(flags)
            batch, data = gpu.bo(), gpu.bo()
            gpu.map(vm, batch, BATCH, pat_index=self.coherent)
            gpu.map(vm, data, DATA, pat_index=self.coherent)
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
        kinds = (
            xe.drm_xe_sync,
            xe.drm_xe_vm_bind_op,
            xe.drm_xe_ext_set_property,
            xe.drm_xe_engine_class_instance,
        )
        for page in range(2):
            kind = self.random.choice(kinds)
            data = b"".join(bytes(self.fill(kind, 0.6)) for _ in range(8))
            self.client.mm.write(self.memory + 0x1000 * page, data)

    # Calls with one or two wrong fields

    def _pick(self, ids: Any) -> int:
        numbers = [number for number, _ in ids.items()]
        return self.random.choice(numbers) if numbers else 1

    def _address(self) -> tuple[int, int]:
        start = self.random.choice((BATCH, DATA, self.memory, 1 << 30)) + 0x1000 * self.random.randrange(8)
        return start, 0x1000 * self.random.choice((1, 2, 4, 8, 16))

    def nearly(self) -> tuple[Request, Any]:
        file, gpu, pick = self.client.file, self.gpu, self.random.choice
        vm, queue, bo, sync = (self._pick(ids) for ids in (file.vms, file.queues, file.bos, file.syncobjs))
        start, size = self._address()
        syncs = [out_syncobj(sync), in_syncobj(sync), user_fence(self.memory & ~7, 5), user_fence(DATA, 5)]
        some = tuple(self.random.sample(syncs, self.random.randrange(3)))
        arg: Any
        match self.random.randrange(12):
            case 0:
                placement = pick((1, 1, 1, 2, 3))
                size = 0x10000 * self.random.randrange(1, 8)
                private = pick((0, vm))
                arg = xe.drm_xe_gem_create(size=size, placement=placement, cpu_caching=2, vm_id=private)
                return xe.DRM_IOCTL_XE_GEM_CREATE, arg
            case 1:
                return xe.DRM_IOCTL_XE_VM_CREATE, xe.drm_xe_vm_create(flags=pick((0, LR, FAULT, SCRATCH)))
            case 2:
                return xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, gpu.queue_arg(vm, (pick((1, 4, 5)), 0, 0))
            case 3 | 4 | 5 | 6:
                ops = [self._op(bo, start, size) for _ in range(self.random.choice((1, 1, 2, 3)))]
                return xe.DRM_IOCTL_XE_VM_BIND, gpu.bind_arg(vm, *ops, syncs=some)
            case 7 | 8:
                self.batches()
                return xe.DRM_IOCTL_XE_EXEC, gpu.exec_arg(queue, BATCH, some)
            case 9:
                arg = xe.drm_xe_madvise(vm_id=vm, start=start, range=size, type=pick((0, 1, 2, 3)))
                return xe.DRM_IOCTL_XE_MADVISE, arg
            case 10:
                arg = xe.drm_xe_vm_query_mem_range_attr(vm_id=vm, start=start, range=size)
                return xe.DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, arg
            case _:
                if self.random.random() < 0.7:
                    arg = xe.drm_xe_wait_user_fence(addr=self.memory & ~7, op=1, mask=1, timeout=1000)
                    return xe.DRM_IOCTL_XE_WAIT_USER_FENCE, arg
                return pick(
                    (
                        (xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=vm)),
                        (
                            xe.DRM_IOCTL_XE_EXEC_QUEUE_DESTROY,
                            xe.drm_xe_exec_queue_destroy(exec_queue_id=queue),
                        ),
                        (drm.DRM_IOCTL_GEM_CLOSE, drm.drm_gem_close(handle=bo)),
                        (drm.DRM_IOCTL_SYNCOBJ_CREATE, drm.drm_syncobj_create(flags=1)),
                    )
                )

    def _op(self, bo: int, start: int, size: int) -> Any:
        pat = self.coherent
        match self.random.randrange(7):
            case 0 | 1:
                return self.gpu.op(
                    obj=bo, addr=start, range=size, pat_index=pat, flags=self.random.choice((0, 1, 2))
                )
            case 2:
                return self.gpu.op(1, addr=start, range=size, pat_index=pat)
            case 3:
                return self.gpu.op(2, userptr=self.memory, addr=start, range=size, pat_index=pat)
            case 4:
                return self.gpu.op(3, obj=bo, pat_index=pat)
            case 5:
                region = self.random.choice((0, 1, 0xFFFFFFFF))
                return self.gpu.op(
                    4, addr=start, range=size, pat_index=pat, prefetch_mem_region_instance=region
                )
            case _:
                flags = self.random.choice(
                    (xe.DRM_XE_VM_BIND_FLAG_NULL, xe.DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR)
                )
                return self.gpu.op(addr=start, range=size, pat_index=pat, flags=flags)

    def batches(self) -> None:
        """Programs in every object: some end, some loop, some are noise."""
        for _, bo in self.client.file.bos.items():
            address = self._address()[0]
            program = Batch().store_dword(address, 1).copy_mem(address + 8, self._address()[0])
            program.atomic(address + 16, "add", 1)
            data = program.end().encode() if self.random.random() < 0.97 else program.chain(BATCH).encode()
            bo.storage.write(0, data if self.random.random() < 0.9 else self.random.randbytes(256))

    def call(self) -> None:
        if self.random.random() < 0.75:
            request, arg = self.nearly()
            if self.random.random() < 0.3:
                name, kind, *_ = self.random.choice(arg._fields_)
                if isinstance(getattr(arg, name), int):
                    setattr(arg, name, self.number(8 * ctypes.sizeof(kind)))
        else:
            request = self.random.choice(REQUESTS)
            self.scribble()
            arg = self.fill(request.struct, self.random.choice((0.0, 0.3, 0.6, 0.8)))
        number = request.number
        if self.random.random() < 0.02:
            number = self.random.getrandbits(32)
        try:
            address = self.client.put(arg) if self.random.random() < 0.97 else self.random.getrandbits(48)
            result = self.client.driver.ioctl(self.client.file, self.client.task, number, address)
        except OSError as error:
            if not error.errno or error.errno == INTERNAL_ERROR:
                raise AssertionError(f"{request} of {arg}") from error
            return
        self.answered[request.name] += 1
        if isinstance(result, Deferred):
            result.deliver_to(lambda answer: None)
            if self.random.random() < 0.5:
                result.signalled()
            if self.random.random() < 0.5:
                result.abandoned()
        for _ in range(20):
            if not self.client.services.loop.step():
                break
        if self.random.random() < 0.02:
            self.client.mm.unmap(self.memory)
            self.memory = self.client.mm.map(1 << 16)


@pytest.mark.parametrize("platform", ["lnl", "bmg", "bmg2", "pvc"])
@pytest.mark.parametrize("seed", range(3))
def test_garbage_is_answered(open_client: Any, platform: str, seed: int) -> None:
    client = open_client(platform)
    chaos = Chaos(client, seed)
    for _ in range(400):
        chaos.call()
    for name in ("VM_BIND", "EXEC", "GEM_CREATE", "EXEC_QUEUE_CREATE", "VM_CREATE"):
        assert chaos.answered[f"DRM_IOCTL_XE_{name}"], "no such call got through: the test says nothing"
    client.driver.release(client.file)
    client.services.loop.run_until(lambda: client.services.loop.idle, 1)


@pytest.mark.parametrize("level", ["6.17", "6.18", "6.19", "7.0", "7.1", "7.2"])
def test_garbage_is_answered_at_every_level(open_client: Any, level: str) -> None:
    chaos = Chaos(open_client("bmg", level), 7)
    for _ in range(200):
        chaos.call()
