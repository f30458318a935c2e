# SPDX-License-Identifier: MIT
"""The translation cache keeps entries that it may keep, and drops those that it must."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu import Batch
from gpu import commands as c
from guest.emulator import scheduler, tlb
from guest.emulator.hxg import Action
from guest.emulator.scheduler import UNSERVED
from tests.emulator.driver import AE, LOCAL, RAM, RW, Driver, Queue, Vm, machine

BATCH, DATA = 0x10_0000, 0x20_0000


def kept(driver: Driver, vm: Vm) -> bool:
    """Whether the translation of DATA is cached."""
    cached = driver.gpu.main.cache.space(vm.asid, vm.root, "bcs0")[0].find(DATA)
    return cached is not None and cached.entries[(DATA - cached.start) >> cached.shift] != 0


class Poller:
    """A batch that stores to DATA at each release, in one job: nothing flushes between its stores."""

    def __init__(
        self, driver: Driver, vm: Vm, queue: Queue, second: int = DATA, gate_at: int = DATA + 0x8000
    ) -> None:
        self.driver = driver
        self.queue = queue
        self.gate = driver.ram()
        vm.map(gate_at, self.gate)
        batch = Batch()
        for turn in range(1, 4):
            batch.semaphore_wait(gate_at, turn, ">=").store_dword(second if turn == 2 else DATA, turn)
            batch.store_dword(gate_at + 8, turn)
        self.seqno = queue.submit(queue.place(batch.end(), BATCH))
        driver.rest()

    def step(self, turn: int) -> None:
        self.driver.guest.ram[self.gate] = turn
        self.driver.until(lambda: self.driver.ram_u32(self.gate + 8) == turn)


def test_translation_is_kept_until_it_is_invalidated(driver: Driver, vm: Vm, queue: Queue) -> None:
    old, new = driver.ram(), driver.ram()
    vm.map(DATA, old)
    poller = Poller(driver, vm, queue)
    poller.step(1)
    vm.map(DATA, new)  # and the driver forgets to invalidate
    poller.step(2)
    assert (driver.ram_u32(old), driver.ram_u32(new)) == (2, 0)
    driver.invalidate(vm.asid, DATA, 4096)
    poller.step(3)
    assert (driver.ram_u32(old), driver.ram_u32(new)) == (2, 3)


@pytest.mark.parametrize(
    ("pages", "forgotten"),
    [
        ((5, DATA, 4096), True),
        ((5, 0, 16 << 20), True),
        ((5, DATA - 4096, 4096), False),
        ((5, DATA + 4096, 4096), False),
        ((6, DATA, 4096), False),
    ],
)
def test_invalidation_is_for_its_range_and_asid(
    driver: Driver, vm: Vm, queue: Queue, pages: tuple[int, int, int], forgotten: bool
) -> None:
    vm.map(DATA, driver.ram())
    queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    driver.invalidate(*pages)
    assert kept(driver, vm) != forgotten


def large_page(driver: Driver, vm: Vm, size: int) -> int:
    """A page of 64 KiB or 2 MiB at DATA, and where it is in VRAM."""
    base = driver.vram.take(size, size)
    vm.map(DATA, base, size, RW | LOCAL, size.bit_length() - 1)
    return base


def entry(driver: Driver, vm: Vm, address: int) -> int:
    """The cached entry for an address; 0 if there is none."""
    cached = driver.gpu.main.cache.space(vm.asid, vm.root, "bcs0")[0].find(address)
    return cached.entries[address - cached.start >> cached.shift] if cached is not None else 0


@pytest.mark.parametrize("size", [64 << 10, 2 << 20], ids=["64K", "2M"])
@pytest.mark.parametrize("flushed", [0, 5, -1], ids=["first", "middle", "last"])
def test_flush_of_one_page_keeps_the_rest_of_a_large_one(
    driver: Driver, vm: Vm, queue: Queue, size: int, flushed: int
) -> None:
    base = large_page(driver, vm, size)
    queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    page = flushed % (size >> 12)
    driver.invalidate(vm.asid, DATA + (page << 12), 4096)
    kept = [bool(entry(driver, vm, DATA + (n << 12))) for n in range(size >> 12)]
    assert [n for n, is_kept in enumerate(kept) if not is_kept] == [page]
    other = DATA + ((page + 1) % (size >> 12) << 12)
    assert entry(driver, vm, other) & ~0xFFF & ((1 << 52) - 1) == base + other - DATA


def test_flush_of_a_whole_large_page_keeps_nothing(driver: Driver, vm: Vm, queue: Queue) -> None:
    large_page(driver, vm, 2 << 20)
    queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    driver.invalidate(vm.asid, DATA, 2 << 20)
    assert not any(entry(driver, vm, DATA + (n << 12)) for n in range(512))


def test_pieces_and_new_entries_stand_side_by_side(driver: Driver, vm: Vm, queue: Queue) -> None:
    """After a flush of one page the next access reads that page's new entry, and its neighbours keep the old ones."""
    old = large_page(driver, vm, 2 << 20)
    poller = Poller(driver, vm, queue, second=DATA + 4096, gate_at=DATA + (2 << 20))
    poller.step(1)
    new = driver.vram.take(2 << 20, 2 << 20)
    vm.map(DATA, new, 2 << 20, RW | LOCAL, 21)
    driver.invalidate(vm.asid, DATA, 4096)
    poller.step(2)  # to the second page, which was not invalidated
    poller.step(3)  # to the first page, which was
    assert driver.vram_u32(old) == 1
    assert (driver.vram_u32(old + 4096), driver.vram_u32(new)) == (2, 3)


