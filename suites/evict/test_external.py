# SPDX-License-Identifier: MIT
"""BOs that lose their VRAM to another BO while they are bound."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures import FAULTING, LONG_RUNNING, PLAIN, acts, behaviour, disturbs, gpu_finds, known, needs
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Sentinel
from fixtures.sizes import SZ_1M
from fixtures.xe.bo import SYSTEM
from fixtures.xe.device import Device

pytestmark = [disturbs("it fills the VRAM"), pytest.mark.usefixtures("vram_given_back")]

ADDRESS = 1 << 32
LANDMARKS = 8
"""Places in an object that a test looks at, spread over all of it."""

MODES = [
    pytest.param(PLAIN, id="plain"),
    pytest.param(LONG_RUNNING, id="long-running"),
    pytest.param(FAULTING, id="faulting", marks=needs("page-faults")),
]
NO_QUEUE_YET = [
    MODES[0],
    pytest.param(
        LONG_RUNNING,
        id="long-running",
        marks=known(
            "An object evicted before the first queue of a long-running VM stays mapped",
            first="6.17",
            signature="the *PU sees 0x# at *, not 0x#",
            acts=("exec",),
        ),
    ),
    MODES[2],
]
OWNED = [pytest.param(False, id="external"), pytest.param(True, id="private")]
"""Whether any VM may bind the object, or one only."""


class Rivals:
    """A BO with data in VRAM, and room for no second one of its size there."""

    def __init__(self, device: Device, bo: MakeBo, sentinel: Sentinel, vm: int) -> None:
        self._bo = bo
        self._sentinel = sentinel
        self._vram = 1 << device.vram[0]
        total: int = device.region(device.vram[0]).total_size
        self._size = total * 5 // 8 // (2 * SZ_1M) * (2 * SZ_1M)
        self.offsets = [self._size // LANDMARKS * index // 4096 * 4096 for index in range(LANDMARKS)]
        self.evicted = bo(self._size, placement=self._vram | SYSTEM, vm=vm)
        self.view = self.evicted.map()
        self.values = [sentinel() for _ in self.offsets]
        for offset, value in zip(self.offsets, self.values, strict=True):
            self.view.set_u32(offset, value)

    @property
    def found(self) -> dict[int, int]:
        """Values that a GPU reads with the BO at ``ADDRESS``."""
        return {ADDRESS + offset: value for offset, value in zip(self.offsets, self.values, strict=True)}

    def evict(self) -> Any:
        """Another BO takes the VRAM; gives its CPU mapping, with data of its own in it."""
        winner = self._bo(self._size, placement=self._vram).map()
        for offset in self.offsets:
            winner.set_u32(offset, self._sentinel())
        return winner


@behaviour("evict.object-stays-reachable")
@acts("exec", "load")
@needs("vram")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("private", OWNED)
@pytest.mark.parametrize("flags", MODES)
def test_gpu_reads_evicted_bo(
    device: Device,
    make_vm: MakeVm,
    bo: MakeBo,
    sentinel: Sentinel,
    flags: int,
    private: bool,
) -> None:
    """A queue that has used a BO finds its data after another BO took its VRAM."""
    vm = make_vm(flags)
    rivals = Rivals(device, bo, sentinel, vm.id if private else 0)
    vm.map(rivals.evicted, ADDRESS)
    queue = vm.queue()
    assert queue.load(ADDRESS) == rivals.values[0]
    rivals.evict()
    gpu_finds(queue, rivals.found)


@behaviour("evict.upper-half")
@acts("exec", "load", "store")
@needs("vram")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", ["middle", "last"])
@pytest.mark.parametrize("flags", MODES)
def test_bo_in_upper_half_keeps_data_when_evicted(
    device: Device, make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, flags: int, place: str
) -> None:
    """An object bound in the upper half of the address space has its data there after it lost its VRAM."""
    vm = make_vm(flags)
    rivals = Rivals(device, bo, sentinel, 0)
    size = rivals.evicted.size
    at = vm.size // 2 if place == "middle" else vm.size - size
    vm.map(rivals.evicted, at)
    queue = vm.queue()
    found = {at + address - ADDRESS: value for address, value in rivals.found.items()}
    gpu_finds(queue, found)
    rivals.evict()
    gpu_finds(queue, found)
    queue.store(at + size - 4, value := sentinel())
    assert rivals.view.u32(size - 4) == value
    count("store")


@behaviour("evict.object-stays-reachable")
@acts("exec", "load")
@needs("vram")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("private", OWNED)
@pytest.mark.parametrize("flags", NO_QUEUE_YET)
def test_queue_made_after_eviction_reads_bo(
    device: Device,
    make_vm: MakeVm,
    bo: MakeBo,
    sentinel: Sentinel,
    flags: int,
    private: bool,
) -> None:
    """The first queue of a VM finds the data of a BO that was bound and evicted before the queue was created."""
    vm = make_vm(flags)
    rivals = Rivals(device, bo, sentinel, vm.id if private else 0)
    vm.map(rivals.evicted, ADDRESS)
    rivals.evict()
    gpu_finds(vm.queue(), rivals.found)


@behaviour("evict.object-stays-reachable")
@acts("exec", "store")
@needs("vram")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("flags", NO_QUEUE_YET)
def test_queue_made_after_eviction_spares_new_owner(
    device: Device, make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, flags: int
) -> None:
    """A store to a BO that was evicted before the queue was created changes that BO and no other."""
    vm = make_vm(flags)
    rivals = Rivals(device, bo, sentinel, 0)
    vm.map(rivals.evicted, ADDRESS)
    winner = rivals.evict()
    before = [winner.u32(offset) for offset in rivals.offsets]
    stored = [sentinel() for _ in rivals.offsets]
    vm.queue().store_all(
        {ADDRESS + offset: value for offset, value in zip(rivals.offsets, stored, strict=True)}
    )
    for whose, view, values in (("new owner", winner, before), ("evicted object", rivals.view, stored)):
        for offset, value in zip(rivals.offsets, values, strict=True):
            seen = view.u32(offset)
            assert seen == value, f"the CPU sees {seen:#x} at {offset:#x} of the {whose}, not {value:#x}"
    count("store")
