# SPDX-License-Identifier: MIT
"""Objects that one device shares with another by dma-buf (xe_dma_buf.c: xe_dma_buf_attach, xe_dma_buf_map)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fixtures import FAULTING, PLAIN, acts, behaviour, gpu_sees, needs
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Sentinel
from fixtures.sizes import SZ_2M
from fixtures.xe.bo import SYSTEM
from fixtures.xe.device import Device
from ioctl import drm

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
SIZE = 4 * SZ_2M

pytestmark = needs("two-devices", "vram")


def used(device: Device, vram: bool = True) -> int:
    """Bytes of a device's VRAM in use, or of its system memory."""
    return int(device.region(device.vram[0] if vram else 0).used)


@pytest.fixture(params=["plain", pytest.param("fault", marks=needs("page-faults"))])
def flags(request: pytest.FixtureRequest) -> int:
    """Flags of the VMs."""
    return PLAIN if request.param == "plain" else FAULTING


def _shared(
    devices: list[Device],
    make_vm: MakeVm,
    bo: MakeBo,
    sentinel: Sentinel,
    flags: int,
    use: Callable[[], None],
) -> None:
    """Both devices see what either stored at the start, the middle and the end of an object; ``use`` looks between."""
    owner, other = devices[:2]
    made = bo(SIZE, device=owner, placement=1 << owner.vram[0] | SYSTEM)
    vms = make_vm(flags, owner), make_vm(flags, other)
    vms[0].map(made, AT)
    queues = [vm.queue() for vm in vms]
    values = {AT + offset: sentinel() for offset in (0, SIZE // 2, SIZE - 4)}
    queues[0].store_all(values)
    handle = made.handle_on(other)
    vms[1].bind_and_wait(addr=AT, range=SIZE, obj=handle)
    for address, value in values.items():
        gpu_sees(queues[1], address, value)
    use()
    changed = {address: sentinel() for address in values}
    queues[1].store_all(changed)
    for address, value in changed.items():
        gpu_sees(queues[0], address, value)
    mapped = made.map()
    for address, value in changed.items():
        assert mapped.u32(address - AT) == value
    count("store")
    vms[1].unmap(AT, SIZE)
    other.ioctl(drm.DRM_IOCTL_GEM_CLOSE, drm.drm_gem_close(handle=handle))


@behaviour("p2p.import-stays-in-vram")
@acts("load", "store", "query")
@needs("interconnect")
def test_linked_import_stays_in_vram(
    devices: list[Device], make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, flags: int
) -> None:
    """An object in VRAM that a linked device imports and binds is shared where it is: it takes no other memory."""
    before, system = used(devices[0]), used(devices[0], vram=False)

    def still_there() -> None:
        assert used(devices[0]) >= before + SIZE
        assert used(devices[0], vram=False) < system + SIZE

    _shared(devices, make_vm, bo, sentinel, flags, still_there)


@behaviour("p2p.import-stays-in-vram")
@acts("load", "store", "query")
@needs("no-interconnect")
def test_import_without_link_moves_to_system(
    devices: list[Device], make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, flags: int
) -> None:
    """An object in VRAM that an unlinked device imports and binds moves to system memory, and its data is shared."""
    before, system = used(devices[0]), used(devices[0], vram=False)

    def moved() -> None:
        assert used(devices[0]) < before + SIZE
        assert used(devices[0], vram=False) >= system + SIZE

    _shared(devices, make_vm, bo, sentinel, flags, moved)
