# SPDX-License-Identifier: MIT
"""BOs that lose their memory while a VM that has them bound is closed (xe_vm.c: xe_vm_close_and_put)."""

from __future__ import annotations

import pytest

from fixtures import FAULTING, acts, behaviour, needs
from fixtures.given import MakeBo, MakeVm, Sentinel
from fixtures.kernel_file import shrink
from fixtures.overlap import meanwhile
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.flags import IMMEDIATE

ADDRESS = 1 << 32
BOS = 64
"""The race lasts longer the more of them the VM has bound: it takes its bindings apart one by one."""
ROUNDS = 10


@behaviour("evict.closing-vm")
@acts("overlap")
@needs("page-faults", "root", "device-pages")
@pytest.mark.timeout(60)
def test_shared_bos_move_while_vm_closes(make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel) -> None:
    """VMs that are closed while the shrinker moves BOs that they have bound leave the BOs their data."""
    shared = [(bo(SZ_64K), sentinel()) for _ in range(BOS)]
    views = [one.map() for one, _ in shared]
    for view, (_, value) in zip(views, shared, strict=True):
        view.set_u32(0, value)
        view.set_u32(SZ_64K - 4, ~value & 0xFFFFFFFF)
    for _ in range(ROUNDS):
        vm = make_vm(FAULTING)
        for number, (one, _) in enumerate(shared):
            # At once, as in this mode the BO would come back to memory only when a GPU uses it.
            vm.map(one, ADDRESS + number * SZ_2M, flags=IMMEDIATE)
        with meanwhile(lambda _: shrink()):
            vm.close()
    for view, (_, value) in zip(views, shared, strict=True):
        assert (view.u32(0), view.u32(SZ_64K - 4)) == (value, ~value & 0xFFFFFFFF)
