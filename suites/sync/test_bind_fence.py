# SPDX-License-Identifier: MIT
"""User fences and syncobjs of VM_BIND and EXEC: when they are signalled, and where (xe_sync.c)."""

from __future__ import annotations

import errno
import itertools

import pytest

from fixtures import (
    FAULTING,
    LONG_RUNNING,
    PLAIN,
    UserFence,
    acts,
    behaviour,
    in_child,
    landed,
    needs,
    refused,
    wait_until,
)
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, MakeSyncobj, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.seeds import fence_value
from fixtures.sizes import SZ_2M
from fixtures.xe.bo import Bo
from fixtures.xe.device import Device
from fixtures.xe.flags import UNMAP
from fixtures.xe.sync import Syncobj, user_fence, wait_user_fence
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound."""

MODES = pytest.mark.parametrize(
    "flags",
    [PLAIN, LONG_RUNNING, pytest.param(FAULTING, marks=needs("page-faults"))],
    ids=["plain", "lr", "fault"],
)
NO_DMA_FENCES = pytest.mark.parametrize(
    "flags", [LONG_RUNNING, pytest.param(FAULTING, marks=needs("page-faults"))], ids=["lr", "fault"]
)


@behaviour("sync.bind-ufence-cpu-address")
@acts("ioctl", "store")
@MODES
@pytest.mark.parametrize("place", [0, 8 * 100, PAGE - 8], ids=["first", "middle", "last"])
def test_bind_fence_is_written_when_the_bind_is_done(
    make_vm: MakeVm, bo: MakeBo, memory: Memory, sentinel: Sentinel, flags: int, place: int
) -> None:
    """The user fence of VM_BIND is 64 bits of process memory, written when the bind completes, and nothing else is."""
    vm, made, buffer, fence, value = make_vm(flags), bo(PAGE), memory(PAGE), fence_value(), sentinel()
    buffer.fill(b"\xa5")
    vm.bind(addr=AT, range=PAGE, obj=made.handle, syncs=[user_fence(buffer.address + place, fence)])
    wait_user_fence(vm.device, buffer.address + place, fence)
    expected = bytearray(b"\xa5" * PAGE)
    expected[place : place + 8] = fence.to_bytes(8, "little")
    assert buffer.bytes() == expected
    count("ioctl")
    vm.queue().store(AT, value)
    landed(made.map(), 0, value)


@behaviour("sync.lr-no-syncobj-out")
@acts("refusal", "ioctl")
@NO_DMA_FENCES
@pytest.mark.parametrize("point", [0, 5], ids=["binary", "timeline"])
def test_lr_vm_signals_no_syncobj(
    make_vm: MakeVm, bo: MakeBo, syncobj: MakeSyncobj, flags: int, point: int
) -> None:
    """A syncobj or a timeline point to signal gives EOPNOTSUPP from EXEC and VM_BIND of a long-running VM."""
    vm, made, out = make_vm(flags), bo(PAGE), syncobj()
    with refused(errno.EOPNOTSUPP):
        vm.bind(addr=AT, range=PAGE, obj=made.handle, syncs=[out.sync(point)])
    with refused(errno.EOPNOTSUPP):
        vm.queue().submit(AT, [out.sync(point)])
    # The same with a user fence in front of it, which is not written then.
    fence = UserFence(vm.device)
    with refused(errno.EOPNOTSUPP):
        vm.bind(addr=AT, range=PAGE, obj=made.handle, syncs=[fence.sync(), out.sync(point)])
    assert not fence.signalled
    vm.map(made, AT)
    count("ioctl")


@behaviour("sync.lr-in-fence-ok")
@acts("store")
@NO_DMA_FENCES
@pytest.mark.parametrize("point", [0, 5], ids=["binary", "timeline"])
def test_exec_of_an_lr_vm_waits_for_a_syncobj(
    make_vm: MakeVm, bo: MakeBo, device: Device, sentinel: Sentinel, flags: int, point: int
) -> None:
    """EXEC in a long-running VM with an in-syncobj runs its batch when that is signalled, and not before."""
    vm, made, plain, value = make_vm(flags), bo(PAGE), make_vm(PLAIN), sentinel()
    mapped, door = made.map(), bo(PAGE)
    gate, ready = door.map(), Syncobj(device)
    vm.map(made, AT, flags=xe.DRM_XE_VM_BIND_FLAG_IMMEDIATE)
    plain.map(door, AT)
    opener, queue = plain.queue(), vm.queue()
    for each in (queue, opener):
        each.run(Batch().noop())  # nothing is bound or made any more while the job below waits for the CPU
    first = opener.start(Batch().semaphore_wait(AT, 1), [ready.sync(point)])
    job = queue.start(Batch().store_dword(AT + 64, value), [ready.waiting(point)])
    assert not job.done
    assert mapped.u32(64) == 0
    gate.set_u32(0, 1)
    job.wait()
    first.wait()
    landed(mapped, 64, value)


@behaviour("sync.in-no-fence")
@acts("refusal")
@MODES
def test_in_syncobj_without_fence_is_einval(
    make_vm: MakeVm, bo: MakeBo, syncobj: MakeSyncobj, flags: int
) -> None:
    """Waiting for a syncobj without a fence, or for a timeline point that does not exist yet, gives EINVAL."""
    vm, made, empty, timeline = make_vm(flags), bo(PAGE), syncobj(), syncobj()
    queue = vm.queue()
    for syncs in ([empty.waiting()], [timeline.waiting(3)]):
        with refused(errno.EINVAL):
            vm.bind(addr=AT, range=PAGE, obj=made.handle, syncs=syncs)
        with refused(errno.EINVAL):
            queue.submit(AT, syncs)
    vm.map(made, AT)


def bind_each(vm: Vm, made: Bo, words: Buffer, values: list[int], held: list[Syncobj]) -> None:
    """Bind a page of an object for each value, which becomes the word of that number when the bind is done.

    The first ones wait for a syncobj each.
    """
    for n, (value, syncobj) in enumerate(itertools.zip_longest(values, held)):
        syncs = [user_fence(words.address + 8 * n, value), *([syncobj.waiting()] if syncobj else [])]
        vm.bind(addr=AT + n * PAGE, range=PAGE, obj=made.handle, obj_offset=n * PAGE, syncs=syncs)


def first_words(words: Buffer, number: int) -> list[int]:
    """The words of that many binds. The last is read first, since more of them are written meanwhile."""
    return [words.u64(8 * n) for n in reversed(range(number))][::-1]


@behaviour("sync.ufence-order")
@acts("ioctl")
def test_bind_fence_waits_for_earlier_binds(plain_vm: Vm, bo: MakeBo, memory: Memory) -> None:
    """A user fence of a bind that need not wait is not written before an earlier bind of its queue is done."""
    made, door, words = bo(SZ_2M), bo(PAGE), memory(PAGE)
    gate = door.map()
    plain_vm.map(door, AT - SZ_2M)
    values = [fence_value() for _ in range(6)]
    held = [Syncobj(plain_vm.device) for _ in values]
    jobs = [  # before all binds, which they would wait for
        plain_vm.queue().start(Batch().semaphore_wait(AT - SZ_2M + 64 * n, 1), [syncobj.sync()])
        for n, syncobj in enumerate(held)
    ]
    bind_each(plain_vm, made, words, values, held)
    for n in reversed(range(1, len(values))):
        gate.set_u32(64 * n, 1)
        jobs[n].wait()
        assert first_words(words, len(values)) == [0] * len(values)
    gate.set_u32(0, 1)
    wait_until(lambda: first_words(words, len(values)) == values, what="the user fences")
    jobs[0].wait()
    count("ioctl")


@behaviour("sync.bind-ufence-cpu-address", "sync.ufence-order")
@acts("ioctl")
def test_bind_fences_of_burst_are_all_written(plain_vm: Vm, bo: MakeBo, memory: Memory) -> None:
    """User fences of binds that end together are all written."""
    made, words, door = bo(SZ_2M), memory(PAGE), bo(PAGE)
    mapped, gate = made.map(), door.map()
    plain_vm.map(door, AT - SZ_2M)
    held = Syncobj(plain_vm.device)
    job = plain_vm.queue().start(Batch().semaphore_wait(AT - SZ_2M, 1), [held.sync()])
    values = [fence_value() for _ in range(32)]
    bind_each(plain_vm, made, words, values, [held])
    assert first_words(words, len(values)) == [0] * len(values)
    gate.set_u32(0, 1)
    overtaken = False

    def written() -> bool:
        nonlocal overtaken
        there = [word == value for word, value in zip(first_words(words, len(values)), values, strict=True)]
        overtaken |= there != sorted(there, reverse=True)
        return all(there)

    wait_until(written, what="the user fences")
    job.wait()
    count("ioctl")
    assert mapped.u32(0) == 0
    # docs/findings.md: "User fences of one bind queue overtake each other"
    chose(f"user fences of a burst of binds are {'not all' if overtaken else 'all'} seen in order")


@behaviour("sync.ufence-reuse-after-wake")
@acts("ioctl")
@MODES
def test_unmap_after_the_wait_is_not_busy(make_vm: MakeVm, bo: MakeBo, flags: int) -> None:
    """After the wait for a bind's user fence, UNMAP of the mapping succeeds, each time."""
    vm, made = make_vm(flags), bo(PAGE)
    for _ in range(50):
        vm.map(made, AT, flags=xe.DRM_XE_VM_BIND_FLAG_IMMEDIATE)
        vm.bind(UNMAP, addr=AT, range=PAGE)
        vm.bind(addr=AT, range=PAGE, obj=made.handle)
        vm.unmap(AT, PAGE)
    count("ioctl")


