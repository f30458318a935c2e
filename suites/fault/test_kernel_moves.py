# SPDX-License-Identifier: MIT
"""Memory that the kernel moves while the GPU uses it: THP, KSM, NUMA."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures import acts, behaviour, gpu_finds, kinds, known, landed, needs, untested, wait_until
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.sizes import SZ_1M, SZ_2M
from fixtures.xe.queue import Queue
from ioctl.transcript import cannot

pytestmark = needs("page-faults")

MADV_COLLAPSE = 25
"""include/uapi/asm-generic/mman-common.h; Python has no name for it."""
MOVE_PAGES = {"x86_64": 279, "aarch64": 239, "riscv64": 239}
"""The system call's number."""
KSM = Path("/sys/kernel/mm/ksm")

_libc = ctypes.CDLL(None, use_errno=True)


def collapsed(buffer: Buffer) -> bool:
    """Have the kernel make huge pages of a buffer, and see whether it did: it may lack memory, or time."""
    with contextlib.suppress(OSError):
        buffer.madvise(MADV_COLLAPSE)
    return kinds.huge_bytes(buffer) == buffer.size


@behaviour("fault.ksm-thp-split")
@acts("load", "store")
@needs("thp")
def test_thp_collapse_under_gpu_keeps_data(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """After small pages that the GPU uses are collapsed into a huge page, CPU and GPU see all the data."""
    buffer = memory(SZ_2M, align=SZ_2M)
    buffer.madvise(mmap.MADV_NOHUGEPAGE)
    values = {offset: sentinel() for offset in range(0, SZ_2M, SZ_2M // 16)}
    queue.store_all({buffer.address + offset: value for offset, value in values.items()})
    buffer.bytes()  # only what is in system memory becomes a huge page
    buffer.madvise(mmap.MADV_HUGEPAGE)
    if not any(collapsed(buffer) for _ in range(10)):
        untested("MACHINE:thp", "the kernel makes no huge page of these small ones now")
    gpu_finds(queue, {buffer.address + offset: value for offset, value in values.items()})
    value = sentinel()
    queue.store(buffer.address + SZ_1M, value)
    landed(buffer, SZ_1M, value)
    assert {offset: buffer.u32(offset) for offset in values} == values | {SZ_1M: value}


@behaviour("fault.ksm-thp-split")
@acts("load", "store")
@needs("thp")
@pytest.mark.parametrize("gone", [0, SZ_1M, SZ_2M - PAGE], ids=["first", "middle", "last"])
def test_thp_split_under_gpu_keeps_data(queue: Queue, memory: Memory, sentinel: Sentinel, gone: int) -> None:
    """After one page of a huge page that the GPU uses is discarded, CPU and GPU see the data of the others."""
    buffer = memory(SZ_2M, kind=kinds.THP)
    values = {offset: sentinel() for offset in (*range(0, SZ_2M, SZ_2M // 16), SZ_2M - PAGE)}
    queue.store_all({buffer.address + offset: value for offset, value in values.items()})
    buffer.bytes()
    buffer.madvise(mmap.MADV_DONTNEED, gone, PAGE)
    values[gone] = 0
    gpu_finds(queue, {buffer.address + offset: value for offset, value in values.items()})
    assert {offset: buffer.u32(offset) for offset in values} == values
    value = sentinel()
    queue.store(buffer.address + gone, value)
    landed(buffer, gone, value)


@pytest.fixture
def merging() -> Iterator[None]:
    """The kernel merges equal pages, quickly, for as long as the test runs."""
    wanted = {"run": "1", "sleep_millisecs": "0", "pages_to_scan": "1000"}
    before = {name: (KSM / name).read_text() for name in wanted}
    cannot("it waits until KSM has merged its pages")
    for name, value in wanted.items():
        (KSM / name).write_text(value)
    yield
    for name, value in before.items():
        (KSM / name).write_text(value)


@behaviour("fault.ksm-thp-split")
@acts("load", "store")
@needs("ksm", "root", "vram", "device-pages")
@known(
    "After fork the GPU of the parent stores into memory of the child",
    first="6.18",
    signature="assert [buffer.u32(page * PAGE) for page in range(pages)] == *",
)
def test_ksm_merge_under_gpu_keeps_data(
    queue: Queue, memory: Memory, sentinel: Sentinel, merging: None
) -> None:
    """After KSM merges pages that the GPU uses, a GPU store to one of them changes that one only."""
    pages, word, value = 64, sentinel(), sentinel()
    buffer = memory(pages * PAGE)
    buffer.fill(word.to_bytes(4, "little"))
    queue.store(buffer.address, word)
    assert buffer.bytes() == word.to_bytes(4, "little") * (pages * PAGE // 4)
    buffer.madvise(mmap.MADV_MERGEABLE)
    wait_until(lambda: int((KSM / "pages_sharing").read_text()) >= pages - 2, what="KSM to merge the pages")
    # A fault splits merged pages: KSM at full speed would merge them again at once.
    (KSM / "run").write_text("0")
    gpu_finds(queue, {buffer.address + page * PAGE: word for page in range(pages)})
    queue.store(buffer.address + 8 * PAGE, value)
    landed(buffer, 8 * PAGE, value)
    assert [buffer.u32(page * PAGE) for page in range(pages)] == [word] * 8 + [value] + [word] * (pages - 9)


def nodes_of(buffer: Buffer, target: int | None = None) -> set[int]:
    """The NUMA nodes of a buffer's pages, after they were moved to ``target`` if one is given (move_pages(2))."""
    addresses = (ctypes.c_void_p * (buffer.size // PAGE))(*range(buffer.address, buffer.end, PAGE))
    targets = (ctypes.c_int * len(addresses))(*[target] * len(addresses)) if target is not None else None
    status = (ctypes.c_int * len(addresses))()
    done = _libc.syscall(MOVE_PAGES[platform.machine()], 0, len(addresses), addresses, targets, status, 2)
    if done < 0:
        raise OSError(ctypes.get_errno(), f"move_pages: {os.strerror(ctypes.get_errno())}")
    return set(status)


@behaviour("fault.numa-move")
@acts("load", "store")
@needs("numa")
@pytest.mark.parametrize("size", [PAGE, SZ_2M], ids=["4K", "2M"])
def test_numa_move_under_gpu_keeps_data(queue: Queue, memory: Memory, sentinel: Sentinel, size: int) -> None:
    """After pages that the GPU uses move to another NUMA node, CPU and GPU see the same data."""
    buffer = memory(size, align=size)
    values = {offset: sentinel() for offset in range(0, size, max(size // 8, 4096))}
    for node in 1, 0, 1:
        queue.store_all({buffer.address + offset: value for offset, value in values.items()})
        buffer.bytes()  # only pages of system memory have a node
        # A page that is held for a moment is reported busy, and stays (mm/migrate.c).
        moved = functools.partial(lambda to: nodes_of(buffer, to) == {to}, node)
        wait_until(moved, what=f"the move of all pages to node {node}")
        gpu_finds(queue, {buffer.address + offset: value for offset, value in values.items()})
        for offset, value in values.items():
            landed(buffer, offset, value)
        values = {offset: sentinel() for offset in values}
