# SPDX-License-Identifier: MIT
"""GPU faults concurrent with VM_BIND, MADVISE, VM_CREATE and VM_DESTROY: each takes effect, and none disturbs another.

Faults, VM_BIND, MADVISE and VM_DESTROY of one VM exclude each other by its lock; faults find their VM by an id that may
be another VM's a moment later (xe_vm_doc.h; xe_pagefault.c: xe_pagefault_asid_to_vm).
"""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pytest

from fixtures import FAULTING, UserFence, acts, behaviour, landed, needs, wait_until
from fixtures.gate import Gate
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.overlap import in_flight, meanwhile
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.flags import ATOMIC, PREFERRED_LOC
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

ROUNDS = 6
MASK = 0xFFFF_FFFF
DEFAULTS = (xe.DRM_XE_PREFERRED_LOC_DEFAULT_DEVICE, xe.DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM)

T = TypeVar("T")

pytestmark = needs("page-faults")


@pytest.fixture
def storing(queue: Queue, memory: Memory, sentinel: Sentinel) -> Callable[[], None]:
    """``storing()``: rounds of GPU stores, each into a fresh range, whose faults are served in the meantime."""
    queue.store(memory(PAGE).address, sentinel())  # its own bind is over, which may not meet another's

    def store() -> None:
        buffer: Buffer = memory(4 * SZ_2M, align=SZ_2M)
        for _ in range(ROUNDS):
            values = {at: sentinel() for at in range(buffer.address, buffer.end, SZ_2M)}
            queue.store_all(values)
            for address, value in values.items():
                landed(buffer, address - buffer.address, value)
            buffer.remap_fresh()

    return store


@behaviour("race.fault-vs-bind")
@acts("store", "ioctl", "overlap")
def test_binds_elsewhere_race_with_faults(mirror_vm: Vm, bo: MakeBo, storing: Callable[[], None]) -> None:
    """BOs are bound and unbound elsewhere in the VM while the GPU faults: all mirrored data is correct."""
    made, address = bo(SZ_2M), mirror_vm.size // 2

    def bind(number: int) -> None:
        try:
            mirror_vm.map(made, address + number % 4 * SZ_2M)
            mirror_vm.mirror(address, 4 * SZ_2M)
        except OSError as error:
            # The rest of a split mirror waits for the fence of the bind that split it: the queue's own.
            if error.errno != errno.EBUSY:
                raise

    with meanwhile(bind):
        storing()


@behaviour("race.fault-vs-bind")
@acts("store")
def test_bind_takes_effect_under_running_batch(
    queue: Queue, mirror_vm: Vm, bo: MakeBo, gate: Gate, sentinel: Sentinel
) -> None:
    """A BO is bound while a batch waits: the batch, which faulted next to it before, then uses it."""
    made, address, value = bo(SZ_2M), mirror_vm.size // 2, sentinel()
    job = queue.start(gate.hold(Batch()).store_dword(address, value))
    gate.reached()
    mirror_vm.map(made, address)
    gate.open()
    job.wait()
    landed(made.map(), 0, value)


