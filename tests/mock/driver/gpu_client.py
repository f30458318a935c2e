# SPDX-License-Identifier: MIT
"""GPU operations for tests of the driver: VMs, objects, binds, queues, batches."""

from __future__ import annotations

import struct
from typing import Any

from gpu import Batch
from ioctl import drm, xe
from tests.mock.driver.double import Client, fields

FAULT = xe.DRM_XE_VM_CREATE_FLAG_LR_MODE | xe.DRM_XE_VM_CREATE_FLAG_FAULT_MODE
LR = xe.DRM_XE_VM_CREATE_FLAG_LR_MODE
SCRATCH = xe.DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE
WB, WC = xe.DRM_XE_GEM_CPU_CACHING_WB, xe.DRM_XE_GEM_CPU_CACHING_WC
COHERENT = 2
"""A 2-way coherent pat_index of Xe2; of PVC 3 is the 1-way coherent one."""

BATCH = 0x10_0000
DATA = 0x20_0000


class Gpu:
    """Short calls for one client."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def vm(self, flags: int = 0) -> int:
        arg = xe.drm_xe_vm_create(flags=flags)
        self.client.call(xe.DRM_IOCTL_XE_VM_CREATE, arg)
        return int(arg.vm_id)

    def bo(self, size: int = 0x10000, placement: int = 1, caching: int = 0, **values: Any) -> int:
        arg = fields(
            xe.drm_xe_gem_create,
            size=size,
            placement=placement,
            cpu_caching=caching or (WC if placement & ~1 else WB),
            **values,
        )
        self.client.call(xe.DRM_IOCTL_XE_GEM_CREATE, arg)
        return int(arg.handle)

    def syncobj(self, flags: int = 0) -> int:
        arg = drm.drm_syncobj_create(flags=flags)
        self.client.call(drm.DRM_IOCTL_SYNCOBJ_CREATE, arg)
        return int(arg.handle)

    def offset(self, handle: int) -> int:
        arg = xe.drm_xe_gem_mmap_offset(handle=handle)
        self.client.call(xe.DRM_IOCTL_XE_GEM_MMAP_OFFSET, arg)
        return int(arg.offset)

    def op(self, op: int = xe.DRM_XE_VM_BIND_OP_MAP, **values: Any) -> Any:
        values.setdefault("pat_index", COHERENT)
        return fields(xe.drm_xe_vm_bind_op, op=op, **values)

    def bind(self, vm: int, *ops: Any, syncs: tuple[Any, ...] = (), queue: int = 0) -> None:
        self.client.call(xe.DRM_IOCTL_XE_VM_BIND, self.bind_arg(vm, *ops, syncs=syncs, queue=queue))

    def bind_arg(self, vm: int, *ops: Any, syncs: tuple[Any, ...] = (), queue: int = 0) -> Any:
        arg = xe.drm_xe_vm_bind(vm_id=vm, num_binds=len(ops), exec_queue_id=queue, num_syncs=len(syncs))
        if len(ops) == 1:
            arg.bind = ops[0]
        elif ops:
            arg.vector_of_binds = self.client.array(*ops)
        if syncs:
            arg.syncs = self.client.array(*syncs)
        return arg

    def map(self, vm: int, handle: int, address: int, size: int = 0x10000, **values: Any) -> None:
        self.bind(vm, self.op(obj=handle, addr=address, range=size, **values))

    def unmap(self, vm: int, address: int, size: int = 0x10000) -> None:
        self.bind(vm, self.op(xe.DRM_XE_VM_BIND_OP_UNMAP, addr=address, range=size))

    def mirror(self, vm: int, address: int = 0, size: int = 1 << 47, **values: Any) -> None:
        flags = values.pop("flags", 0) | xe.DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR
        self.bind(vm, self.op(addr=address, range=size, flags=flags, **values))

    def queue_arg(self, vm: int, engine: tuple[int, int, int] = (1, 0, 0), **values: Any) -> Any:
        cls, instance, gt = engine
        eci = xe.drm_xe_engine_class_instance(engine_class=cls, engine_instance=instance, gt_id=gt)
        values.setdefault("width", 1)
        values.setdefault("num_placements", 1)
        values.setdefault("instances", self.client.put(eci))
        return fields(xe.drm_xe_exec_queue_create, vm_id=vm, **values)

    def queue(self, vm: int, engine: tuple[int, int, int] = (1, 0, 0), **values: Any) -> int:
        arg = self.queue_arg(vm, engine, **values)
        self.client.call(xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, arg)
        return int(arg.exec_queue_id)

    def exec_arg(self, queue: int, address: int = BATCH, syncs: tuple[Any, ...] = (), **values: Any) -> Any:
        values.setdefault("num_batch_buffer", 1)
        pointer = self.client.array(*syncs) if syncs else 0
        return fields(
            xe.drm_xe_exec,
            exec_queue_id=queue,
            address=address,
            num_syncs=len(syncs),
            syncs=pointer,
            **values,
        )

    def execute(self, queue: int, address: int = BATCH, syncs: tuple[Any, ...] = (), **values: Any) -> None:
        self.client.call(xe.DRM_IOCTL_XE_EXEC, self.exec_arg(queue, address, syncs, **values))

    def write(self, handle: int, offset: int, data: bytes) -> None:
        """Write as the CPU does through its mapping."""
        bo = self.client.file.bos.get(handle)
        assert bo is not None
        bo.storage.write(offset, data)

    def read(self, handle: int, offset: int = 0, size: int = 4) -> bytes:
        bo = self.client.file.bos.get(handle)
        assert bo is not None
        return bytes(bo.storage.read(offset, size))

    def value(self, handle: int, offset: int = 0) -> int:
        return int(struct.unpack("<I", self.read(handle, offset))[0])

    def batch(self, handle: int, batch: Batch, offset: int = 0) -> None:
        self.write(handle, offset, batch.encode())

    def wait(self, handle: int, timeout: float = 60.0) -> None:
        """For a syncobj."""
        now = self.client.services.loop.time()
        arg = drm.drm_syncobj_wait(
            handles=self.client.put(struct.pack("<I", handle)),
            timeout_nsec=int((now + timeout) * 1e9),
            count_handles=1,
        )
        self.client.call(drm.DRM_IOCTL_SYNCOBJ_WAIT, arg)

    def banned(self, queue: int) -> bool:
        arg = xe.drm_xe_exec_queue_get_property(exec_queue_id=queue)
        self.client.call(xe.DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, arg)
        return bool(arg.value)


def out_syncobj(handle: int) -> Any:
    return fields(
        xe.drm_xe_sync, type=xe.DRM_XE_SYNC_TYPE_SYNCOBJ, flags=xe.DRM_XE_SYNC_FLAG_SIGNAL, handle=handle
    )


def in_syncobj(handle: int) -> Any:
    return fields(xe.drm_xe_sync, type=xe.DRM_XE_SYNC_TYPE_SYNCOBJ, handle=handle)


def user_fence(address: int, value: int) -> Any:
    return fields(
        xe.drm_xe_sync,
        type=xe.DRM_XE_SYNC_TYPE_USER_FENCE,
        flags=xe.DRM_XE_SYNC_FLAG_SIGNAL,
        addr=address,
        timeline_value=value,
    )
