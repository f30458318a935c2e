# SPDX-License-Identifier: MIT
"""Binds that wait, and what happens to them in the meantime: user fences, syncobjs, a VM that is destroyed."""

from __future__ import annotations

import errno
import fcntl
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fixtures import acts, behaviour, known, landed, needs, refused, wait_until
from fixtures.counting import count
from fixtures.given import MakeBo, MakeSyncobj, Memory, Sentinel
from fixtures.memory import PAGE, PROT_READ, Buffer
from fixtures.sizes import SZ_1G, SZ_2M, SZ_64K
from fixtures.userfault import Userfault
from fixtures.xe.bo import Bo
from fixtures.xe.device import Device
from fixtures.xe.flags import MAP, MAP_USERPTR, MIRROR, UNMAP
from fixtures.xe.queue import Job
from fixtures.xe.sync import Syncobj, UserFence
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

AT = 0x10_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""


@pytest.fixture
def gate(
    plain_vm: Vm, bo: MakeBo, syncobj: MakeSyncobj, sentinel: Sentinel
) -> tuple[Syncobj, Callable[[], Job]]:
    """A syncobj that is signalled when a running batch ends, and what lets the batch end."""
    place, go, done = bo(PAGE), sentinel(), syncobj()
    content = place.map()
    plain_vm.map(place, AT + (1 << 40))
    job = plain_vm.queue().start(Batch().semaphore_wait(AT + (1 << 40), go), syncs=[done.sync()])

    def release() -> Job:
        content.set_u32(0, go)
        job.wait()
        return job

    return done, release


def bind_at(vm: Vm, memory: Bo | Buffer, size: int, syncs: Sequence[xe.drm_xe_sync]) -> Buffer:
    """Bind a BO, or memory of the process as a userptr, at ``AT``, without waiting; returns what the CPU sees of it."""
    if isinstance(memory, Buffer):
        vm.bind(MAP_USERPTR, addr=AT, range=size, obj_offset=memory.address, syncs=syncs)
        return memory
    content = memory.map()
    vm.bind(MAP, addr=AT, range=size, obj=memory.handle, syncs=syncs)
    return content


@behaviour("bind.ufence.busy")
@acts("refusal", "store")
@pytest.mark.parametrize("what", ["bo", pytest.param("userptr", marks=needs("userptr"))])
@pytest.mark.parametrize("how", ["unmap", "unmap-part", "map-over", "map-part"])
def test_unmap_before_user_fence_signals_is_ebusy(
    plain_vm: Vm,
    gate: tuple[Syncobj, Callable[[], Job]],
    bo: MakeBo,
    memory: Memory,
    sentinel: Sentinel,
    what: str,
    how: str,
) -> None:
    """UNMAP or a partial MAP over a mapping whose user fence is not signalled yet gives EBUSY; later it works."""
    waiting_for, release = gate
    fence = UserFence(plain_vm.device)
    syncs = [waiting_for.waiting(), fence.sync()]
    content = bind_at(plain_vm, bo(2 * SZ_64K) if what == "bo" else memory(2 * SZ_64K), 2 * SZ_64K, syncs)
    assert not fence.signalled
    size = SZ_64K if how.endswith("part") else 2 * SZ_64K
    change: dict[str, Any] = {"addr": AT, "range": size}
    change |= {"op": UNMAP} if how.startswith("unmap") else {"op": MAP, "obj": bo(size).handle}
    with refused(errno.EBUSY):
        plain_vm.bind(**change)
    release()
    fence.wait()
    value = sentinel()
    plain_vm.queue().store(AT + 2 * SZ_64K - 4, value)
    landed(content, 2 * SZ_64K - 4, value)
    plain_vm.bind_and_wait(**change)


@behaviour("bind.fence.after-effect")
@acts("store")
@pytest.mark.parametrize("what", ["bo", pytest.param("userptr", marks=needs("userptr"))])
def test_waiting_map_fills_a_table_in_use(
    plain_vm: Vm,
    gate: tuple[Syncobj, Callable[[], Job]],
    bo: MakeBo,
    memory: Memory,
    sentinel: Sentinel,
    what: str,
) -> None:
    """A MAP that waits for a syncobj and has all pages of a page table but one binds each of them to its own memory."""
    waiting_for, release = gate
    size, fence, neighbour = SZ_2M - PAGE, UserFence(plain_vm.device), bo(PAGE)
    plain_vm.map(neighbour, AT + size)  # the table is there, and is not replaced
    syncs = [waiting_for.waiting(), fence.sync()]
    content = bind_at(plain_vm, bo(size) if what == "bo" else memory(size), size, syncs)
    assert not fence.signalled
    release()
    fence.wait()
    values = {offset: sentinel() for offset in range(0, size, PAGE)}
    plain_vm.queue().store_all({AT + offset: value for offset, value in values.items()})
    landed(content, size - PAGE, values[size - PAGE])
    assert {offset: content.u32(offset) for offset in values} == values
    plain_vm.queue().store(AT + size, value := sentinel())
    landed(neighbour.map(), 0, value)