@behaviour("sync.ufence-unmapped-later")
@acts("ioctl", "store")
@pytest.mark.kernel_log("WARNING: .*drivers/gpu/drm/xe/xe_sync.c")
def test_fence_in_unmapped_memory_is_lost_alone(
    plain_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """A user fence whose memory is unmapped is lost; its bind completes, and the next fence is written."""
    made, door, gone, value = bo(PAGE), bo(PAGE), memory(PAGE), sentinel()
    gate, held, after = door.map(), Syncobj(plain_vm.device), UserFence(plain_vm.device)
    plain_vm.map(door, AT - SZ_2M)
    job = plain_vm.queue().start(Batch().semaphore_wait(AT - SZ_2M, 1), [held.sync()])
    syncs = [held.waiting(), user_fence(gone.address, fence_value())]
    plain_vm.bind(addr=AT, range=PAGE, obj=made.handle, syncs=syncs)
    plain_vm.bind(addr=AT + PAGE, range=PAGE, obj=made.handle, syncs=[after.sync()])
    gone.munmap()
    gate.set_u32(0, 1)
    after.wait()
    job.wait()
    for at in (AT, AT + PAGE):
        value = sentinel()
        plain_vm.queue().store(at, value)
        landed(made.map(), 0, value)
    count("ioctl")


@behaviour("sync.ufence-process-exit")
@acts("ioctl", "store")
def test_fence_of_a_process_that_ended_is_lost(
    plain_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """If a process exits before its bind is done, its fence is not written; the bind completes, the device works."""
    made, door, shared, value = bo(PAGE), bo(PAGE), memory(PAGE, shared=True), sentinel()
    gate, held = door.map(), Syncobj(plain_vm.device)
    plain_vm.map(door, AT - SZ_2M)
    job = plain_vm.queue().start(Batch().semaphore_wait(AT - SZ_2M, 1), [held.sync()])

    def bind() -> None:
        syncs = [held.waiting(), user_fence(shared.address, fence_value())]
        plain_vm.bind(addr=AT, range=PAGE, obj=made.handle, syncs=syncs)

    ended = in_child(bind)
    assert not ended.error, ended.error
    assert shared.u64(0) == 0
    gate.set_u32(0, 1)
    job.wait()
    plain_vm.map(door, AT + SZ_2M)  # behind the child's bind on the same queue
    plain_vm.queue().store(AT, value)
    landed(made.map(), 0, value)
    assert shared.u64(0) == 0
    count("ioctl")


@behaviour("sync.ufence-in-vram-page")
@acts("store")
@needs("vram", "svm-vram", "page-faults", "cpu-addr-mirror")
def test_bind_fence_in_a_page_in_vram(fault_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel) -> None:
    """The kernel can write a user fence in a page that is in VRAM: the page migrates back with its data."""
    buffer, made, fence, after = (
        memory(SZ_2M, align=SZ_2M),
        bo(2 * PAGE),
        fence_value(),
        UserFence(fault_vm.device),
    )
    fault_vm.mirror(buffer.address, SZ_2M)  # and no more, for what is bound later would split it
    queue, values = fault_vm.queue(), {offset: sentinel() for offset in (0, 64, SZ_2M - 4)}
    queue.store_all({buffer.address + offset: value for offset, value in values.items()})
    assert not buffer.present(0)
    fault_vm.bind(addr=AT, range=PAGE, obj=made.handle, syncs=[user_fence(buffer.address + 8, fence)])
    fault_vm.bind(addr=AT + PAGE, range=PAGE, obj=made.handle, syncs=[after.sync()])
    after.wait()  # written after the other one, and not by a look of ours into that page
    assert buffer.present(0)
    assert buffer.u64(8) == fence
    for offset, value in values.items():
        landed(buffer, offset, value)
