# SPDX-License-Identifier: MIT
"""MADVISE of part of a BO's mapping, and BO moves after it (xe_vm_madvise.c, xe_bo.c)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fixtures import acts, behaviour, known, landed, needs
from fixtures.gate import Gate
from fixtures.given import MakeBo, MakeVm, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.bo import SYSTEM
from fixtures.xe.vm import LONG_RUNNING, PLAIN, Vm
from gpu import Batch
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
STALE = "MADVISE of a part of a bo leaves stale translations behind"
UNMAPPED = "MADVISE unmaps bos of a VM without fault mode"

pytestmark = needs("range-attributes")


Advise = Callable[[Vm, int], None]


def _atomic(vm: Vm, size: int) -> None:
    vm.madvise(AT, size, xe.DRM_XE_MEM_RANGE_ATTR_ATOMIC, val=xe.DRM_XE_ATOMIC_DEVICE)


def _pat(vm: Vm, size: int) -> None:
    bound, other, *_ = vm.device.coherent_pats
    assert bound == vm.device.write_back_pat
    vm.madvise(AT, size, xe.DRM_XE_MEM_RANGE_ATTR_PAT, val=other)


@behaviour("madvise.bo-stays-reachable", "prefetch.bo")
@acts("store")
@needs("page-faults", "vram")
@pytest.mark.parametrize("advise", [_atomic, _pat], ids=["atomic", "pat"])
@pytest.mark.parametrize(
    "advised",
    [
        pytest.param(0, id="none"),
        pytest.param(
            SZ_64K,
            id="part",
            marks=[
                needs("gpu-tlb"),
                known(
                    STALE,
                    first="6.18",
                    signature="the CPU sees 0x# at offset 0x# of <Buffer 0x# + 0x#>, not 0x#",
                ),
            ],
        ),
        pytest.param(2 * SZ_2M, id="whole"),
    ],
)
def test_running_batch_follows_bo_after_madvise(
    mirror_vm: Vm, bo: MakeBo, gate: Gate, sentinel: Sentinel, advise: Advise, advised: int
) -> None:
    """A batch that runs while a BO is evicted stores to its new location, whatever part of it had MADVISE before."""
    made = bo(2 * SZ_2M, placement=SYSTEM | 1 << mirror_vm.device.vram[0])
    mapped, queue = made.map(), mirror_vm.queue()
    mirror_vm.map(made, AT, flags=xe.DRM_XE_VM_BIND_FLAG_IMMEDIATE)
    mirror_vm.prefetch(AT, made.size, mirror_vm.device.vram[0])
    offset, first, second = SZ_2M + 5 * PAGE, sentinel(), sentinel()
    job = queue.start(gate.hold(Batch().store_dword(AT + offset, first)).store_dword(AT + offset, second))
    gate.reached()
    landed(mapped, offset, first)
    if advised:
        advise(mirror_vm, advised)
    mirror_vm.prefetch(AT, made.size, 0)
    gate.open()
    job.wait()
    landed(mapped, offset, second)


@behaviour("madvise.bo-stays-reachable")
@acts("store")
@known(
    UNMAPPED,
    first="6.18",
    signature="EIO: DRM_IOCTL_XE_WAIT_USER_FENCE on fd #: Input/output error",
    acts=("store",),
)
@pytest.mark.parametrize("mode", [PLAIN, LONG_RUNNING], ids=["plain", "long-running"])
@pytest.mark.parametrize("advise", [_atomic, _pat], ids=["atomic", "pat"])
def test_bo_stays_mapped_without_fault_mode(
    make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, advise: Advise, mode: int
) -> None:
    """After MADVISE a VM without faults can still access a BO, from old queues and from new ones."""
    vm, made = make_vm(mode), bo(SZ_2M)
    mapped, queue = made.map(), vm.queue()
    vm.map(made, AT)
    for user in (queue, queue, vm.queue()):
        value = sentinel()
        user.store(AT + PAGE, value)
        landed(mapped, PAGE, value)
        advise(vm, SZ_2M)