def test_pieces_that_changed_long_ago_are_reported(
    driver: Driver, vm: Vm, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tlb, "OVERDUE", -1.0)
    large_page(driver, vm, 2 << 20)
    poller = Poller(driver, vm, queue, second=DATA + 4096, gate_at=DATA + (2 << 20))
    poller.step(1)
    driver.invalidate(vm.asid, DATA, 4096)
    for now in (1.0, 2.0):
        driver.gpu.main.cache.sweep(now)
    vm.unmap(DATA)
    for now in (3.0, 4.0):
        driver.gpu.main.cache.sweep(now)
    poller.step(2)
    assert [report["check"] for report in driver.checks.reports] == ["stale-translation"]


class OtherTable:
    """DATA and its neighbour in one table of 2 MiB, and a batch that stores to DATA, then twice to the neighbour."""

    NEIGHBOUR = DATA + 4096

    def __init__(self, driver: Driver, vm: Vm, queue: Queue) -> None:
        self.vm = vm
        self.qwords = driver.gpu.vram.qwords
        vm.map(DATA, driver.ram())
        self.directory = vm.entry_address(DATA, 1)
        self.poller = Poller(driver, vm, queue, self.NEIGHBOUR, DATA + (2 << 20))
        self.poller.step(1)

    def replace(self, neighbour: int) -> None:
        """The driver makes another table for the 2 MiB, which has the neighbour only."""
        table = self.vm.new_table()
        self.qwords[table + 8 >> 3] = neighbour | RW
        self.qwords[self.directory >> 3] = table | RW


@pytest.mark.parametrize(
    ("flushed", "forgotten"),
    [
        ((DATA, 2 << 20), True),
        ((0, 1 << 30), True),
        ((DATA, 4096), False),
        ((DATA, 1 << 20), False),
        ((DATA + (2 << 20), 2 << 20), False),
    ],
    ids=["its-2M", "its-1G", "its-page", "its-first-1M", "next-2M"],
)
def test_directory_entry_is_kept_until_all_of_it_is_invalidated(
    driver: Driver, vm: Vm, queue: Queue, flushed: tuple[int, int], forgotten: bool
) -> None:
    other, page = OtherTable(driver, vm, queue), driver.ram()
    other.replace(page)
    driver.invalidate(vm.asid, *flushed)
    driver.guest.ram[other.poller.gate] = 2
    driver.until(lambda: driver.has(Action.REPORT_PAGE_FAULT) or driver.ram_u32(page) == 2)
    assert (driver.ram_u32(page) == 2) == forgotten


