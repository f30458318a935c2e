# SPDX-License-Identifier: MIT
"""Objects of a process on the device when it exits, calls execve(2), or passes its descriptor on."""

from __future__ import annotations

import errno
import fcntl
import functools
import itertools
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures import (
    FAULTING,
    PLAIN,
    Vm,
    acts,
    behaviour,
    disturbs,
    gpu_fault,
    gpu_sees,
    in_child,
    landed,
    needs,
    refused,
    wait_until,
)
from fixtures.counting import count
from fixtures.gate import Gate
from fixtures.given import MakeBo, Memory, OpenDevice, Sentinel
from fixtures.memory import PAGE, PROT_READ, Buffer, allocate
from fixtures.overlap import together
from fixtures.process import Child
from fixtures.seeds import sentinel as random_value
from fixtures.sizes import SZ_2M
from fixtures.timeouts import scale_timeout
from fixtures.xe.bo import Bo
from fixtures.xe.device import Device
from fixtures.xe.flags import ATOMIC
from gpu import Batch
from ioctl import xe
from ioctl.transcript import cannot

HELD = 8 * SZ_2M
"""Bytes of memory that a program moves to VRAM."""

pytestmark = [needs("page-faults", "cpu-addr-mirror"), pytest.mark.timeout(60)]


def used(device: Device) -> int:
    """Bytes in use of the device's first VRAM region; 0 if there is none."""
    return device.vram_used() if device.vram else 0


def let_go(device: Device, before: int) -> None:
    """Wait until no more VRAM is in use than before, except for page tables that others need."""
    wait_until(lambda: used(device) < before + SZ_2M, 20, what="the release of VRAM")


def work(vm: Vm, size: int = HELD) -> Buffer:
    """Memory that the GPU has stored to in each chunk: in VRAM if there is VRAM. Never unmapped."""
    buffer, queue = allocate(size, align=SZ_2M), vm.queue()
    queue.store_all({address: random_value() for address in range(buffer.address, buffer.end, SZ_2M)})
    return buffer


def program(path: str) -> tuple[Device, Vm]:
    """State of a program after its start: its own descriptor, and a VM that mirrors it."""
    device = Device(path)
    vm = Vm(device, FAULTING)
    vm.mirror()
    return device, vm


@behaviour("life.process-exit-idle")
@acts("ioctl")
@pytest.mark.parametrize("rounds", [1, 3])
def test_exit_without_cleanup_frees_all(device: Device, rounds: int) -> None:
    """Processes that exit without closing anything leak no VRAM."""
    before = used(device)

    def child() -> int:
        own, vm = program(device.path)
        work(vm)
        return used(own)

    for _ in range(rounds):
        ended = in_child(child, 20)
        assert not ended.error, ended.error
        assert not device.vram or ended.result >= before + HELD
        let_go(device, before)
    count("ioctl")


