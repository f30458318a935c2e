# SPDX-License-Identifier: MIT
"""Random batches: commands with mostly sensible fields, and some that no compiler would emit."""

from __future__ import annotations

import ctypes
import os
import struct
from random import Random
from typing import Any

from gpu import commands
from gpu.encoding import Address, Bits, Command, Less, Tail
from ioctl import xe
from tests.mock.soak import raw

AREA, SIZE = 1 << 33, 1 << 21
COMMANDS: list[type[Command]] = [
    value
    for value in vars(commands).values()
    if isinstance(value, type) and issubclass(value, Command) and value is not Command
]
_END = 0x0A << 23
_STORE = 0x20 << 23 | 2
_WAIT_NS = 1_000_000
_FAULT_MODE = xe.DRM_XE_VM_CREATE_FLAG_LR_MODE | xe.DRM_XE_VM_CREATE_FLAG_FAULT_MODE


class Gpu:
    """One queue of one VM, replaced when it fails; memory of the process is mirrored, or bound by address."""

    def __init__(self, node: str, seed: int) -> None:
        self._dice = Random(seed)
        self._fd = os.open(node, os.O_RDWR)
        # Far from everything else: random stores of batches must not hit the interpreter.
        self._memory = raw.map_at(AREA, SIZE)
        self._closed = raw.map_at(AREA + 2 * SIZE, 65536, 1)
        self._fence = raw.map_at(AREA + 3 * SIZE, 4096)
        self._vm = self._queue = self._flags = 0
        self._value = self._submitted = 0
        self._make_vm()

    def act(self) -> None:
        """Submit a batch, and watch it for a while."""
        dice = self._dice
        if self._submitted > dice.choice((2, 8, 40)) or not self._queue:
            self._renew()
        at = self._memory + dice.randrange(0, SIZE - 16384, 64)
        words = self._batch(at)
        data = struct.pack(f"<{len(words)}I", *words)
        ctypes.memmove(at, data, len(data))
        self._value += 1
        self._submitted += 1
        if self._submit(at) or dice.random() < 0.05:
            self._renew()
        elif self._flags and dice.random() < 0.5:
            wait = xe.drm_xe_wait_user_fence(
                addr=self._fence,
                value=self._value,
                mask=(1 << 64) - 1,
                timeout=_WAIT_NS,
                exec_queue_id=self._queue,
            )
            raw.call(self._fd, xe.DRM_IOCTL_XE_WAIT_USER_FENCE, wait)
        if dice.random() < 0.01:
            raw.madvise(self._memory + dice.randrange(0, SIZE - 65536, 4096), 65536, 4)
        elif dice.random() < 0.01:
            raw.map_at(self._memory + dice.randrange(0, SIZE - 65536, 4096), 65536)

    def _submit(self, at: int) -> int:
        sync = xe.drm_xe_sync(
            type=xe.DRM_XE_SYNC_TYPE_USER_FENCE,
            flags=xe.DRM_XE_SYNC_FLAG_SIGNAL,
            addr=self._fence,
            timeline_value=self._value,
        )
        execute = xe.drm_xe_exec(exec_queue_id=self._queue, address=at, num_batch_buffer=1)
        if self._flags:
            execute.num_syncs, execute.syncs = 1, ctypes.addressof(sync)
        return raw.call(self._fd, xe.DRM_IOCTL_XE_EXEC, execute)

    # Queues and VMs

    def _renew(self) -> None:
        if self._queue:
            destroy = xe.drm_xe_exec_queue_destroy(exec_queue_id=self._queue)
            raw.call(self._fd, xe.DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, destroy)
        if self._dice.random() < 0.1:
            raw.call(self._fd, xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=self._vm))
            self._make_vm()
        engine = xe.drm_xe_engine_class_instance(engine_class=self._dice.choice((0, 1, 1, 3, 4)))
        queue = xe.drm_xe_exec_queue_create(
            width=1, num_placements=1, vm_id=self._vm, instances=ctypes.addressof(engine)
        )
        made = raw.call(self._fd, xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, queue)
        self._queue = queue.exec_queue_id if made == 0 else 0
        self._submitted = 0

    def _make_vm(self) -> None:
        self._flags = self._dice.choice((_FAULT_MODE, _FAULT_MODE, xe.DRM_XE_VM_CREATE_FLAG_LR_MODE, 0))
        vm = xe.drm_xe_vm_create(flags=self._flags)
        if raw.call(self._fd, xe.DRM_IOCTL_XE_VM_CREATE, vm):
            vm = xe.drm_xe_vm_create(flags=_FAULT_MODE)
            raw.call(self._fd, xe.DRM_IOCTL_XE_VM_CREATE, vm)
        self._vm, self._queue = vm.vm_id, 0
        if self._flags == _FAULT_MODE:
            self._bind(AREA, 1 << 30, xe.DRM_XE_VM_BIND_OP_MAP, xe.DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR)
        else:
            for start, size in ((self._memory, SIZE), (self._fence, 4096)):
                self._bind(start, size, xe.DRM_XE_VM_BIND_OP_MAP_USERPTR, 0)

    def _bind(self, start: int, size: int, op: int, flags: int) -> None:
        bind = xe.drm_xe_vm_bind(vm_id=self._vm, num_binds=1)
        bind.bind = xe.drm_xe_vm_bind_op(addr=start, range=size, op=op, flags=flags, pat_index=2)
        if op == xe.DRM_XE_VM_BIND_OP_MAP_USERPTR:
            bind.bind.userptr = start
        raw.call(self._fd, xe.DRM_IOCTL_XE_VM_BIND, bind)

    # Contents of a batch

    def _batch(self, at: int) -> list[int]:
        dice = self._dice
        kind = dice.random()
        if kind < 0.15:
            words = [dice.getrandbits(32) for _ in range(dice.randrange(1, 100))]
        elif kind < 0.2:
            jump = commands.BatchBufferStart.encode(None, address=at)
            words = [0] * dice.randrange(3) + list(jump)
        elif kind < 0.3:
            words = []
            for _ in range(dice.randrange(1, 8)):
                target = at + 4 * dice.randrange(48)
                words += [
                    _STORE,
                    target & 0xFFFFFFFF,
                    target >> 32,
                    dice.choice((_END, dice.getrandbits(32))),
                ]
        else:
            words = []
            for _ in range(dice.randrange(1, 10)):
                words += self._command()
            if dice.random() < 0.3:
                words[dice.randrange(len(words))] ^= 1 << dice.randrange(32)
        return [*words, _END, 0]

    def _command(self) -> list[int]:
        """One command; a field that does not fit into this length of it is left out."""
        dice = self._dice
        kind = dice.choice(COMMANDS)
        length = dice.choice(list(kind.lengths)[:8])
        values: dict[str, Any] = {}
        for name, field in kind.fields.items():
            if field.first < length or isinstance(field, Tail):
                values[name] = self._field(field)
        try:
            return list(kind.encode(length, **values))
        except ValueError:
            return [0]

    def _field(self, field: Bits | Address | Tail) -> Any:
        dice = self._dice
        if isinstance(field, Address):
            return self._address() & ~(~field.low & 0xFFFFFFFF)
        if isinstance(field, Tail):
            return [dice.getrandbits(32) for _ in range(dice.choice((1, 2, 4, 8)))]
        if isinstance(field, Less):
            return min(field.mask + 1, dice.choice((1, 4, 64, 256, 4096, field.mask + 1)))
        return dice.randrange(field.mask + 1) if dice.random() < 0.4 else 0

    def _address(self) -> int:
        dice = self._dice
        chance = dice.random()
        if chance < 0.75:
            return self._memory + dice.randrange(0, SIZE, dice.choice((4, 64, 4096)))
        if chance < 0.8:
            return self._memory + dice.choice((4092, 8190, SIZE - 4, SIZE - 1))
        if chance < 0.85:
            return self._closed + dice.randrange(65536)
        return dice.choice((0, 4096, (1 << 47) - 8, (1 << 48) - 4, 1 << 56, (1 << 63), dice.getrandbits(48)))