def test_fault_that_a_kept_directory_entry_causes_again_is_reported(
    driver: Driver, vm: Vm, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "UNSERVED_SECONDS", 0.0)
    other = OtherTable(driver, vm, queue)
    other.replace(driver.ram())
    driver.guest.ram[other.poller.gate] = 2
    for _ in range(UNSERVED):
        driver.answer_fault(driver.fault())
    assert [report["check"] for report in driver.checks.reports] == ["fault-not-served"]


def test_flush_in_the_ring_forgets_directory_entries(driver: Driver, vm: Vm, queue: Queue) -> None:
    other, page = OtherTable(driver, vm, queue), driver.ram()
    vm.map(other.NEIGHBOUR, driver.ram())
    for turn in (2, 3):
        other.poller.step(turn)
    other.replace(page)
    queue.run(queue.place(Batch().store_dword(other.NEIGHBOUR, 7).end(), BATCH + 0x8000))
    assert driver.ram_u32(page) == 7


def test_new_context_leaves_translations_alone(driver: Driver, vm: Vm, queue: Queue) -> None:
    vm.map(DATA, driver.ram())
    poller = Poller(driver, vm, queue)
    poller.step(1)
    driver.queue(vm).register().enable()
    assert kept(driver, vm)


@pytest.mark.parametrize("others_run", [False, True], ids=["alone", "with-another"])
def test_resumed_context_reloads_if_no_other_ran(driver: Driver, vm: Vm, others_run: bool) -> None:
    vm.map(DATA, driver.ram())
    queue, other = (driver.queue(vm).register().enable() for _ in range(2))
    queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    assert kept(driver, vm)
    queue.disable()
    if not others_run:
        other.disable()
    queue.enable()
    assert kept(driver, vm) == others_run


def test_flush_in_a_ring_is_for_its_engine(driver: Driver, vm: Vm, queue: Queue) -> None:
    vm.map(DATA, driver.ram())
    queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    render = driver.queue(vm, "rcs0").register().enable()
    render.run(render.place(Batch().noop().end(), BATCH + 0x1000))
    assert kept(driver, vm)


def test_invalidation_by_the_guc_is_for_all_engines(driver: Driver, vm: Vm, queue: Queue) -> None:
    vm.map(DATA, driver.ram())
    for at, engine in enumerate(("bcs0", "rcs0")):
        other = driver.queue(vm, engine).register().enable()
        other.run(other.place(Batch().store_dword(DATA, 1).end(), BATCH + 0x1000 * at))
    driver.invalidate(vm.asid, DATA, 4096)
    caches = [driver.gpu.main.cache.space(vm.asid, vm.root, engine)[0] for engine in ("bcs0", "rcs0")]
    assert not any(
        cached and cached.entries[DATA - cached.start >> cached.shift]
        for cached in (cache.find(DATA) for cache in caches)
    )


@pytest.mark.parametrize(
    "message", [(Action.TLB_INVALIDATION, 4, 1 << 31), (Action.TLB_INVALIDATION_ALL, 4, 1 << 31)]
)
def test_full_invalidation_forgets_every_address_space(
    driver: Driver, vm: Vm, queue: Queue, message: tuple[int, ...]
) -> None:
    vm.map(DATA, driver.ram())
    queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    driver.fast(*message)
    assert driver.take(Action.TLB_INVALIDATION_DONE) == [4]
    assert len(driver.gpu.main.cache.space(vm.asid, vm.root, "bcs0")[0]) == 0


def test_flush_in_the_ring_invalidates_its_own_address_space(driver: Driver, vm: Vm, queue: Queue) -> None:
    old, new = driver.ram(), driver.ram()
    vm.map(DATA, old)
    batch = queue.place(Batch().store_dword(DATA, 1).end(), BATCH)
    queue.run(batch)
    vm.map(DATA, new)
    queue.run(batch)  # a job begins with such a flush
    assert (driver.ram_u32(old), driver.ram_u32(new)) == (1, 1)


