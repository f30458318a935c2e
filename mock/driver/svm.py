# SPDX-License-Identifier: MIT
"""Shared virtual memory of a VM: the seam between the driver and its SVM part (xe_svm.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mock.driver.errors import Refused

if TYPE_CHECKING:
    from mock.driver.blocking import Blocking
    from mock.driver.device import Gt
    from mock.driver.vm import Vm
    from mock.driver.vma import Vma


class Svm:
    """The SVM ranges of one VM."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm

    def has_mapping(self, start: int, end: int) -> bool:
        """The GPU maps any range in [start, end) now (xe_svm_has_mapping)."""
        return False

    def unmap_address_range(self, start: int, end: int) -> None:
        """Drop the ranges in [start, end) (xe_svm_unmap_address_range)."""

    def flush(self) -> Blocking[None]:
        """Finish pending garbage collection (xe_svm_flush)."""
        return
        yield

    def handle_fault(self, vma: Vma, gt: Gt, address: int, *, atomic: bool) -> Blocking[None]:
        """Serve a GPU fault in a CPU address mirror VMA; Refused with the errno when it cannot be."""
        raise Refused(errno.EOPNOTSUPP)
        yield

    def prefetch(self, vma: Vma, start: int, end: int, region: int) -> Blocking[int]:
        """DRM_XE_VM_BIND_OP_PREFETCH of the part [start, end) of a mirror VMA to a memory region instance.

        Returns the number of ranges that were mapped. Raises Refused: ENODATA when a range could not be had, which is
        no error of the bind (prefetch_ranges in xe_vm.c).
        """
        raise Refused(errno.EOPNOTSUPP)
        yield

    def lost(self, address: int) -> None:
        """The GPU met a page of system memory that is gone or isolated: its range is stale."""

    def close(self) -> None:
        """The VM goes away (xe_svm_close, xe_svm_fini)."""
