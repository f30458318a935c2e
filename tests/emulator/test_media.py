# SPDX-License-Identifier: MIT
"""A GPU with a media GT, and contexts of several rings."""

from __future__ import annotations

import os
import struct

import pytest

from gpu import Batch
from guest.emulator.hxg import Action
from guest.emulator.parallel import MULTI_LRC, NOOP
from tests.emulator.driver import Driver, Queue, Vm, machine, media

BATCH, DATA = 0x10_0000, 0x20_0000
WORK_QUEUE = 1024


@pytest.fixture
def main() -> Driver:
    return machine(media_gt=True)[0]


@pytest.fixture
def video(main: Driver) -> Driver:
    return media(main)


def test_media_gt_tells_its_version_and_engines(main: Driver, video: Driver) -> None:
    assert video.mailbox(Action.QUERY_SINGLE_KLV, 0x3000)[1] >> 22 == 13
    assert main.mailbox(Action.QUERY_SINGLE_KLV, 0x3000)[1] >> 22 == 20
    video.request(Action.RELAY_TO_PF, 1, 16 << 16 | 0x0101, 0)
    _, _, _, *values = video.take(Action.RELAY_FROM_PF)
    registers = dict(zip(values[::2], values[1::2], strict=True))
    assert registers[0x38_9140] == 0x0003_0003


def test_engines_of_the_media_gt_run(main: Driver, video: Driver) -> None:
    vm = video.vm(asid=5)
    page = video.ram()
    vm.map(DATA, page)
    for index, engine in enumerate(("vcs0", "vcs1", "vecs0", "vecs1")):
        queue = video.queue(vm, engine).register().enable()
        queue.run(queue.place(Batch().store_dword(DATA + 4 * index, index + 1).end(), BATCH))
    assert [video.ram_u32(page + 4 * index) for index in range(4)] == [1, 2, 3, 4]
    assert os.eventfd_read(main.event) > 0  # there is one vector for both


def test_each_gt_has_its_own_engines(main: Driver, video: Driver) -> None:
    video.fast(Action.REGISTER_CONTEXT, 1, 9, 3, 1, 0, 0, 0, 0, 0, 0x100_0001, 0)
    main.fast(Action.REGISTER_CONTEXT, 1, 9, 1, 1, 0, 0, 0, 0, 0, 0x100_0001, 0)
    assert [report["check"] for report in main.checks.reports] == ["message-unknown", "message-unknown"]


def test_each_gt_has_its_own_translations(main: Driver, video: Driver) -> None:
    vm = main.vm(asid=5)
    vm.map(DATA, main.ram())
    for driver, engine in ((main, "bcs0"), (video, "vcs0")):
        queue = driver.queue(vm, engine).register().enable()
        queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    main.invalidate(5, DATA, 4096)
    engines = ("bcs0", "vcs0")
    found = [
        gt.cache.space(5, vm.root, engine)[0].find(DATA)
        for gt, engine in zip(main.gpu.gts, engines, strict=True)
    ]
    kept = [
        cached is not None and bool(cached.entries[DATA - cached.start >> cached.shift]) for cached in found
    ]
    assert kept == [False, True]


def test_reset_of_one_gt_leaves_the_other(main: Driver, video: Driver) -> None:
    vm = main.vm(asid=5)
    page = main.ram()
    vm.map(DATA, page)
    queue = main.queue(vm).register().enable()
    video.mailbox(Action.VF_RESET)
    queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    assert main.ram_u32(page) == 1


