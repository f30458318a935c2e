# SPDX-License-Identifier: MIT
"""Memory that the driver takes from the kernel's caches, and gives back with what it was for.

Each path is gone through in three equal turns. The first fills what the kernel keeps for later; a cache that grows with
the rounds in the second and in the third has lost what it lent.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fixtures import FAULTING, PLAIN, acts, behaviour, needs, refused
from fixtures.counting import count
from fixtures.memory import PAGE, allocate
from fixtures.sizes import SZ_64K
from fixtures.xe.bo import Bo
from fixtures.xe.checks import stores_fail
from fixtures.xe.device import Device
from fixtures.xe.sync import Syncobj
from fixtures.xe.vm import Vm

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound."""
ROUNDS = 25
EACH = 4
"""Objects of a path in each round."""
TURNS = 3
LAZY = ("vmap_area",)
"""Caches whose objects are freed in bulk, later than what they were for (mm/vmalloc.c: lazy_max_pages)."""

pytestmark = [needs("root", "slab-counts", "page-faults"), pytest.mark.timeout(120)]


def lent() -> dict[str, int]:
    """Objects in use of each cache (proc(5), /proc/slabinfo)."""
    lines = Path("/proc/slabinfo").read_text().splitlines()[2:]
    return {name: int(objects) for name, objects, *_ in map(str.split, lines)}


def ranges(device: Device) -> Callable[[], None]:
    """Memory that the GPU faulted in, and that is unmapped."""
    vm = Vm(device, FAULTING)
    vm.mirror()
    queue = vm.queue()

    def one() -> None:
        for _ in range(EACH):
            with closing(allocate(SZ_64K)) as buffer:
                queue.store(buffer.address, 1)

    return one


def failed_faults(device: Device) -> Callable[[], None]:
    """A VM with failed faults, which it keeps."""

    def one() -> None:
        vm = Vm(device, FAULTING)
        stores_fail(vm, [AT] * EACH)
        vm.close()

    return one


def binds(device: Device) -> Callable[[], None]:
    """Objects and memory of the process that are bound in a VM, then that VM."""

    def one() -> None:
        vm = Vm(device, PLAIN)
        with closing(allocate(SZ_64K)) as memory:
            for number in range(EACH):
                vm.map_userptr(AT + (EACH + number) * SZ_64K, memory.address, SZ_64K)
                with closing(Bo(device, PAGE)) as bo:
                    vm.map(bo, AT + number * SZ_64K)
                if number % 2:
                    vm.unmap(AT + number * SZ_64K, PAGE)
            vm.close()

    return one


def refused_syncs(device: Device) -> Callable[[], None]:
    """Syncobjs without a fence, which EXEC refuses to wait for."""
    queue = Vm(device, PLAIN).queue()

    def one() -> None:
        for _ in range(EACH):
            syncobj = Syncobj(device)
            for point in (0, 1):
                with refused(errno.EINVAL):
                    queue.submit(AT, [syncobj.waiting(point)])
            syncobj.close()

    return one


@behaviour("life.kernel-memory")
@acts("ioctl")
@pytest.mark.parametrize("path", [ranges, failed_faults, binds, refused_syncs])
def test_no_kernel_cache_grows_with_rounds(
    device: Device, path: Callable[[Device], Callable[[], None]]
) -> None:
    """Memory that the driver allocates in the kernel for a round is free after it."""
    one = path(device)
    before: list[dict[str, int]] = []
    for _ in range(TURNS):
        for _ in range(ROUNDS):
            one()
        before.append(lent())
    count("ioctl")
    first, second, third = before
    growing = {
        name: (second[name] - first.get(name, 0), objects - second[name])
        for name, objects in third.items()
        if name in second and name not in LAZY
    }
    kept = {name: turns for name, turns in growing.items() if min(turns) >= ROUNDS * EACH * 0.9}
    assert not kept, f"objects that {ROUNDS} rounds left, in each of two turns: {kept}"
