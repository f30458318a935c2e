# SPDX-License-Identifier: MIT
"""What a GPU page fault does about the place of memory (xe_svm.c: __xe_svm_handle_pagefault)."""

import errno
import mmap

from fixtures import acts, behaviour, each_home, gpu_sees, kinds, landed, needs, refused
from fixtures.counters import Counters
from fixtures.device import Device
from fixtures.memory import PAGE, Buffer
from fixtures.queue import Queue
from gpu import Batch
from ioctl import xe

pytestmark = needs("page-faults", "debugfs")

K64, M1, M2 = 1 << 16, 1 << 20, 1 << 21


def cannot_move(queue: Queue, buffer: Buffer, value: int) -> None:
    """Make a range of 2 MiB that cannot go to VRAM: a border of CPU mappings has come into it since it was made."""
    queue.load(buffer.address)
    buffer.madvise(mmap.MADV_DONTFORK, M1, M1)
    buffer.fill(value.to_bytes(4, "little"))  # in system memory, wherever it was
    assert buffer.present()


@behaviour("fault.default-location", "fault.igpu-no-migration")
@acts("fault", "load")
@each_home
def test_first_fault_migrates_to_vram_if_possible(
    queue: Queue, memory, sentinel, counters: Counters, home: str
) -> None:
    """The first fault takes memory to VRAM where it can be in VRAM, and leaves it in system memory where it cannot."""
    buffer, value, before = memory(M2, align=M2), sentinel(), counters.snapshot()
    buffer.set_u32(M1, value)
    gpu_sees(queue, buffer.address + M1, value)
    assert counters.by_size("pagefault_count", since=before) == {"2M": 1}
    assert counters.by_size("migrate_count", since=before) == ({"2M": 1} if home == "vram" else {})
    assert {buffer.present(offset) for offset in range(0, M2, PAGE)} == {home == "system"}


@behaviour(
    "fault.igpu-no-migration", "fault.hugetlb", "fault.shared-anon", "fault.file-shared", "fault.file-private"
)
@acts("store", "load")
@kinds.kinds([kind for kind in kinds.KINDS if not kind.migratable])
def test_nonmigratable_memory_is_used_in_place(
    queue: Queue, memory, sentinel, counters: Counters, kind: kinds.Kind
) -> None:
    """Memory that is not private and anonymous, or is of reserved huge pages, is served from system memory."""
    buffer, before = memory(2 * M2, align=M2, kind=kind), counters.snapshot()
    values = {offset: sentinel() for offset in (0, PAGE, M2 - 4, M2, 2 * M2 - 4)}
    for offset, value in values.items():
        buffer.set_u32(offset, value)
        gpu_sees(queue, buffer.address + offset, value)
    for offset in values:
        value = sentinel()
        queue.store(buffer.address + offset, value)
        landed(buffer, offset, value)
    assert counters.by_size("migrate_count", since=before) == {}


@behaviour("fault.migration-failure-fallback", "fault.one-migration-try")
@acts("fault", "migrate", "load", "store")
@needs("vram", "svm-vram")
def test_failed_migration_falls_back_to_sysmem(queue: Queue, memory, sentinel, counters: Counters) -> None:
    """When a range cannot be moved the fault tries it once, then maps what is there: the data is right."""
    buffer, kept, stored = memory(M2, align=M2), sentinel(), sentinel()
    cannot_move(queue, buffer, kept)
    before = counters.snapshot()
    gpu_sees(queue, buffer.address + PAGE, kept)
    assert counters.by_size("migrate_count", since=before) == {"2M": 1}
    counters.rose("svm_pagefault_count", since=before, by=1)
    assert buffer.present(PAGE)
    queue.store(buffer.address + M2 - 4, stored)
    landed(buffer, M2 - 4, stored)


@behaviour("fault.atomic-three-tries")
@acts("fault", "migrate", "refusal", "load")
@needs("vram", "atomic")
def test_atomic_on_stuck_range_faults_after_3_tries(mirror_vm, memory, sentinel, counters: Counters) -> None:
    """An atomic that needs VRAM tries to move the range three times, then fails: nothing is added, others go on."""
    buffer, kept = memory(M2, align=M2), sentinel()
    mirror_vm.madvise(buffer.address, M2, xe.DRM_XE_MEM_RANGE_ATTR_ATOMIC, val=xe.DRM_XE_ATOMIC_GLOBAL)
    other = mirror_vm.queue()
    cannot_move(other, buffer, kept)
    before = counters.snapshot()
    with refused(errno.EIO):
        mirror_vm.queue().run(Batch().atomic(buffer.address, "add", 1))
    assert counters.by_size("migrate_count", since=before) == {"2M": 3}
    counters.rose("svm_pagefault_count", since=before, by=1)
    assert buffer.u32() == kept
    gpu_sees(other, buffer.address, kept)


@behaviour("fault.memory-pressure")
@acts("fault", "store", "load")
@needs("vram")
def test_fault_with_vram_full_is_served(
    device: Device, queue: Queue, memory, bo, sentinel, counters: Counters
) -> None:
    """When buffer objects fill all VRAM a fault makes room, for memory and page tables: nobody's data is lost."""
    region = device.region(device.vram[0])
    part = (region.total_size - region.used) // 8 // M2 * M2
    objects = [bo(part, placement=1 << region.instance).map() for _ in range(8)]
    words = [sentinel() for _ in objects]
    for content, word in zip(objects, words, strict=True):
        content.set_u32(part - 4, word)
    before, stored = counters.snapshot(), {}
    buffers = [memory(M2, align=M2) for _ in range(3)]
    for buffer in buffers:
        kept = sentinel()
        buffer.set_u32(M1, kept)
        gpu_sees(queue, buffer.address + M1, kept)
        stored[buffer] = sentinel()
        queue.store(buffer.address, stored[buffer])
    counters.rose("svm_pagefault_count", since=before)
    for buffer, value in stored.items():
        landed(buffer, 0, value)
    assert [content.u32(part - 4) for content in objects] == words