@behaviour("life.process-exit-running")
@acts("store")
def test_kill_while_a_batch_runs(device: Device, mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """SIGKILL while a batch runs ends the process soon and frees its VRAM; other processes are unaffected."""
    buffer, queue, value = memory(PAGE), mirror_vm.queue(), sentinel()
    queue.store(buffer.address, sentinel())
    before, shared = used(device), memory(PAGE, shared=True)

    def child() -> None:
        _, vm = program(device.path)
        work(vm)
        gate = Gate(shared)
        vm.queue().start(gate.hold(Batch()))
        gate.reached()
        shared.set_u32(PAGE - 4, 1)
        signal.pause()

    running = Child(child)
    try:
        wait_until(lambda: shared.u32(PAGE - 4), 20, what="the child's batch")
        assert not device.vram or used(device) >= before + HELD
    finally:
        running.kill()  # and waits for its end
    let_go(device, before)
    queue.store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("life.fd-close")
@acts("store")
def test_close_frees_vms_and_keeps_data(
    device: Device, open_device: OpenDevice, memory: Memory, sentinel: Sentinel
) -> None:
    """Closing the descriptor destroys queues and VMs and frees VRAM; the process keeps what the GPU stored."""
    before, own, buffer = used(device), open_device(), memory(HELD, align=SZ_2M)
    vm = Vm(own, FAULTING)
    vm.mirror()
    values = {offset: sentinel() for start in range(0, HELD, SZ_2M) for offset in (start, start + SZ_2M - 4)}
    vm.queue().store_all({buffer.address + offset: value for offset, value in values.items()})
    own.close()
    for offset, value in values.items():
        landed(buffer, offset, value)
    vm.close()  # of its queue's own mapping only: a mapping keeps the device, and the driver could not be unbound
    let_go(device, before)


ORDERS = list(itertools.permutations(("queue", "vm", "fd", "memory")))


@behaviour("life.close-order")
@acts("store")
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_anything_may_go_first(
    device: Device, open_device: OpenDevice, memory: Memory, sentinel: Sentinel, order: tuple[str, ...]
) -> None:
    """Queue, VM, descriptor and memory can be released in any order: no error, no VRAM leak, and the device works."""
    before, own, buffer, value = used(device), open_device(), memory(2 * SZ_2M, align=SZ_2M), sentinel()
    vm = Vm(own, FAULTING)
    vm.mirror()
    queue = vm.queue()
    queue.store_all({buffer.address: value, buffer.address + SZ_2M: value})
    ends = {"queue": queue.close, "vm": vm.close, "fd": own.close, "memory": buffer.munmap}
    for what in order:
        if what == "vm" and queue in vm.queues and "queue" not in order[: order.index("vm")]:
            vm.queues.remove(queue)  # VM_DESTROY while a queue of it lives
        ends[what]()
    let_go(device, before)
    other = Vm(device, FAULTING)
    other.mirror()
    again = memory(SZ_2M, align=SZ_2M)
    other.queue().store(again.address, value)
    landed(again, 0, value)
    other.close()


@behaviour("life.many-vms")
@acts("ioctl")
@pytest.mark.parametrize("flags", [PLAIN, FAULTING], ids=["plain", "fault"])
def test_many_vms_leave_nothing(device: Device, flags: int) -> None:
    """A thousand VMs, one after the other, leak no VRAM and no id."""
    Vm(device, flags).close()
    before, first = used(device), None
    for _ in range(1000):
        vm = Vm(device, flags)
        first = first or vm.id
        assert vm.id
        assert vm.id == first  # the id that was given back is given again
        vm.close()
    let_go(device, before)


@behaviour("life.threads")
@acts("store", "load", "overlap")
def test_threads_share_mirror_and_memory(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """Threads with their own queues use the same mirrored memory concurrently; each sees the right data."""
    threads, rounds = 6, 10
    wrong: list[tuple[object, ...]] = []
    buffer = memory(SZ_2M, align=SZ_2M)
    values = [[sentinel() for _ in range(rounds)] for _ in range(threads)]
    queues = [mirror_vm.queue() for _ in range(threads)]
    for queue in queues:
        queue.run(Batch().noop())  # its own bind is done: two binds at once may meet (EBUSY)

    def run(number: int) -> None:
        for turn in range(rounds):
            offset = 4 * (number + threads * turn)  # neighbours share a page, most of them a cache line
            queues[number].store(buffer.address + offset, values[number][turn])
            seen = queues[number].load(buffer.address + offset)
            if seen != values[number][turn] or buffer.u32(offset) != seen:
                wrong.append((number, turn, seen))

    together(*(functools.partial(run, number) for number in range(threads)), deadline=40)
    assert not wrong, wrong
    for number, turns in enumerate(values):
        for turn, value in enumerate(turns):
            offset = 4 * (number + threads * turn)
            landed(buffer, offset, value)
            if turn == rounds - 1:
                gpu_sees(queues[0], buffer.address + offset, value)


Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a connection over which descriptors go."""
    pair = socket.socketpair()
    for end in pair:
        end.settimeout(scale_timeout(20))
    yield pair
    for end in pair:
        end.close()


class Passed:
    """A program that has handed its descriptor over, with a VM that mirrors it, a queue, and memory in use."""

    def __init__(self, path: str, ends: Ends, value: int) -> None:
        """The memory has ``value`` at its start."""
        here, there = ends

        def child() -> None:
            own, vm = program(path)
            buffer = work(vm)
            buffer.set_u32(0, value)
            socket.send_fds(there, [f"{vm.id} {buffer.address}".encode()], [own.fd])
            there.recv(1)

        self.process = Child(child)
        cannot("its processes pass a descriptor")
        text, (fd,), _, _ = socket.recv_fds(here, 100, 1)
        self._here = here
        self.device = Device.adopt(path, fd)
        vm, self.address = map(int, text.split())
        self.vm = Vm.existing(self.device, vm, FAULTING)

    def end(self) -> None:
        """The program ends, and its memory is gone."""
        self._here.send(b".")
        ended = self.process.end(20)
        assert not ended.error, ended.error


@pytest.fixture
def passed(device: Device, ends: Ends, sentinel: Sentinel) -> Iterator[Passed]:
    """See ``Passed``."""
    made = Passed(device.path, ends, sentinel())
    yield made
    made.process.kill()
    made.vm.close()
    made.device.close()


@behaviour("life.fd-passing")
@acts("load", "refusal")
@needs("fd-passing")
def test_passed_vm_uses_its_creators_memory(passed: Passed, sentinel: Sentinel) -> None:
    """A VM passed with a descriptor uses its creator's memory; after the creator exits, its faults fail."""
    queue = passed.vm.queue()
    value = queue.load(passed.address)
    assert value
    second = sentinel()
    queue.store(passed.address + 4, second)
    gpu_sees(queue, passed.address + 4, second)
    gpu_sees(queue, passed.address, value)
    passed.end()
    with gpu_fault(passed.vm.queue()) as other:
        other.load(passed.address)


@behaviour("life.mm-not-pinned")
@acts("ioctl")
@needs("fd-passing", "svm-vram")
def test_passed_vm_does_not_keep_memory(device: Device, ends: Ends, sentinel: Sentinel) -> None:
    """A VM held open by another process does not keep its creator's memory after the creator exits."""
    before = used(device)
    passed = Passed(device.path, ends, sentinel())
    try:
        assert used(device) >= before + HELD - SZ_2M  # the CPU has taken the first chunk back
        passed.end()
        let_go(device, before + SZ_2M)  # the VM's own page tables stay
    finally:
        passed.process.kill()
        passed.device.close()
    let_go(device, before)
    count("ioctl")


def _fault(vm: Vm, buffer: Buffer) -> None:
    vm.queue().store(buffer.address, random_value())


def _prefetch_and_back(vm: Vm, buffer: Buffer) -> None:
    for region in (vm.device.vram[0], 0):
        vm.prefetch(buffer.address, buffer.size, region)


def _advise_part(vm: Vm, buffer: Buffer) -> None:
    """Advice for a part of a range in VRAM, which splits it."""
    vm.prefetch(buffer.address, buffer.size, vm.device.vram[0])
    vm.madvise(buffer.address, SZ_2M // 2, ATOMIC, val=xe.DRM_XE_ATOMIC_DEVICE)


def _evict(vm: Vm, buffer: Buffer) -> None:
    """BOs take the VRAM of all of it."""
    region = vm.device.vram[0]
    vm.prefetch(buffer.address, buffer.size, region)
    size = vm.device.region(region).total_size // 16
    taken = [Bo(vm.device, size, placement=1 << region) for _ in range(15)]
    while not all(buffer.present(offset) for offset in range(0, buffer.size, PAGE)):
        assert len(taken) < 64, "all of the VRAM is taken, and the memory is still there"
        taken.append(Bo(vm.device, SZ_2M, placement=1 << region))


def _fail(vm: Vm, buffer: Buffer) -> None:
    """A fault that fails, as the memory may not be written."""
    buffer.mprotect(PROT_READ)
    with gpu_fault(vm.queue()) as queue:
        queue.store(buffer.address, random_value())


def _userptr(vm: Vm, buffer: Buffer) -> None:
    at = 0x20_0000_0000
    vm.map_userptr(at, buffer.address, buffer.size)
    vm.queue().store(at, random_value())


@behaviour("life.mm-not-pinned")
@acts("ioctl")
@pytest.mark.parametrize(
    "use",
    [
        pytest.param(_fault, id="fault"),
        pytest.param(_prefetch_and_back, id="prefetch-and-back", marks=needs("svm-vram")),
        pytest.param(_advise_part, id="advise-part", marks=needs("svm-vram")),
        pytest.param(_evict, id="evicted", marks=[needs("svm-vram"), disturbs("it fills the VRAM")]),
        pytest.param(_fail, id="failed-fault"),
        pytest.param(_userptr, id="userptr", marks=needs("userptr")),
    ],
)
def test_mappings_of_ended_program_are_gone(device: Device, use: Callable[[Vm, Buffer], None]) -> None:
    """A program that used its memory with the GPU has no mapping any more after its end: no part of it is kept.

    A memfd cannot be sealed against writes while it is mapped for them (fcntl(2), F_SEAL_WRITE).
    """
    fd = os.memfd_create("mapped", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, PAGE)

    def run() -> None:
        _, vm = program(device.path)
        allocate(PAGE, shared=True, fd=fd)
        use(vm, allocate(SZ_2M, align=SZ_2M))
        with refused(errno.EBUSY):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)

    ended = in_child(run, deadline=20)
    assert not ended.error, ended.error
    wait_until(lambda: _sealed(fd), 20, what="the end of the program's mappings")
    os.close(fd)
    count("ioctl")


def _sealed(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


_NEW = "the new program"
"""An argument that tells it from the test's own process, which may be a worker that reads its standard input, too."""


@behaviour("life.exec")
@acts("ioctl")
def test_exec_ends_the_vm_of_the_old_program(
    device: Device, memory: Memory, bo: MakeBo, sentinel: Sentinel
) -> None:
    """After execve(2) a GPU fault of the old VM fails, and nothing is stored to the new program."""
    told, door = memory(PAGE, shared=True), bo(PAGE)
    gate, at = door.map(), 0x20_0000_0000

    def child() -> None:
        vm = Vm(device, FAULTING)
        vm.mirror()
        vm.map(door, at)
        target, queue = allocate(PAGE), vm.queue()
        queue.run(Batch().noop())
        queue.start(Batch().store_dword(at + 64, 1).semaphore_wait(at, 1).store_dword(target.address, 2))
        told.set_u32(0, queue.id)
        os.execv(sys.executable, [sys.executable, "-S", "-c", "import sys; sys.stdin.read(1)", _NEW])

    stdin, release = os.pipe()
    kept = os.dup(0)
    os.dup2(stdin, 0)
    try:
        running = Child(child)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(stdin)
    try:
        wait_until(lambda: gate.u32(64) == 1, 20, what="the child's batch")
        wait_until(lambda: _last_argument(running.pid) == _NEW, 20, what="execve")
        gate.set_u32(0, 1)
        wait_until(lambda: _banned(device, told.u32(0)), 20, what="the ban of the queue")
    finally:
        os.close(release)
        running.kill()
    count("ioctl")


def _last_argument(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().removesuffix("\0").rpartition("\0")[2]


def _banned(device: Device, queue: int) -> bool:
    argument = xe.drm_xe_exec_queue_get_property(
        exec_queue_id=queue, property=xe.DRM_XE_EXEC_QUEUE_GET_PROPERTY_BAN
    )
    device.ioctl(xe.DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, argument)
    return bool(argument.value)
