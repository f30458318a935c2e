# SPDX-License-Identifier: MIT
"""The clients of a soak, each in its own process: some act at random, others check their data."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from random import Random

from gpu import Batch
from ioctl import Request, xe
from mock.linux.syscall import syscall
from tests.mock.soak import batches, raw
from tests.mock.soak.shapes import ARENA, PLACE, REQUESTS, Shapes
from tests.mock.soak.tally import Tally

FAULT_MODE = xe.DRM_XE_VM_CREATE_FLAG_LR_MODE | xe.DRM_XE_VM_CREATE_FLAG_FAULT_MODE
_PR_SET_PDEATHSIG = 1
INTERNAL = (5, 131, 38)
"""EIO, ENOTRECOVERABLE, ENOSYS: the mock returns these for its own bugs only, and no xe ioctl for these clients."""


class Trouble(Exception):  # noqa: N818 - what a soak is for
    """A client found an error."""


class Talker:
    """Random ioctls, one after the other, on nodes that it opens and closes."""

    def __init__(self, nodes: list[str], seed: int) -> None:
        self._dice = Random(seed)
        self._nodes = nodes
        self._arena = raw.map_at(PLACE, ARENA)
        self._shapes = Shapes(self._dice, self._arena)
        self._shapes.refill()
        self._fds = [os.open(path, os.O_RDWR) for path in nodes]
        self._argument = self._arena
        self._request: Request = REQUESTS[0]

    def talk(self) -> None:
        """One ioctl."""
        dice = self._dice
        chance = dice.random()
        if chance < 0.005:
            self._shapes.refill()
        elif chance < 0.006:
            at = dice.randrange(len(self._fds))
            os.close(self._fds[at])
            self._fds[at] = os.open(self._nodes[at], os.O_RDWR)
        elif chance < 0.008:
            raw.madvise(self._arena + dice.randrange(0, ARENA - 65536, 4096), 65536, mmap.MADV_DONTNEED)
        if chance < 0.2:
            self._request = dice.choice(REQUESTS)
            if self._request.struct is not None:
                self._shapes.fill(self._request.struct.from_address(self._argument))
        elif chance < 0.4:
            self._shapes.touch(self._request, self._argument)
        request = self._request
        number = request.number
        if dice.random() < 0.02:
            number ^= 1 << dice.randrange(16, 32)
        argument = self._argument if dice.random() < 0.99 else self._shapes.pointer()
        result = raw.ioctl(dice.choice(self._fds), number, argument)
        if -result in INTERNAL:
            raise Trouble(f"{request.name}: errno {-result}")

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


def end_with_parent() -> None:
    """Have this process killed when its parent ends: a killed soak leaves no processes."""
    syscall("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def awaken() -> None:
    """A signal twenty times per second ends waits."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)


def talk(tally: Tally, slot: int, nodes: list[str], seed: int, most: int) -> None:
    """``most`` ioctls, or until the soak is over."""
    awaken()
    talker = Talker(nodes, seed)
    while tally.ioctls[slot] < most and not tally.over:
        talker.talk()
        tally.ioctls[slot] += 1


def batch(tally: Tally, slot: int, nodes: list[str], seed: int, most: int) -> None:
    """``most`` batches, or until the soak is over."""
    awaken()
    gpu = batches.Gpu(nodes[slot % len(nodes)], seed)
    while tally.batches[slot] < most and not tally.over:
        gpu.act()
        tally.batches[slot] += 1


def ways_of_life(tally: Tally, slot: int, nodes: list[str], seed: int, most: int) -> None:
    """Children that use inherited objects, move their memory in the meantime, and are stopped and killed."""
    del most
    dice = Random(seed)
    parent = Talker(nodes, seed)
    for _ in range(200):
        parent.talk()
    while not tally.over:
        pid = os.fork()
        if pid == 0:
            end_with_parent()
            with contextlib.suppress(Trouble):
                _child(parent, dice.getrandbits(32))
            os._exit(0)
        tally.children += 1
        time.sleep(dice.random() * 0.04)
        if dice.random() < 0.3:
            os.kill(pid, signal.SIGSTOP)
            tally.stopped += 1
            time.sleep(dice.random() * 0.05)
            if dice.random() < 0.7:
                os.kill(pid, signal.SIGCONT)
        if dice.random() < 0.6:
            time.sleep(dice.random() * 0.04)
            os.kill(pid, signal.SIGKILL)
            tally.killed += 1
        os.kill(pid, signal.SIGCONT)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
            tally.hurt += 1