@behaviour("race.fault-vs-madvise")
@acts("store", "ioctl", "overlap")
@needs("range-attributes")
def test_madvise_races_with_faults(mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """MADVISE of the memory that the GPU faults in: data is right, and a query has the value set last."""
    buffer: Buffer = memory(4 * SZ_2M, align=SZ_2M)
    place = buffer.address, buffer.size

    def advise(number: int) -> None:
        mirror_vm.madvise(*place, PREFERRED_LOC, devmem_fd=DEFAULTS[number % 2] & MASK)
        found = {area.preferred_mem_loc.devmem_fd & MASK for area in mirror_vm.attributes(*place)}
        assert found == {DEFAULTS[number % 2] & MASK}

    def look(_: int) -> None:
        found = {area.preferred_mem_loc.devmem_fd & MASK for area in mirror_vm.attributes(*place)}
        assert len(found) == 1
        assert found <= {one & MASK for one in DEFAULTS}

    with meanwhile(advise, look):
        for _ in range(ROUNDS):
            values = {at: sentinel() for at in range(buffer.address, buffer.end, SZ_2M)}
            queue.store_all(values)
            for address, value in values.items():
                landed(buffer, address - buffer.address, value)


@behaviour("race.madvise-vs-madvise")
@acts("ioctl", "store", "overlap")
@needs("range-attributes")
def test_concurrent_madvise_calls_are_serialised(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel
) -> None:
    """Two threads MADVISE one VMA with different values: all of it ends up with one of them."""
    buffer: Buffer = memory(4 * SZ_2M, align=SZ_2M)
    modes = (xe.DRM_XE_ATOMIC_CPU, xe.DRM_XE_ATOMIC_GLOBAL)

    def advise(mode: int) -> None:
        mirror_vm.madvise(buffer.address, buffer.size, ATOMIC, val=mode)

    for _ in range(ROUNDS):
        with meanwhile(lambda _: advise(modes[0]), lambda _: advise(modes[1])):
            advise(modes[0])
        (area,) = {area.atomic.val for area in mirror_vm.attributes(buffer.address, buffer.size)}
        assert area in modes
    value = sentinel()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("race.fault-vs-destroy")
@acts("store", "ioctl", "overlap")
@needs("cpu-addr-mirror")
def test_vm_destroy_races_with_faults(make_vm: MakeVm, memory: Memory, sentinel: Sentinel) -> None:
    """VM_DESTROY while a batch faults on fresh memory returns, and another VM can use the memory."""
    for _ in range(ROUNDS):
        vm: Vm = make_vm(FAULTING)
        vm.mirror()
        buffer: Buffer = memory(4 * SZ_2M, align=SZ_2M)
        batch = Batch()
        for offset in range(0, buffer.size, 8 * PAGE):
            batch.store_dword(buffer.address + offset, sentinel())
        in_flight(vm.queue().start(batch))
        vm.close()
    vm = make_vm(FAULTING)
    vm.mirror()
    value = sentinel()
    vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("race.fault-vs-destroy")
@acts("ioctl", "store")
@needs("cpu-addr-mirror")
def test_vm_destroy_under_waiting_batch(
    make_vm: MakeVm, memory: Memory, gate: Gate, sentinel: Sentinel
) -> None:
    """VM_DESTROY with a batch that waits returns; the batch stores nothing afterwards."""
    vm: Vm = make_vm(FAULTING)
    vm.mirror()
    buffer, before = memory(PAGE, shared=True), sentinel()
    vm.queue().start(
        gate.hold(Batch().store_dword(buffer.address, before)).store_dword(buffer.address, sentinel())
    )
    gate.reached()
    vm.close()
    gate.open()
    other = make_vm(FAULTING)
    other.mirror()
    queue = other.queue()
    queue.store(buffer.address + 4, sentinel())  # the same engine: it has done with the other batch
    landed(buffer, 0, before)


@behaviour("race.create-destroy-storm")
@acts("store", "ioctl", "overlap")
def test_vm_create_destroy_races_with_faults(make_vm: MakeVm, storing: Callable[[], None]) -> None:
    """VMs are created, used and destroyed while the GPU faults for another one, which never gets a foreign page."""

    def come_and_go(_: int) -> None:
        vm = make_vm(FAULTING)
        vm.mirror()
        vm.close()

    with meanwhile(come_and_go):
        storing()


@behaviour("race.signal-during-ioctl")
@acts("store", "ioctl", "overlap")
def test_interrupted_ioctls_can_be_retried(
    mirror_vm: Vm, queue: Queue, bo: MakeBo, sentinel: Sentinel
) -> None:
    """Binds, waits and EXECs under a storm of signals succeed or can be restarted, with the right result."""
    main = threading.get_ident()
    got: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
    made, address = bo(SZ_2M), mirror_vm.size // 2
    buffer = made.map()
    try:
        with meanwhile(lambda _: signal.pthread_kill(main, signal.SIGUSR1)):
            for number in range(ROUNDS):
                at = address + number * SZ_2M
                fence, value = UserFence(mirror_vm.device), sentinel()
                entry = fence.sync()
                repeated(partial(mirror_vm.bind, addr=at, range=SZ_2M, obj=made.handle, syncs=[entry]))
                wait_until(partial(getattr, fence, "signalled"), what="the bind")
                job = repeated(partial(queue.start, Batch().store_dword(at, value)))
                repeated(job.wait)
                landed(buffer, 0, value)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert got, "no signal came"


def repeated(call: Callable[[], T]) -> T:
    """Result of ``call``, which is repeated for as long as a signal interrupts it."""
    while True:
        try:
            return call()
        except OSError as error:
            if error.errno not in (errno.EINTR, errno.EAGAIN):
                raise


@behaviour("race.vram-alloc-lock")
@acts("store", "ioctl", "overlap")
@needs("vram")
def test_bo_allocation_races_with_migration(device: Device, bo: MakeBo, storing: Callable[[], None]) -> None:
    """BOs in VRAM come and go while memory migrates there: data is correct, and no VRAM is leaked."""
    instance = device.vram[0]
    bo(SZ_2M, placement=1 << instance).close()
    before = device.region(instance).used

    def allocate(_: int) -> None:
        bo(SZ_2M, placement=1 << instance).close()

    with meanwhile(allocate):
        storing()
    wait_until(
        lambda: device.region(instance).used <= before + 8 * SZ_2M, what="the release of what was allocated"
    )


@behaviour("race.fault-vs-evict")
@acts("store", "ioctl", "overlap")
@needs("vram")
@pytest.mark.timeout(60)
def test_eviction_races_with_faults(device: Device, bo: MakeBo, storing: Callable[[], None]) -> None:
    """A BO repeatedly takes the last free VRAM while GPU faults migrate memory there."""
    placement = 1 << device.vram[0]
    part = device.region(device.vram[0]).total_size // 16
    held = [bo(part, placement=placement) for _ in range(14)]

    with meanwhile(lambda _: bo(part, placement=placement).close(), each=2):
        storing()
    assert len(held) == 14
