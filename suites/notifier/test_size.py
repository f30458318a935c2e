# SPDX-License-Identifier: MIT
"""The size of a notifier, module parameter svm_notifier_size: it affects speed, never correctness.

(xe_module.c; xe_svm.c: xe_svm_init)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures import FAULTING, acts, behaviour, gpu_finds, landed, needs
from fixtures.counting import count
from fixtures.given import MakeVm, Memory, Sentinel
from fixtures.memory import Buffer
from fixtures.sizes import SZ_2M

PARAMETER = Path("/sys/module/xe/parameters/svm_notifier_size")

pytestmark = needs("page-faults", "notifier-size")


@pytest.fixture
def parameter() -> Iterator[Path]:
    """The parameter's file, whose value is put back after the test."""
    before = PARAMETER.read_text()
    yield PARAMETER
    PARAMETER.write_text(before)


@behaviour("notifier.size-default")
@acts("query")
def test_notifier_size_default_is_512_mib() -> None:
    """The default of the parameter is 512, in MiB, a power of two."""
    assert PARAMETER.read_text() == "512\n"
    count("query")


@behaviour("notifier.size-effective")
@acts("load", "store")
@pytest.mark.parametrize("size", [2, 4, 32, 512])
def test_vm_works_with_any_notifier_size(
    parameter: Path, make_vm: MakeVm, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """A VM created after the parameter was changed uses the new size; faults, migration and invalidation work."""
    parameter.write_text(f"{size}\n")
    vm = make_vm(FAULTING)
    vm.mirror()
    queue = vm.queue()
    buffer: Buffer = memory(9 * SZ_2M, align=SZ_2M)
    values = {at: sentinel() for at in range(buffer.address, buffer.end, SZ_2M // 2)}
    queue.store_all(values)
    gpu_finds(queue, values)
    buffer.remap_fresh(3 * SZ_2M // 2, 3 * SZ_2M)
    new = {
        at: 0 if 3 * SZ_2M // 2 <= at - buffer.address < 9 * SZ_2M // 2 else value
        for at, value in values.items()
    }
    gpu_finds(queue, new)
    for address, value in new.items():
        landed(buffer, address - buffer.address, value)