@behaviour("bind.cam.in-syncobj")
@acts("refusal")
@needs("page-faults", "cpu-addr-mirror")
@pytest.mark.parametrize("signalled", [True, False], ids=["signalled", "waiting"])
def test_mirror_with_in_syncobj_is_eopnotsupp(
    fault_vm: Vm, gate: tuple[Syncobj, Callable[[], Job]], syncobj: MakeSyncobj, signalled: bool
) -> None:
    """A mirror MAP that waits for a syncobj gives EOPNOTSUPP, whether the syncobj is signalled or not."""
    waiting_for, release = gate
    wait = syncobj(signalled=True) if signalled else waiting_for
    with refused(errno.EOPNOTSUPP):
        fault_vm.bind(MAP, addr=AT, range=SZ_64K, flags=MIRROR, syncs=[wait.waiting()])
    release()


@behaviour("bind.cam.in-syncobj-no-effect")
@acts("refusal")
@needs("page-faults", "range-attributes")
@known(
    "A mirror that cannot wait for a syncobj stays bound",
    first="7.0",
    signature="assert fault_vm.attributes(AT, SZ_64K) == []",
)
def test_mirror_refused_for_in_syncobj_is_not_bound(fault_vm: Vm, syncobj: MakeSyncobj) -> None:
    """A mirror MAP that gives EOPNOTSUPP for an in-sync has bound nothing."""
    with refused(errno.EOPNOTSUPP):
        fault_vm.bind(MAP, addr=AT, range=SZ_64K, flags=MIRROR, syncs=[syncobj(signalled=True).waiting()])
    assert fault_vm.attributes(AT, SZ_64K) == []


@behaviour("bind.closed-vm")
@acts("refusal", "store")
@needs("userptr")
@pytest.mark.kernel_log("VM worker error: -1")
def test_bind_in_banned_vm_is_enoent(lr_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """VM_BIND gives ENOENT in a VM that the kernel banned because it could not rebind it."""
    buffer, value = memory(SZ_64K), sentinel()
    lr_vm.map_userptr(AT, buffer.address, SZ_64K)
    lr_vm.queue().store(AT, value)
    landed(buffer, 0, value)
    buffer.mprotect(PROT_READ)  # of memory that the VM may write: it cannot be collected again (EPERM)

    def banned() -> bool:
        try:
            lr_vm.bind(UNMAP, addr=AT + SZ_1G, range=SZ_64K)
        except OSError as error:
            return error.errno == errno.ENOENT
        return False

    wait_until(banned, what="the ban of the VM")
    with refused(errno.ENOENT):
        lr_vm.bind(UNMAP, addr=AT, range=SZ_64K)


@behaviour("bind.closed-vm")
@acts("refusal")
@needs("user-faults")
def test_bind_racing_with_vm_destroy_is_enoent(device: Device, memory: Memory) -> None:
    """A VM_BIND gives ENOENT if its VM is destroyed after the lookup and before the binds are executed."""
    vm = Vm(device)
    operations = b"".join(
        bytes(vm.operation(UNMAP, addr=AT + index * SZ_64K, range=SZ_64K)) for index in range(2)
    )
    vector = memory(PAGE, populate=False)
    argument = xe.drm_xe_vm_bind(vm_id=vm.id, num_binds=2, vector_of_binds=vector.address)
    codes: list[int] = []

    def bind() -> None:
        try:  # not by device.ioctl, which reads the operations itself for the transcript
            fcntl.ioctl(device.fd, xe.DRM_IOCTL_XE_VM_BIND.number, argument)
        except OSError as error:
            codes.append(error.errno or 0)

    thread = threading.Thread(target=bind)
    with Userfault(vector) as held:
        thread.start()
        assert held.waits() == 0, "VM_BIND did not read its operations"
        vm.close()
        held.give(0, operations)
        thread.join()
    assert codes == [errno.ENOENT]
    count("refusal")
