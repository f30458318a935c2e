# SPDX-License-Identifier: MIT
"""Trace points of the driver (xe_trace_bo.h)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures import acts, behaviour, landed, needs, untested
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.kernel_file import write
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.vm import Vm
from gpu import Batch

TRACING = Path("/sys/kernel/tracing")
AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
_PLACE = re.compile(r"\b(xe_vma_\w+): .*\bstart=0x([0-9a-f]+), end=0x([0-9a-f]+)")

pytestmark = needs("device-pages", "root")


@pytest.fixture
def trace() -> Iterator[Path]:
    """A trace of its own (Documentation/trace/ftrace.rst: Instances), with the driver's events off."""
    if not (TRACING / "instances").is_dir():
        untested("MACHINE:tracefs", f"there is no {TRACING}/instances")
    path = TRACING / "instances" / f"svm-cts-{uuid.uuid4()}"
    path.mkdir()
    try:
        yield path
    finally:
        write(path / "events/enable", "0")
        path.rmdir()


@behaviour("obs.no-svm-tracepoints")
@acts("query")
def test_svm_may_have_trace_points(trace: Path) -> None:
    """The driver's events have some for ranges or migration of SVM, or none; they have those of objects."""
    names = [entry.name for entry in (trace / "events/xe").iterdir() if entry.is_dir()]
    assert "xe_bo_move" in names
    count("query")
    found = sorted(name for name in names if re.search(r"svm|migrate", name))
    chose(f"trace points of SVM: {', '.join(found) or 'none'}")


@behaviour("obs.trace-vma-events")
@acts("store", "fault")
@needs("page-faults", "cpu-addr-mirror", "debugfs")
def test_events_of_vmas_have_their_place(
    trace: Path, mirror_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """Events of a bind, a fault, an invalidation and an unbind are there with start and end of the VMA, or are not."""
    buffer, made, queue = memory(SZ_64K), bo(SZ_64K), mirror_vm.queue()
    queue.run(Batch().noop())
    for event in (trace / "events/xe").glob("xe_vma_*"):
        write(event / "enable", "1")
    mirror_vm.map(made, AT)
    mirror_vm.map_userptr(AT + SZ_2M, buffer.address, SZ_64K)
    values = sentinel(), sentinel()
    queue.store_all({AT: values[0], AT + SZ_2M: values[1]})
    count("fault")
    landed(made.map(), 0, values[0])
    landed(buffer, 0, values[1])
    buffer.remap_fresh()
    mirror_vm.unmap(AT, SZ_64K)
    mirror_vm.unmap(AT + SZ_2M, SZ_64K)
    places = {AT, AT + SZ_2M}
    seen: dict[str, set[int]] = {}
    for name, start, end in _PLACE.findall((trace / "trace").read_text()):
        if int(start, 16) in places:
            seen.setdefault(name, set()).add(int(end, 16) - int(start, 16))
    assert all(sizes <= {SZ_64K, SZ_64K - 1} for sizes in seen.values()), seen
    chose(f"events with the place of a VMA: {', '.join(sorted(seen)) or 'none'}")
