# SPDX-License-Identifier: MIT
"""Range sizes: the largest of 2M, 64K and 4K that fits (drm_gpusvm.c: drm_gpusvm_range_chunk_size)."""

from __future__ import annotations

import itertools
import mmap
import random

import pytest

from fixtures import acts, behaviour, each_home, kinds, needs, returned
from fixtures.given import MakeBo, MakeVm, Memory
from fixtures.intervals import Interval
from fixtures.memory import PAGE, PROT_NONE, READ_WRITE, Buffer
from fixtures.sizes import SZ_1M, SZ_2M, SZ_64K
from fixtures.xe.flags import DEFAULT_SYSTEM, PREFERRED_LOC
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from suites.range.conftest import Cut

pytestmark = needs("page-faults", "debugfs")

SIZES = {"2M": SZ_2M, "64K": SZ_64K, "4K": PAGE}


def narrowed(buffer: Buffer, start: int, end: int) -> None:
    """Take all of a buffer but [start, end) away from the GPU: the CPU mapping that it sees ends there."""
    for low, high in ((0, start), (end, buffer.size)):
        if low < high:
            buffer.mprotect(PROT_NONE, low, high - low)


# name: [start, end) of the CPU mapping in two windows of 2 MiB; offsets that the GPU touches and the range there
LAYOUTS: dict[str, tuple[int, int, list[tuple[int, str | None]]]] = {
    "a-window": (0, SZ_2M, [(SZ_1M, "2M"), (0, None), (SZ_2M - 4, None)]),
    "two-windows": (0, 2 * SZ_2M, [(SZ_2M - 4, "2M"), (SZ_2M, "2M"), (0, None), (2 * SZ_2M - 4, None)]),
    "all-but-the-last-page": (
        0,
        SZ_2M - PAGE,
        [(0, "64K"), (SZ_2M - SZ_64K, "4K"), (SZ_2M - 2 * PAGE, "4K"), (SZ_1M, "64K")],
    ),
    "all-but-the-first-page": (
        PAGE,
        SZ_2M,
        [(PAGE, "4K"), (SZ_64K - 4, "4K"), (SZ_64K, "64K"), (SZ_2M - 4, "64K")],
    ),
    "half-a-window": (SZ_1M, SZ_2M, [(SZ_1M, "64K"), (SZ_2M - 4, "64K"), (SZ_1M + SZ_64K - 4, None)]),
    "across-two-windows": (
        SZ_1M,
        3 * SZ_1M,
        [(SZ_2M - 4, "64K"), (SZ_2M, "64K"), (3 * SZ_1M - 4, "64K"), (SZ_1M, "64K")],
    ),
    "one-and-a-half": (
        SZ_1M,
        2 * SZ_2M,
        [(SZ_1M, "64K"), (SZ_2M, "2M"), (2 * SZ_2M - 4, None), (SZ_2M - 4, "64K")],
    ),
    "64K": (SZ_64K, 2 * SZ_64K, [(SZ_64K + PAGE, "64K"), (SZ_64K, None), (2 * SZ_64K - 4, None)]),
    "64K-not-aligned": (
        SZ_64K + PAGE,
        2 * SZ_64K + PAGE,
        [(SZ_64K + PAGE, "4K"), (2 * SZ_64K - 4, "4K"), (2 * SZ_64K, "4K")],
    ),
    "60K": (
        SZ_64K,
        2 * SZ_64K - PAGE,
        [(SZ_64K, "4K"), (2 * SZ_64K - PAGE - 4, "4K"), (SZ_64K + PAGE - 4, None)],
    ),
    "one-page": (PAGE, 2 * PAGE, [(PAGE, "4K"), (2 * PAGE - 4, None)]),
}


@behaviour("range.chunk-2m", "range.chunk-64k", "range.chunk-4k", "range.cpu-vma-boundary")
@acts("fault", "exec")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_range_is_largest_chunk_inside_cpu_vma(queue: Queue, memory: Memory, cut: Cut, layout: str) -> None:
    """A fault makes a range of 2M, 64K or 4K: the largest aligned window inside the CPU VMA."""
    start, end, touches = LAYOUTS[layout]
    buffer = memory(2 * SZ_2M, align=SZ_2M)
    narrowed(buffer, start, end)
    assert [cut(queue, buffer.address + offset) for offset, _ in touches] == [size for _, size in touches]


@behaviour("range.chunk-2m", "range.chunk-64k", "range.chunk-4k")
@acts("fault")
@kinds.each_kind
def test_range_size_does_not_depend_on_memory_kind(
    queue: Queue, memory: Memory, cut: Cut, kind: kinds.Kind
) -> None:
    """Ranges of every kind of memory have the same sizes."""
    buffer = memory(2 * SZ_2M, align=SZ_2M, kind=kind)
    assert cut(queue, buffer.address + PAGE) == "2M"
    if kind.page == PAGE:
        buffer.mprotect(PROT_NONE, 2 * SZ_2M - PAGE, PAGE)
        assert cut(queue, buffer.address + SZ_2M) == "64K"
        assert cut(queue, buffer.address + 2 * SZ_2M - 2 * PAGE) == "4K"


