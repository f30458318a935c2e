# SPDX-License-Identifier: MIT
"""VM_DESTROY: when it is refused, and what it leaves behind (xe_vm.c: xe_vm_destroy_ioctl)."""

from __future__ import annotations

import errno
import random
from ctypes import Structure

import pytest

from fixtures import acts, behaviour, driver_only, landed, needs, refused, wait_until
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.flags import UNMAP
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch
from ioctl import xe


def destroy(device: Device, **fields: object) -> None:
    """VM_DESTROY with exactly these fields; raises OSError."""
    device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(**fields))


@behaviour("vm.destroy.pad-mbz")
@acts("refusal", "ioctl")
@pytest.mark.parametrize(
    "fields",
    [{"pad": 1}, {"pad": 1 << 31}, {"reserved": (1, 0)}, {"reserved": (0, 1 << 63)}],
    ids=["pad", "pad-high", "reserved0", "reserved1"],
)
def test_vm_destroy_with_padding_is_einval(device: Device, plain_vm: Vm, fields: dict[str, object]) -> None:
    """VM_DESTROY with nonzero padding gives EINVAL, and the VM can still be used."""
    with refused(errno.EINVAL):
        destroy(device, vm_id=plain_vm.id, **fields)
    plain_vm.unmap(0, PAGE)


