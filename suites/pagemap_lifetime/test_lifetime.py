# SPDX-License-Identifier: MIT
"""Page descriptors of VRAM: created on demand, kept while used, freed by the shrinker (drm_pagemap_util.c).

/proc/iomem shows them: the physical addresses that they stand for have the device's name. To let the kernel drop
what it can make again (drop_caches) is memory pressure for unused ones.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import random
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from fixtures import acts, behaviour, failing, gpu_sees, known, landed, needs, refused, returned, wait_until
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Memory, OpenDevice, Sentinel, Unplug
from fixtures.kernel_file import shrink
from fixtures.memory import PAGE, Buffer
from fixtures.overlap import meanwhile, together
from fixtures.pci import Slot
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.flags import DEFAULT_DEVICE
from fixtures.xe.vm import FAULTING, Vm

T = TypeVar("T")


pytestmark = needs("page-faults", "vram", "svm-vram")

observed = needs("device-pages", "root")
"""For tests that look at the descriptors."""


STARTS_LOUDLY = pytest.mark.kernel_log("xe_gt_mcr_get_nonterminated_steering")
"""7.0 warns whenever the driver starts on a virtual function."""

REACHED_AFTER_UNBIND = known(
    "Unbinding frees memory of bos that a running VM with page faults still reaches",
    first="7.0",
    signature="the emulated GPU reports gpu*: translation-outlives-dma: *",
    needs=("iommu", "gpu-failures"),
)
"""Only an emulated GPU behind an IOMMU shows it."""


def gone(slot: Slot) -> bool:
    """Whether a device has no page descriptors under memory pressure."""
    shrink()
    return not slot.page_descriptors


def make(device: Device) -> Vm:
    """A mirror of the process on a device."""
    vm = Vm(device, FAULTING)
    vm.mirror()
    return vm


def use(vm: Vm, buffer: Buffer, value: int) -> None:
    """The GPU sees what the CPU stored, in VRAM."""
    buffer.set_u32(0, value)
    gpu_sees(vm.queue(), buffer.address, value)
    assert not buffer.present()


@pytest.fixture
def slot(open_device: OpenDevice) -> Slot:
    """The device, without page descriptors: whatever had any before is released."""
    with open_device() as device:
        slot = Slot(device)
    wait_until(lambda: gone(slot), what="the release of unused page descriptors")
    return slot


@pytest.fixture
def buffer(memory: Memory) -> Buffer:
    """Memory of one chunk."""
    return memory(SZ_2M, align=SZ_2M)


@behaviour("pml.lazy-creation")
@acts("ioctl")
@observed
def test_pagemap_is_created_by_first_fault_mode_vm(slot: Slot, open_device: OpenDevice, bo: MakeBo) -> None:
    """An open device, a plain VM and BOs in VRAM need no page descriptors; a VM in fault mode does."""
    device = open_device()
    Vm(device).close()
    bo(SZ_2M, device=device, placement=1 << device.vram[0]).close()
    chose(f"{len(slot.page_descriptors)} sets of page descriptors before the first VM in fault mode")
    vm = Vm(device, FAULTING)
    assert len(slot.page_descriptors) == len(device.vram)
    vm.close()


@behaviour("vm.create.failed-create-no-leak", "pml.lazy-creation")
@acts("refusal", "load")
@observed
@needs("fault-injection")
def test_vm_create_without_memory_for_owner_is_enomem(
    slot: Slot, open_device: OpenDevice, buffer: Buffer, sentinel: Sentinel
) -> None:
    """VM_CREATE that cannot allocate the owner of page descriptors gives ENOMEM, and leaves none behind."""
    device = open_device()
    with failing.allocation_in("drm_pagemap_acquire_owner"), refused(errno.ENOMEM):
        Vm(device, FAULTING)
    wait_until(lambda: gone(slot), what="the release of unused page descriptors")
    vm = make(device)
    use(vm, buffer, sentinel())
    vm.close()


@behaviour("pml.cached")
@acts("load")
@observed
def test_pagemap_is_usable_by_next_vm(
    slot: Slot, open_device: OpenDevice, buffer: Buffer, sentinel: Sentinel
) -> None:
    """After the last VM is gone its page descriptors may stay, and the next VM works."""
    device = open_device()
    Vm(device, FAULTING).close()
    kept = slot.page_descriptors
    vm = make(device)
    same = slot.page_descriptors == kept
    chose(
        f"page descriptors without a user: {'kept' if kept else 'freed'}, {'found' if same else 'made'} again"
    )
    use(vm, buffer, sentinel())
    vm.close()


@behaviour("pml.single-per-region")
@acts("ioctl", "overlap")
@observed
def test_vms_share_pagemap_of_region(slot: Slot, open_device: OpenDevice) -> None:
    """VMs created concurrently, on several descriptors, share one set of page descriptors for a region."""
    devices: list[Device] = [open_device() for _ in range(6)]
    vms: list[Vm] = []

    def join(device: Device) -> None:
        vms.append(Vm(device, FAULTING))

    together(*(functools.partial(join, device) for device in devices))
    assert len(vms) == len(devices)
    assert len(slot.page_descriptors) == len(devices[0].vram)
    for vm in vms:
        vm.close()


@behaviour("pml.shrinker", "pml.shrink-then-reuse", "pml.vm-holds-local")
@acts("load", "store")
@observed
def test_shrinker_frees_unused_pagemap(
    slot: Slot, open_device: OpenDevice, buffer: Buffer, sentinel: Sentinel
) -> None:
    """The shrinker keeps the page descriptors of an idle VM, frees them after the last VM; a new VM recreates them."""
    device, vm = open_device(), None
    for _ in range(2):
        vm = Vm(device, FAULTING)
        used = slot.page_descriptors
        assert used
        for _ in range(3):
            shrink()
        assert slot.page_descriptors == used
        vm.mirror()
        use(vm, buffer, sentinel())
        value = sentinel()
        vm.queue().store(buffer.address, value)
        landed(buffer, 0, value)
        vm.close()
        wait_until(lambda: gone(slot), what="the release of unused page descriptors")


@behaviour("pml.shrink-race")
@acts("load", "overlap")
@observed
@pytest.mark.timeout(60)
def test_vms_come_and_go_under_shrinker(
    slot: Slot, open_device: OpenDevice, buffer: Buffer, sentinel: Sentinel
) -> None:
    """VMs created and closed under memory pressure all work, and the memory keeps its data."""
    device = open_device()
    with meanwhile(lambda _: shrink()):
        for _ in range(20):
            vm, value = make(device), sentinel()
            use(vm, buffer, value)
            vm.close()
            assert buffer.u32(0) == value
    wait_until(lambda: gone(slot), what="the release of unused page descriptors")


@contextlib.contextmanager
def interruptions() -> Iterator[list[int]]:
    """Signals arrive all the time: those that did. They interrupt system calls wherever those wait."""
    arrived: list[int] = []
    stop, interrupted = threading.Event(), threading.get_ident()
    before = signal.signal(signal.SIGUSR2, lambda number, _frame: arrived.append(number))

    def interrupt() -> None:
        while not stop.wait(1e-3):
            signal.pthread_kill(interrupted, signal.SIGUSR2)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    try:
        yield arrived
    finally:
        stop.set()
        interrupter.join()
        signal.signal(signal.SIGUSR2, before)


@behaviour("pml.interruptible")
@acts("ioctl", "load")
@needs("cpu-addr-mirror")
def test_vm_create_under_signals_can_be_retried(
    open_device: OpenDevice, buffer: Buffer, sentinel: Sentinel
) -> None:
    """While signals arrive, VM_CREATE and MADVISE of a device succeed, or give EINTR and succeed when restarted."""
    device = open_device()
    with interruptions() as arrived:
        for _ in range(10):
            vm = uninterrupted(lambda: Vm(device, FAULTING))
            uninterrupted(functools.partial(vm.prefer, buffer, device.fd, device.vram[0]))
            uninterrupted(vm.close)
        wait_until(lambda: arrived, what="a signal")
    vm = make(device)
    use(vm, buffer, sentinel())
    vm.close()


def uninterrupted(call: Callable[[], T]) -> T:
    """Result of a call, which is repeated after each EINTR."""
    while True:
        try:
            return call()
        except OSError as error:
            if error.errno != errno.EINTR:
                raise


@behaviour("pml.data-after-vm-destroy")
@acts("cpu-fault")
@needs("cpu-addr-mirror")
@pytest.mark.parametrize("how", ["vm", "descriptor"])
def test_memory_in_vram_outlives_its_vm(
    open_device: OpenDevice, memory: Memory, rng: random.Random, how: str
) -> None:
    """After VM_DESTROY or close(2), memory that is in VRAM comes back with its data."""
    buffer, data, device = memory(3 * SZ_2M, align=SZ_2M), rng.randbytes(3 * SZ_2M), open_device()
    buffer.write(0, data)
    vm = make(device)
    vm.prefetch(buffer.address, buffer.size, device.vram[0])
    if how == "vm":
        vm.close()
    else:
        device.close()
    assert not any(buffer.present(offset) for offset in range(0, buffer.size, PAGE))
    returned(buffer, SZ_2M, data[SZ_2M:])
    returned(buffer, 0, data[:SZ_2M])
    vm.close()


@behaviour("pml.page-holds")
@acts("cpu-fault", "load")
@observed
def test_memory_in_vram_keeps_pagemap(
    slot: Slot, open_device: OpenDevice, buffer: Buffer, sentinel: Sentinel
) -> None:
    """Memory in VRAM keeps its page descriptors after VM and descriptor are closed, until all of it has left."""
    device, value = open_device(), sentinel()
    vm = make(device)
    use(vm, buffer, value)
    used = slot.page_descriptors
    vm.close()
    device.close()
    for _ in range(3):
        shrink()
    assert slot.page_descriptors == used
    returned(buffer, 0, value.to_bytes(4, "little"))
    wait_until(lambda: gone(slot), what="the release of unused page descriptors")


def unbind(vm: Vm, buffer: Buffer) -> None:
    """The memory goes, and then the mirror of it, which could not go while it was in use."""
    buffer.munmap()
    vm.unmap(buffer.address, buffer.size)


RELEASES: dict[str, Callable[[Vm, Buffer], None]] = {
    "other-advice": lambda vm, buffer: vm.prefer(buffer, DEFAULT_DEVICE),
    "unbind": unbind,
    "destroy": lambda vm, buffer: vm.close(),
}


@behaviour("pml.vma-holds-remote")
@acts("load")
@observed
@needs("two-devices", "interconnect")
@pytest.mark.parametrize("how", RELEASES)
def test_preferred_location_keeps_remote_pagemap(
    devices: list[Device], make_vm: MakeVm, buffer: Buffer, sentinel: Sentinel, how: str
) -> None:
    """PREFERRED_LOC keeps the page descriptors of another device until it is changed, unbound, or the VM is gone."""
    vm, remote, value = make_vm(FAULTING), Slot(devices[1]), sentinel()
    wait_until(lambda: gone(remote), what="the release of unused page descriptors")
    vm.mirror()
    vm.prefer(buffer, devices[1].fd, devices[1].vram[0])
    named = remote.page_descriptors
    assert len(named) == 1
    # A split area keeps them as the whole did.
    vm.prefer(Buffer(buffer.address, SZ_2M // 2), DEFAULT_DEVICE)
    for _ in range(3):
        shrink()
    assert remote.page_descriptors == named
    buffer.set_u32(SZ_2M - 4, value)
    gpu_sees(vm.queue(), buffer.end - 4, value)
    assert buffer.u32(SZ_2M - 4) == value
    RELEASES[how](vm, buffer)
    wait_until(lambda: gone(remote), what="the release of unused page descriptors")


@behaviour("pml.remove-no-crash", "pml.unbind-direct-destroy", "pml.revoke-on-offline")
@acts("cpu-fault", "load")
@needs("driver-unbind", "root")
@STARTS_LOUDLY
@REACHED_AFTER_UNBIND
@pytest.mark.timeout(60)
def test_driver_unbind_with_memory_in_vram(
    device: Device, mirror_vm: Vm, unplug: Unplug, memory: Memory, rng: random.Random
) -> None:
    """After the driver is unbound from a device with memory in VRAM, the process keeps its data; all else is freed."""
    buffer, data, slot = memory(4 * SZ_2M, align=SZ_2M), rng.randbytes(4 * SZ_2M), Slot(device)
    buffer.write(0, data)
    gpu_sees(mirror_vm.queue(), buffer.address, int.from_bytes(data[:4], "little"))
    mirror_vm.prefetch(buffer.address, buffer.size, device.vram[0])
    assert not any(buffer.present(offset) for offset in range(0, buffer.size, PAGE))
    assert slot.page_descriptors
    with unplug(device):
        assert buffer.bytes() == data
        count("cpu-fault")
    mirror_vm.close()
    wait_until(lambda: not slot.page_descriptors, what="the end of page descriptors, without pressure")


@behaviour("pml.remove-no-crash")
@acts("load")
@needs("driver-unbind", "root")
@STARTS_LOUDLY
@REACHED_AFTER_UNBIND
@pytest.mark.timeout(60)
def test_rebound_device_works_on_same_memory(
    device: Device,
    mirror_vm: Vm,
    unplugged: list[Slot],
    memory: Memory,
    open_device: OpenDevice,
    sentinel: Sentinel,
) -> None:
    """After unbind under load and bind, VMs of the device work on the same memory."""
    buffer, slot = memory(2 * SZ_2M, align=SZ_2M), Slot(device)
    use(mirror_vm, buffer, sentinel())
    slot.unbind()
    try:
        device.close()
        mirror_vm.close()
        assert buffer.present()
    finally:
        slot.bind()
    vm = make(open_device())
    use(vm, buffer, sentinel())
    vm.close()


@behaviour("pml.remove-no-crash")
@acts("load")
@observed
@needs("driver-unbind")
@STARTS_LOUDLY
@pytest.mark.timeout(60)
@pytest.mark.parametrize("pagemap", ["unused", "none"])
def test_driver_unbind_frees_unused_pagemap(
    slot: Slot,
    device: Device,
    unplug: Unplug,
    buffer: Buffer,
    open_device: OpenDevice,
    sentinel: Sentinel,
    pagemap: str,
) -> None:
    """Unbinding frees page descriptors without a user, if there are any, and the device works when bound again."""
    if pagemap == "unused":
        Vm(device, FAULTING).close()
    with unplug(device):
        pass
    wait_until(lambda: not slot.page_descriptors, what="the end of page descriptors, without pressure")
    slot.bind()
    vm = make(open_device())
    use(vm, buffer, sentinel())
    vm.close()