@behaviour("range.alignment")
@acts("fault", "exec")
@pytest.mark.parametrize("size", SIZES)
def test_range_is_naturally_aligned(queue: Queue, memory: Memory, cut: Cut, size: str) -> None:
    """A range is the naturally aligned window around the fault: accesses to its ends do not fault, adjacent ones do."""
    unit = SIZES[size]
    buffer = memory(4 * SZ_2M, align=SZ_2M)
    # A CPU mapping that holds three whole windows of this size and none of the next larger one.
    start = SZ_2M if size == "2M" else SZ_2M + unit
    narrowed(buffer, start, start + 3 * unit)
    window = start + unit
    assert cut(queue, buffer.address + window + unit // 2 + 12) == size
    assert cut(queue, buffer.address + window) is None
    assert cut(queue, buffer.address + window + unit - 4) is None
    assert cut(queue, buffer.address + window - 4) == size
    assert cut(queue, buffer.address + window + unit) == size


@behaviour("range.gpu-vma-boundary")
@acts("fault")
@needs("cpu-addr-mirror")
@pytest.mark.parametrize("end", [SZ_1M, SZ_64K, PAGE], ids=["1M", "64K", "4K"])
def test_range_stays_inside_mirror(fault_vm: Vm, memory: Memory, cut: Cut, end: int) -> None:
    """If only part of a window is mirrored, the ranges are those that fit into that part."""
    buffer = memory(SZ_2M, align=SZ_2M)
    fault_vm.mirror(buffer.address, end)
    queue = fault_vm.queue()
    expected = "64K" if end >= SZ_64K else "4K"
    assert cut(queue, buffer.address) == expected
    assert cut(queue, buffer.address + end - 4) == (None if end <= SZ_64K else expected)


@behaviour("range.gpu-vma-boundary")
@acts("fault", "ioctl")
@needs("range-attributes")
def test_range_does_not_cross_attribute_boundary(mirror_vm: Vm, memory: Memory, cut: Cut) -> None:
    """If MADVISE changed the attributes of half a window, each half has its own ranges."""
    buffer = memory(SZ_2M, align=SZ_2M)
    mirror_vm.madvise(
        buffer.address + SZ_1M,
        SZ_1M,
        PREFERRED_LOC,
        devmem_fd=DEFAULT_SYSTEM,
    )
    areas = [
        (max(a.start, buffer.address), min(a.end, buffer.end))
        for a in mirror_vm.attributes(buffer.address, SZ_2M)
    ]
    assert areas == [(buffer.address, buffer.address + SZ_1M), (buffer.address + SZ_1M, buffer.end)]
    queue = mirror_vm.queue()
    assert cut(queue, buffer.address + SZ_1M - 4) == "64K"
    assert cut(queue, buffer.address + SZ_1M) == "64K"
    assert cut(queue, buffer.address + SZ_1M - 2 * SZ_64K) == "64K"


@behaviour("range.gpu-vma-boundary")
@acts("fault")
@pytest.mark.parametrize("offset", [0, SZ_1M, SZ_2M - SZ_64K], ids=["start", "middle", "end"])
def test_range_does_not_overlap_bound_bo(
    mirror_vm: Vm, memory: Memory, bo: MakeBo, cut: Cut, offset: int
) -> None:
    """A BO bound inside a window of the mirror leaves ranges of 64 KiB around it, and takes no SVM fault."""
    buffer, target = memory(SZ_2M, align=SZ_2M), bo(SZ_64K)
    mirror_vm.map(target, buffer.address + offset)
    queue = mirror_vm.queue()
    assert cut(queue, buffer.address + (offset + SZ_1M) % SZ_2M) == "64K"
    assert cut(queue, buffer.address + offset) is None
    assert cut(queue, buffer.address + (offset + SZ_64K) % SZ_2M) == "64K"


@behaviour("range.no-overlap")
@acts("fault")
@pytest.mark.parametrize("size", ["4K", "64K"])
def test_new_range_does_not_overlap_existing_range(queue: Queue, memory: Memory, cut: Cut, size: str) -> None:
    """Next to a smaller range, made when the CPU VMA was smaller, a fault makes a range that does not overlap it."""
    buffer = memory(SZ_2M, align=SZ_2M)
    first = 5 * SZ_64K
    narrowed(buffer, first, first + SIZES[size])
    assert cut(queue, buffer.address + first) == size
    buffer.mprotect(READ_WRITE)
    expected = "4K" if size == "4K" else None
    assert cut(queue, buffer.address + first + SZ_64K - 4) == expected
    assert cut(queue, buffer.address + first) is None
    assert cut(queue, buffer.address + first - 4) == "64K"
    assert cut(queue, buffer.address) == "64K"


@behaviour("range.check-pages-threshold", "range.chunk-64k")
@acts("fault")
@each_home
def test_untouched_migratable_memory_gets_4k_ranges(
    queue: Queue, memory: Memory, cut: Cut, home: str
) -> None:
    """With SVM migration a 64 KiB range is made only if all its pages are populated; without, this is not checked."""
    buffer = memory(SZ_1M, align=SZ_2M, populate=False)
    whole, partly, none = 0, SZ_64K, 2 * SZ_64K
    buffer.fill(b"\x5a", whole, SZ_64K)
    buffer.fill(b"\x5a", partly, SZ_64K - PAGE)
    looks = home == "vram"
    assert cut(queue, buffer.address + whole) == "64K"
    assert cut(queue, buffer.address + partly) == ("4K" if looks else "64K")
    assert cut(queue, buffer.address + none) == ("4K" if looks else "64K")


@behaviour("range.check-pages-threshold")
@acts("fault", "cpu-fault")
@needs("vram", "svm-vram")
def test_pages_in_vram_count_as_populated(mirror_vm: Vm, make_vm: MakeVm, memory: Memory, cut: Cut) -> None:
    """Pages in the GPU's own VRAM can form a 64 KiB range, like pages in system memory."""
    buffer, other = memory(SZ_64K, align=SZ_2M, fill=b"\x5a"), make_vm(mirror_vm.flags)
    assert cut(mirror_vm.queue(), buffer.address) == "64K"
    assert not buffer.present()
    other.mirror()
    assert cut(other.queue(), buffer.address + PAGE) == "64K"
    returned(buffer, 2 * PAGE, b"\x5a" * 64)


@behaviour("range.2m-unpopulated", "range.chunk-2m")
@acts("fault")
def test_untouched_2m_chunk_is_one_range(queue: Queue, memory: Memory, cut: Cut) -> None:
    """A 2 MiB window in which no page was ever touched becomes one range."""
    buffer = memory(SZ_2M, align=SZ_2M, populate=False)
    assert cut(queue, buffer.address + SZ_1M) == "2M"
    assert cut(queue, buffer.address + SZ_2M - 4) is None


class Rule:
    """The rule, written down once more: what a fault makes in a mapping of which every page is there."""

    def __init__(self, mappings: list[Interval]) -> None:
        self._mappings = mappings
        self._ranges: list[Interval] = []

    def cut(self, address: int) -> str | None:
        """The size class of the range that a fault at ``address`` makes; None if it has one."""
        if any(there.start <= address < there.end for there in self._ranges):
            return None
        (mapping,) = (one for one in self._mappings if one.start <= address < one.end)
        for name, size in SIZES.items():
            window = Interval(address // size * size, address // size * size + size)
            if window.minus(mapping) or any(window.common(there) for there in self._ranges):
                continue
            self._ranges.append(window)
            return name
        raise AssertionError(f"no window holds {address:#x}")


def borders(rng: random.Random) -> list[int]:
    """Ends of the mappings of four windows, in bytes."""
    pages = 4 * SZ_2M // PAGE
    steps = (1, SZ_64K // PAGE, SZ_2M // PAGE)
    inner = {rng.randrange(1, pages // step) * step for step in rng.choices(steps, k=4)}
    return [0, *sorted(page * PAGE for page in inner), pages * PAGE]


@behaviour("range.cpu-vma-boundary", "range.no-overlap", "range.reuse")
@acts("fault", "exec")
@pytest.mark.parametrize("variant", range(6))
def test_range_size_rule_holds_for_any_fault_order(
    queue: Queue, memory: Memory, cut: Cut, rng: random.Random, variant: int
) -> None:
    """Whatever the bounds of CPU VMAs and the order of faults, each fault makes the range of the documented size."""
    buffer = memory(4 * SZ_2M, align=SZ_2M)
    ends = borders(rng)
    mappings = [
        Interval(buffer.address + low, buffer.address + high) for low, high in itertools.pairwise(ends)
    ]
    for odd in mappings[1::2]:
        buffer.madvise(mmap.MADV_DONTFORK, odd.start - buffer.address, odd.size)  # a border, and nothing else
    rule = Rule(mappings)
    near = [end + step for end in ends for step in (-PAGE, 0, SZ_64K)]
    touches = [rng.choice([rng.randrange(0, 4 * SZ_2M), rng.choice(near)]) for _ in range(24)]
    for offset in touches:
        address = buffer.address + min(max(offset & ~3, 0), 4 * SZ_2M - 4)
        assert cut(queue, address) == rule.cut(address), (
            f"at offset {address - buffer.address:#x}, borders {ends}"
        )