@behaviour("vm.destroy.unknown-id")
@acts("refusal")
@pytest.mark.parametrize("vm_id", [0, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_vm_destroy_of_unknown_id_is_enoent(device: Device, vm_id: int) -> None:
    """VM_DESTROY of an id that was never allocated gives ENOENT."""
    with refused(errno.ENOENT):
        destroy(device, vm_id=vm_id)


@behaviour("vm.destroy.unknown-id")
@acts("refusal", "ioctl")
def test_vm_can_be_destroyed_only_once(device: Device, make_vm: MakeVm) -> None:
    """The second VM_DESTROY of an id gives ENOENT."""
    vm = make_vm()
    vm_id = vm.id
    vm.close()
    with refused(errno.ENOENT):
        destroy(device, vm_id=vm_id)


@behaviour("vm.destroy.busy-preempt-mode")
@acts("refusal", "ioctl")
def test_destroy_of_lr_vm_with_queue_is_ebusy(device: Device, lr_vm: Vm) -> None:
    """VM_DESTROY of an LR VM without fault mode gives EBUSY while it has exec queues."""
    queues = [lr_vm.queue(), lr_vm.queue()]
    for queue in queues:
        with refused(errno.EBUSY):
            destroy(device, vm_id=lr_vm.id)
        queue.close()
    destroy(device, vm_id=lr_vm.id)
    lr_vm.id = 0


@behaviour("vm.destroy.fault-mode-with-queue")
@acts("refusal", "ioctl")
@needs("page-faults")
def test_destroy_of_fault_mode_vm_with_queue(device: Device, fault_vm: Vm) -> None:
    """A fault-mode VM can be destroyed while it has a queue; EXEC on that queue then gives ECANCELED."""
    queue = fault_vm.queue()
    destroy(device, vm_id=fault_vm.id)
    fault_vm.id = 0
    with refused(errno.ECANCELED):
        queue.submit(0x10000)


@behaviour("vm.destroy.releases-svm")
@acts("cpu-fault")
@needs("page-faults", "svm-vram", "cpu-addr-mirror")
def test_destroyed_vm_leaves_data_and_frees_vram(
    device: Device, make_vm: MakeVm, memory: Memory, rng: random.Random
) -> None:
    """Memory in VRAM has its data after VM_DESTROY; the VRAM is free once the CPU has touched all of it."""
    vm, buffer = make_vm(FAULTING), memory(4 * SZ_2M, align=SZ_2M)
    data = rng.randbytes(buffer.size)
    buffer.write(0, data)
    vm.mirror()
    vm.queue().run(Batch().noop())

    def used() -> int:
        return int(device.region(device.vram[0]).used)

    before = used()
    vm.prefetch(buffer.address, buffer.size, device.vram[0])
    # An estimate, as the header says.
    wait_until(lambda: used() >= before + buffer.size // 2, what="the use of VRAM by 8 MiB more")
    assert not any(buffer.present(offset) for offset in range(0, buffer.size, PAGE))
    destroy(device, vm_id=vm.id)
    vm.id = 0
    assert not buffer.present()
    assert buffer.bytes() == data
    count("cpu-fault")
    wait_until(
        lambda: used() < before + buffer.size // 2, what="the release of VRAM after the CPU's accesses"
    )


@behaviour("vm.destroy.with-mapped-ranges", "vm.destroy.releases-svm")
@acts("store", "refusal")
@needs("page-faults", "cpu-addr-mirror")
def test_destroy_of_vm_with_ranges_keeps_data(
    device: Device, fault_vm: Vm, memory: Memory, sentinel: Sentinel
) -> None:
    """VM_DESTROY needs no unbind of mirrored ranges in use; the process keeps what the GPU wrote."""
    fault_vm.mirror()
    buffer = memory(PAGE)
    before, stored = sentinel(), sentinel()
    buffer.set_u32(0, before)
    fault_vm.queue().store(buffer.address + 4, stored)
    with driver_only("vm.destroy.with-mapped-ranges"), refused(errno.EBUSY):
        # The range is in use: an unbind would be refused.
        fault_vm.bind(UNMAP, addr=buffer.address, range=PAGE)
    destroy(device, vm_id=fault_vm.id)
    fault_vm.id = 0
    landed(buffer, 4, stored)
    assert buffer.u32(0) == before


@behaviour("vm.lookup-errno-map")
@acts("refusal")
@pytest.mark.parametrize(
    ("request_name", "argument", "code"),
    [
        ("VM_BIND", xe.drm_xe_vm_bind(num_binds=0), errno.EINVAL),
        pytest.param(
            "MADVISE", xe.drm_xe_madvise(range=PAGE), errno.EINVAL, marks=behaviour("madvise.unknown-vm")
        ),
        pytest.param(
            "VM_QUERY_MEM_RANGE_ATTRS",
            xe.drm_xe_vm_query_mem_range_attr(range=PAGE),
            errno.EINVAL,
            marks=behaviour("madvise.query.unknown-vm"),
        ),
        ("VM_DESTROY", xe.drm_xe_vm_destroy(), errno.ENOENT),
        (
            "GEM_CREATE",
            xe.drm_xe_gem_create(size=PAGE, placement=1, cpu_caching=xe.DRM_XE_GEM_CPU_CACHING_WB),
            errno.ENOENT,
        ),
        pytest.param(
            "VM_GET_PROPERTY",
            xe.drm_xe_vm_get_property(),
            errno.ENOENT,
            marks=behaviour("vm.getprop.unknown-vm"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errno_for_unknown_vm_of_each_ioctl(
    device: Device, request_name: str, argument: Structure, code: int
) -> None:
    """Each call refuses an unknown VM id; this driver with EINVAL in binds and attribute calls, else with ENOENT."""
    call = getattr(xe, f"DRM_IOCTL_XE_{request_name}")
    argument = type(argument).from_buffer_copy(argument)
    argument.vm_id = 0x1234_5678
    with refused(code) if code == errno.ENOENT else refused(errno.EINVAL, errno.ENOENT):
        device.ioctl(call, argument)
    with driver_only("vm.lookup-errno-map"), refused(code):
        device.ioctl(call, argument)


@behaviour("vm.lookup-errno-map")
@acts("refusal")
def test_queue_for_unknown_vm_is_enoent(device: Device, make_vm: MakeVm) -> None:
    """EXEC_QUEUE_CREATE gives ENOENT for an unknown VM id."""
    vm = make_vm()
    vm.close()
    vm.id = 0x1234_5678
    with refused(errno.ENOENT):
        vm.queue()
    vm.id = 0


@behaviour("vm.destroy.gpu-access-after")
@acts("ioctl")
@needs("page-faults", "cpu-addr-mirror")
def test_batch_outliving_its_vm_stores_nothing(
    device: Device, fault_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """A batch that is still waiting when its VM is destroyed no longer stores to process memory."""
    fault_vm.mirror()
    buffer, gate, kept = memory(PAGE), memory(PAGE), sentinel()
    buffer.set_u32(0, kept)
    queue = fault_vm.queue()
    queue.store(buffer.address + 8, sentinel())  # the pages are mapped
    queue.store(gate.address + 8, sentinel())
    number = queue.id
    queue.start(Batch().semaphore_wait(gate.address, 1).store_dword(buffer.address, sentinel()))
    destroy(device, vm_id=fault_vm.id)
    fault_vm.id = 0
    gate.set_u32(0, 1)
    with refused(errno.ECANCELED):  # the next work of the queue meets the VM that is gone
        queue.submit(0x10000)
    queue.close()
    with refused(errno.ENOENT):
        device.ioctl(
            xe.DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, xe.drm_xe_exec_queue_get_property(exec_queue_id=number)
        )
    assert buffer.u32(0) == kept