def _child(talker: Talker, seed: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (20, 30))  # a child that has damaged itself may run without end
    talker._dice.seed(seed)
    awaken()
    dice = Random(seed)
    place = raw.map_at(0, 1 << 20)

    def stir() -> None:
        for _ in range(200):
            size = 4096 * dice.randrange(1, 16)
            at = place + dice.randrange(0, (1 << 20) - size, 4096)
            chance = dice.randrange(4)
            if chance == 0:
                raw.munmap(at, size, 0)
            elif chance == 1:
                raw.madvise(at, size, mmap.MADV_DONTNEED)
            elif chance == 2:
                raw.mprotect(at, size, mmap.PROT_READ)
            else:
                raw.mremap(at, 4096, 4096, 3, place + dice.randrange(0, 1 << 20, 4096))

    thread = threading.Thread(target=stir, daemon=True)
    thread.start()
    for _ in range(dice.randrange(200)):
        talker.talk()
    if dice.random() < 0.3:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.execv("/bin/true", ["true"])


class Honest:
    """Memory that CPU and GPU store to in turn; both read what was stored last."""

    SIZE = 1 << 18

    def __init__(self, node: str, seed: int) -> None:
        self._dice = Random(seed)
        self._fd = os.open(node, os.O_RDWR)
        vm = xe.drm_xe_vm_create(flags=FAULT_MODE)
        self._must(xe.DRM_IOCTL_XE_VM_CREATE, vm)
        bind = xe.drm_xe_vm_bind(vm_id=vm.vm_id, num_binds=1)
        flags = xe.DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR
        bind.bind = xe.drm_xe_vm_bind_op(range=1 << 47, flags=flags, pat_index=2)
        self._must(xe.DRM_IOCTL_XE_VM_BIND, bind)
        engine = xe.drm_xe_engine_class_instance(engine_class=1)
        queue = xe.drm_xe_exec_queue_create(
            width=1, num_placements=1, vm_id=vm.vm_id, instances=ctypes.addressof(engine)
        )
        self._must(xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, queue)
        self._queue = queue.exec_queue_id
        self._code = raw.map_at(0, 4096)
        self._fence = raw.map_at(0, 4096)
        self._rounds = 0

    def _must(self, request: Request, argument: ctypes.Structure) -> None:
        result = raw.call(self._fd, request, argument)
        if result < 0:
            raise Trouble(f"{request.name}: {os.strerror(-result)}")

    def round(self) -> None:
        """New memory: the CPU fills it, the GPU changes some of it, the CPU finds both."""
        self._rounds += 1
        dice, value = self._dice, self._rounds
        memory = raw.map_at(0, self.SIZE)
        expected = bytearray(dice.randbytes(self.SIZE))
        ctypes.memmove(memory, bytes(expected), self.SIZE)
        for _ in range(2):
            program = Batch()
            for _ in range(8):
                at, word = dice.randrange(0, self.SIZE, 4), dice.getrandbits(32)
                program.store_dword(memory + at, word)
                expected[at : at + 4] = word.to_bytes(4, "little")
            code = program.end().encode()
            ctypes.memmove(self._code, code, len(code))
            ctypes.c_uint64.from_address(self._fence).value = 0
            self._run(value)
            at = dice.randrange(0, self.SIZE - 8)
            ctypes.memmove(memory + at, b"honestly", 8)
            expected[at : at + 8] = b"honestly"
        found = ctypes.string_at(memory, self.SIZE)
        if found != expected:
            wrong = [
                at for at in range(0, self.SIZE, 4096) if found[at : at + 4096] != expected[at : at + 4096]
            ]
            raise Trouble(f"round {value}: {len(wrong)} pages differ, the first at {wrong[0]:#x}")
        raw.munmap(memory, self.SIZE, 0)

    def _run(self, value: int) -> None:
        sync = xe.drm_xe_sync(
            type=xe.DRM_XE_SYNC_TYPE_USER_FENCE,
            flags=xe.DRM_XE_SYNC_FLAG_SIGNAL,
            addr=self._fence,
            timeline_value=value,
        )
        execute = xe.drm_xe_exec(
            exec_queue_id=self._queue,
            address=self._code,
            num_batch_buffer=1,
            num_syncs=1,
            syncs=ctypes.addressof(sync),
        )
        self._must(xe.DRM_IOCTL_XE_EXEC, execute)
        wait = xe.drm_xe_wait_user_fence(
            addr=self._fence, value=value, mask=(1 << 64) - 1, timeout=60 * 10**9, exec_queue_id=self._queue
        )
        self._must(xe.DRM_IOCTL_XE_WAIT_USER_FENCE, wait)


def check(tally: Tally, slot: int, nodes: list[str], seed: int, most: int) -> None:
    """Rounds until the soak is over."""
    del most
    honest = Honest(nodes[slot % len(nodes)], seed)
    while not tally.over:
        start = time.monotonic()
        honest.round()
        tally.rounds[slot] += 1
        tally.longest_us[slot] = max(tally.longest_us[slot], int((time.monotonic() - start) * 1e6))


Body = Callable[[Tally, int, list[str], int, int], None]