class Parallel:
    """Two video rings that one work queue moves on."""

    def __init__(self, driver: Driver, vm: Vm) -> None:
        self.driver = driver
        self.queues = [driver.queue(vm, engine) for engine in ("vcs0", "vcs1")]
        self.scratch = driver.ram()
        self.ggtt = driver.global_map(self.scratch, 4096)
        self.tail = 0
        self.identity = self.queues[0].identity

    def register(self, width: int = 2) -> None:
        lrcas = [word for queue in self.queues for word in (queue.lrca | 1 | 1 << 8, 0)]
        work = (self.ggtt, 0, self.ggtt + 1024, 0, WORK_QUEUE)
        self.driver.fast(Action.REGISTER_CONTEXT_MULTI_LRC, 1, self.identity, 1, 1, *work, width, *lrcas)

    def item(self, *words: int) -> None:
        """Append dwords to the work queue."""
        if self.tail + 4 * len(words) > WORK_QUEUE:
            left = (WORK_QUEUE - self.tail) // 4
            self._store(1024 + self.tail, NOOP | left - 1 << 16)
            self.tail = 0
        for word in words:
            self._store(1024 + self.tail, word)
            self.tail = (self.tail + 4) % WORK_QUEUE
        self._store(4, self.tail)

    def _store(self, offset: int, word: int) -> None:
        at = self.scratch + offset
        self.driver.guest.ram[at : at + 4] = struct.pack("<I", word)

    def submit(self, batches: list[int]) -> None:
        for queue, batch in zip(self.queues, batches, strict=True):
            queue.seqno += 1
            queue.ring_job(batch)
        tails = [queue.tail // 8 for queue in self.queues]
        self.item(MULTI_LRC | 4 << 16, 0, self.identity | tails[0] << 18, 0, tails[1])
        self.driver.fast(Action.SCHED_CONTEXT, self.identity)

    def enable(self, on: int) -> None:
        self.driver.fast(Action.SCHED_CONTEXT_MODE_SET, self.identity, on)
        assert self.driver.take(Action.SCHED_CONTEXT_MODE_DONE) == [self.identity, on]


@pytest.fixture
def vm(video: Driver) -> Vm:
    return video.vm(asid=5)


@pytest.fixture
def pair(video: Driver, vm: Vm) -> Parallel:
    """Registered and enabled."""
    pair = Parallel(video, vm)
    pair.register()
    pair.enable(1)
    return pair


def stores(queue: Queue, index: int, batch: Batch) -> int:
    return queue.place(batch.end(), BATCH + 0x1_0000 * index)


def test_parallel_context_runs_all_its_rings(video: Driver, vm: Vm, pair: Parallel) -> None:
    page = video.ram()
    vm.map(DATA, page)
    for turn in range(1, 100):  # the work queue wraps
        batches = [
            stores(queue, index, Batch().store_dword(DATA + 4 * index, turn))
            for index, queue in enumerate(pair.queues)
        ]
        pair.submit(batches)
        video.until(lambda turn=turn: all(queue.completed == turn for queue in pair.queues))  # type: ignore[misc]
    assert (video.ram_u32(page), video.ram_u32(page + 4)) == (99, 99)
    assert not video.checks.reports


def test_disabled_parallel_context_goes_on_with_all_its_rings(video: Driver, vm: Vm, pair: Parallel) -> None:
    page = video.ram()
    vm.map(DATA, page)
    wait = [
        stores(queue, index, Batch().semaphore_wait(DATA, 1).store_dword(DATA + 8 + 4 * index, 5))
        for index, queue in enumerate(pair.queues)
    ]
    pair.submit(wait)
    video.rest()
    pair.enable(0)
    video.guest.ram[page] = 1
    video.rest()
    assert (video.ram_u32(page + 8), video.ram_u32(page + 12)) == (0, 0)
    pair.enable(1)
    video.until(lambda: all(queue.completed == 1 for queue in pair.queues))
    assert (video.ram_u32(page + 8), video.ram_u32(page + 12)) == (5, 5)


def test_fault_of_one_ring_stops_the_context_if_it_is_not_served(video: Driver, pair: Parallel) -> None:
    batches = [stores(pair.queues[0], 0, Batch().store_dword(DATA, 1)), stores(pair.queues[1], 1, Batch())]
    pair.submit(batches)
    video.until(lambda: video.has(Action.REPORT_PAGE_FAULT))
    video.answer_fault(video.take(Action.REPORT_PAGE_FAULT), served=False)
    assert video.take(Action.MEMORY_CAT_ERROR) == [pair.identity]
    pair.enable(0)


@pytest.mark.parametrize("item", [(7,), (MULTI_LRC | 0x7FF << 16,)])
def test_work_that_is_none_stops_the_queue(video: Driver, pair: Parallel, item: tuple[int, ...]) -> None:
    pair.item(*item)
    video.fast(Action.SCHED_CONTEXT, pair.identity)
    assert video.ram_u32(pair.scratch + 12) == 3


def test_registration_with_another_width_than_rings_is_reported(video: Driver, vm: Vm) -> None:
    Parallel(video, vm).register(width=3)
    assert [report["check"] for report in video.checks.reports] == ["message-length"]