def test_missing_translations_are_not_kept(driver: Driver, vm: Vm, queue: Queue) -> None:
    seqno = queue.submit(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    driver.until(lambda: driver.has(Action.REPORT_PAGE_FAULT))
    vm.map(DATA, driver.ram())
    driver.answer_fault(driver.take(Action.REPORT_PAGE_FAULT))
    driver.until(lambda: queue.completed == seqno)


def test_use_of_a_mapping_changed_long_ago_is_reported(
    driver: Driver, vm: Vm, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tlb, "OVERDUE", -1.0)
    vm.map(DATA, driver.ram())
    poller = Poller(driver, vm, queue)
    poller.step(1)
    vm.unmap(DATA)
    for now in (1.0, 2.0):
        driver.gpu.main.cache.sweep(now)
    poller.step(2)
    assert [report["check"] for report in driver.checks.reports] == ["stale-translation"]


@pytest.mark.parametrize(
    ("change", "overdue"),
    [
        (lambda entry: entry | AE, False),
        (lambda entry: entry | 1 << 3, False),  # another caching policy
        (lambda entry: entry + 0x1000, True),
        (lambda entry: entry & ~2, True),
        (lambda entry: entry & ~1, True),
        (lambda entry: entry | LOCAL, True),
        (lambda entry: 0, True),
    ],
)
def test_entry_that_allows_less_or_leads_elsewhere_has_changed(
    driver: Driver, vm: Vm, queue: Queue, change: Callable[[int], int], overdue: bool
) -> None:
    at = vm.set(DATA, driver.ram() | RW)
    queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    qwords = driver.gpu.vram.qwords
    qwords[at >> 3] = change(qwords[at >> 3])
    for now in (1.0, 100.0):
        driver.gpu.main.cache.sweep(now)
    cached = driver.gpu.main.cache.space(vm.asid, vm.root, "bcs0")[0].find(DATA)
    assert cached is not None
    assert bool(cached.overdue) == overdue


def test_entry_with_an_address_but_not_present_is_missing(driver: Driver, vm: Vm, queue: Queue) -> None:
    vm.map(DATA, driver.ram())
    poller = Poller(driver, vm, queue, second=DATA + 0x2000)
    poller.step(1)
    vm.set(DATA + 0x1000, driver.ram() | 2)
    vm.map(DATA + 0x2000, driver.ram())
    poller.step(2)  # reads the table again, for the third page
    cached = driver.gpu.main.cache.space(vm.asid, vm.root, "bcs0")[0].find(DATA)
    assert cached is not None
    assert not cached.entries[(DATA + 0x1000 - cached.start) >> cached.shift]


def test_reset_of_the_function_forgets_everything(driver: Driver, vm: Vm, queue: Queue) -> None:
    vm.map(DATA, driver.ram())
    queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    driver.mailbox(Action.VF_RESET)
    assert not kept(driver, vm)


def test_memory_that_goes_away_is_in_no_translation(driver: Driver, vm: Vm, queue: Queue) -> None:
    page = driver.ram()
    vm.map(DATA, page)
    poller = Poller(driver, vm, queue)
    poller.step(1)
    driver.gpu.dma_unmap(0, RAM)
    assert not kept(driver, vm)


def test_page_given_to_another_owner_is_reported(driver: Driver, vm: Vm, queue: Queue) -> None:
    page = driver.vram.take(4096)
    vm.map(DATA, page, flags=RW | LOCAL)
    poller = Poller(driver, vm, queue)
    poller.step(1)
    vm.unmap(DATA)
    migration = driver.vm(asid=0)
    migration.map(DATA, page, flags=RW | LOCAL)
    clear = driver.queue(migration, "bcs8").register().enable()
    clear.run(clear.place(Batch().fill(DATA, 0, 4096).end(), BATCH))
    poller.step(2)
    (report,) = driver.checks.reports
    assert report["check"] == "stale-owner"
    assert report["still_in_page_table"] is False


def give(driver: Driver, page: int) -> None:
    """Clear a page of VRAM with the migration queue, as the driver does before it gets a new owner."""
    migration = driver.vm(asid=0)
    migration.map(DATA, page, flags=RW | LOCAL)
    clear = driver.queue(migration, "bcs8").register().enable()
    clear.run(clear.place(Batch().fill(DATA, 0, 4096).end(), BATCH))


def store(driver: Driver, vm: Vm, address: int) -> None:
    """One job that stores to an address."""
    queue = driver.queue(vm).register().enable()
    queue.run(queue.place(Batch().store_dword(address, 1).end(), BATCH))


def test_page_table_that_keeps_the_old_address_is_reported(driver: Driver, vm: Vm) -> None:
    page = driver.vram.take(4096)
    other = driver.vm(asid=6)
    vm.map(DATA, page, flags=RW | LOCAL)
    store(driver, vm, DATA)
    give(driver, page)
    other.map(DATA + 4096, page, flags=RW | LOCAL)  # and the driver forgets the old address
    store(driver, other, DATA + 4096)
    assert not driver.checks.reports
    store(driver, vm, DATA)
    (report,) = driver.checks.reports
    assert (report["check"], report["asid"], report["other_asid"]) == ("two-owners", "0x5", "0x6")


def test_shared_page_that_comes_back_is_no_report(driver: Driver, vm: Vm) -> None:
    page = driver.vram.take(4096)
    other = driver.vm(asid=6)
    for owner in (vm, other):
        owner.map(DATA, page, flags=RW | LOCAL)
    for _ in range(3):
        for owner in (vm, other):
            store(driver, owner, DATA)
        give(driver, page)
    assert not driver.checks.reports


def test_memory_that_two_share_after_one_had_it_alone_is_no_report(driver: Driver, vm: Vm) -> None:
    """A page that one VM of a process lost and got again may be used by another VM of the process."""
    page = driver.vram.take(4096)
    other = driver.vm(asid=6)
    vm.map(DATA, page, flags=RW | LOCAL)
    store(driver, vm, DATA)
    driver.invalidate(vm.asid, DATA, 4096)
    give(driver, page)
    other.map(DATA, page, flags=RW | LOCAL)
    store(driver, vm, DATA)
    store(driver, other, DATA)
    assert not driver.checks.reports


def test_memory_that_comes_back_by_a_copy_may_be_shared(driver: Driver, vm: Vm) -> None:
    """An object that was evicted, restored to its old place, and mapped again."""
    page, elsewhere = driver.vram.take(4096), driver.vram.take(4096)
    vm.map(DATA, page, flags=RW | LOCAL)
    store(driver, vm, DATA)
    migration = driver.vm(asid=0)
    migration.map(DATA, page, flags=RW | LOCAL)
    migration.map(DATA + 4096, elsewhere, flags=RW | LOCAL)
    copy = driver.queue(migration, "bcs8").register().enable()
    copy.run(copy.place(Batch().copy(DATA, DATA + 4096, 4096).end(), BATCH))
    assert driver.vram_u32(page) == 0
    vm.map(DATA + 4096, page, flags=RW | LOCAL)
    store(driver, vm, DATA)
    store(driver, vm, DATA + 4096)
    assert not driver.checks.reports


class Again:
    """A job that can be run again without a flush, so that cached entries stay."""

    def __init__(self, driver: Driver, queue: Queue, batch: Batch) -> None:
        self.driver = driver
        self.queue = queue
        self.address = queue.place(batch.end(), BATCH + 0x1_0000)

    def run(self) -> None:
        self.queue.ring(c.BatchBufferStart.encode(ppgtt=1, address=self.address))
        self.driver.fast(Action.SCHED_CONTEXT, self.queue.identity)
        self.driver.rest()


def test_pages_that_were_read_at_different_times_are_checked_each(
    driver: Driver, vm: Vm, queue: Queue
) -> None:
    pages = driver.vram.take(8192, 8192)
    vm.map(DATA, pages, flags=RW | LOCAL)
    queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    give(driver, pages + 4096)
    vm.map(DATA + 4096, pages + 4096, flags=RW | LOCAL)
    job = Again(driver, queue, Batch().fill(DATA + 4092, 1, 8))
    for _ in range(2):
        job.run()
    assert driver.vram_u32(pages + 4096) == 0x01010101
    assert not driver.checks.reports
    give(driver, pages + 4096)
    job.run()
    assert [report["check"] for report in driver.checks.reports] == ["stale-owner"]


def test_any_page_of_an_access_may_be_another_owners(driver: Driver, vm: Vm, queue: Queue) -> None:
    pages = driver.vram.take(8192, 8192)
    vm.map(DATA, pages, 8192, flags=RW | LOCAL)
    job = Again(driver, queue, Batch().fill(DATA, 1, 8192))
    job.run()
    give(driver, pages + 4096)
    job.run()
    assert [report["check"] for report in driver.checks.reports] == ["stale-owner"]


def test_page_that_moves_from_owner_to_owner_is_no_report(driver: Driver) -> None:
    page = driver.vram.take(4096)
    for asid in range(10, 16):
        give(driver, page)
        owner = driver.vm(asid)
        owner.map(DATA, page, flags=RW | LOCAL)
        store(driver, owner, DATA)
    assert not driver.checks.reports


def test_mapping_made_after_the_page_was_given_is_no_report(driver: Driver, vm: Vm, queue: Queue) -> None:
    page = driver.vram.take(4096)
    migration = driver.vm(asid=0)
    migration.map(DATA, page, flags=RW | LOCAL)
    clear = driver.queue(migration, "bcs8").register().enable()
    clear.run(clear.place(Batch().fill(DATA, 0, 4096).end(), BATCH))
    vm.map(DATA, page, flags=RW | LOCAL)
    queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    assert not driver.checks.reports


def test_store_into_a_page_table_is_reported(driver: Driver, vm: Vm, queue: Queue) -> None:
    vm.map(DATA, vm.root, flags=RW | LOCAL)
    queue.run(queue.place(Batch().store_dword(DATA + 0xFF8, 0).end(), BATCH))
    assert [report["check"] for report in driver.checks.reports] == ["page-table-written"]


def test_address_where_nothing_answers_is_reported(driver: Driver, vm: Vm, queue: Queue) -> None:
    vm.map(DATA, 1 << 44)
    vm.map(DATA + 0x1000, driver.ram())
    queue.run(queue.place(Batch().store_dword(DATA, 1).copy_mem(DATA + 0x1000, DATA).end(), BATCH))
    assert [report["check"] for report in driver.checks.reports] == ["no-memory"]


def test_enabling_a_context_drops_its_translations(driver: Driver, vm: Vm, queue: Queue) -> None:
    old, new = driver.ram(), driver.ram()
    vm.map(DATA, old)
    poller = Poller(driver, vm, queue)
    poller.step(1)
    queue.disable()
    vm.map(DATA, new)
    queue.enable()
    poller.step(2)
    assert (driver.ram_u32(old), driver.ram_u32(new)) == (1, 2)


def test_reused_asid_is_reported(driver: Driver, vm: Vm, queue: Queue) -> None:
    vm.map(DATA, driver.ram())
    poller = Poller(driver, vm, queue)
    poller.step(1)
    other = driver.vm(vm.asid)
    other.map(DATA, driver.ram())
    second = driver.queue(other, "ccs0").register().enable()
    batch = second.place(Batch().end(), BATCH)
    second.ring(c.BatchBufferStart.encode(ppgtt=1, address=batch))
    driver.fast(Action.SCHED_CONTEXT, second.identity)
    driver.rest()
    assert "asid-reused" in [report["check"] for report in driver.checks.reports]


def test_two_gpus_reach_each_others_memory() -> None:
    near, far = machine(2)
    vm = near.vm(asid=5)
    page = far.vram.take(4096)
    window = far.gpu.vram_window()
    assert window is not None
    vm.map(DATA, window[0] + page)
    queue = near.queue(vm).register().enable()
    queue.run(queue.place(Batch().store_dword(DATA + 4, 0x77).end(), BATCH))
    assert far.vram_u32(page + 4) == 0x77
    assert not near.checks.reports
