# SPDX-License-Identifier: MIT
"""Validation and rebind of a VM before its jobs run (xe_vm.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mock.driver.lib.errors import Refused
from mock.driver.ttm.bo import Purgeable
from mock.driver.vm import binding

if TYPE_CHECKING:
    from mock.driver.vm.vm import Vm


def validate_and_rebind(vm: Vm) -> None:
    """Validate evicted BOs and rebind the VMAs of those that moved (xe_vm_validate_rebind)."""
    while vm.evicted:
        bo = next(iter(vm.evicted))
        del vm.evicted[bo]
        for vma in vm.vmas_of(bo):
            vm.rebind[vma] = None
        if bo.purgeable is not Purgeable.PURGED:
            try:
                bo.validate(keep=vm.locked_resvs())
            except Refused:
                vm.evicted[bo] = None
                raise
    for vma in list(vm.rebind):
        del vm.rebind[vma]
        for tile in vm.device.tiles:
            if vma.tile_present & 1 << tile.id:
                binding.write_entries(vma, tile)
