# SPDX-License-Identifier: MIT
"""Many threads doing everything at once: no store is lost, no event missed, nothing hangs.

Memory is touched by libc functions called through ctypes, which run without Python's lock: threads fault
truly concurrently, and one that waits for a page holds up no other.
"""

from __future__ import annotations

import ctypes
import mmap
import random
import threading
import time
import traceback
from collections.abc import Callable

import pytest

from tests.mock.transport import echo_driver as echo
from tests.mock.transport.harness import (
    ANONYMOUS,
    PAGE,
    RW,
    Client,
    Region,
    checked,
    fork,
    in_child,
    libc,
    run,
)

libc.memcpy.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
libc.memcpy.restype = ctypes.c_void_p

SEEDS = (1, 2, 3)
MAP_FIXED = 0x10


class Cell:
    """Eight bytes of our own, to copy from and to."""

    def __init__(self) -> None:
        self._value = ctypes.c_uint64()
        self._address = ctypes.addressof(self._value)

    def store(self, address: int, value: int) -> None:
        self._value.value = value
        libc.memcpy(address, self._address, 8)

    def load(self, address: int) -> int:
        libc.memcpy(self._address, address, 8)
        return self._value.value


def together(*bodies: Callable[[], None]) -> None:
    """Run each in a thread of its own; all must succeed."""
    failures: list[str] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException:
            failures.append(traceback.format_exc())

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_store_is_lost(seed: int) -> None:
    """Three threads store to their own words of pages that are isolated all the time; every value is found
    again.
    """
    pages = 32

    def scenario(client: Client) -> None:
        region = Region(pages * PAGE)
        client.call(echo.MIRROR, region.address, region.size)
        done = threading.Event()

        def writer(lane: int) -> None:
            rng, cell = random.Random(seed * 10 + lane), Cell()
            expected = [0] * pages
            value = 0
            while not done.is_set():
                page = rng.randrange(pages)
                address = region.address + page * PAGE + 8 * lane
                found = cell.load(address)
                assert found == expected[page], f"lane {lane} page {page}: {found} is not {expected[page]}"
                value += 1
                cell.store(address, value)
                expected[page] = value
            for page in range(pages):
                assert cell.load(region.address + page * PAGE + 8 * lane) == expected[page]

        def isolator() -> None:
            rng, total = random.Random(seed), 0
            try:
                while total < 2500:
                    start = rng.randrange(pages)
                    count = rng.randrange(1, pages - start + 1)
                    total += client.call(echo.ISOLATE, region.address + start * PAGE, count * PAGE)[2]
                    if rng.random() < 0.3:
                        client.call(echo.RESTORE, region.address, region.size)
            finally:
                done.set()

        together(*[lambda lane=lane: writer(lane) for lane in range(3)], isolator)  # type: ignore[misc]

    run(scenario, seconds=120)


@pytest.mark.parametrize("pause", ["copied", "zap"])
def test_new_memory_in_the_place_of_isolated_pages(pause: str) -> None:
    """Stores to a new mapping are not lost because the old pages at its address are being isolated."""
    pages, rounds = 4, 400

    def scenario(client: Client) -> None:
        region = Region(pages * PAGE)
        client.call(echo.MIRROR, region.address, region.size)
        done = threading.Event()

        def mapper() -> None:
            cell, rng = Cell(), random.Random(1)
            try:
                for value in range(1, rounds + 1):
                    mapped = libc.mmap(region.address, region.size, RW, ANONYMOUS | MAP_FIXED, -1, 0)
                    assert mapped == region.address
                    for page in range(pages):
                        assert cell.load(region.address + page * PAGE) == 0, (
                            f"round {value} page {page} is not new"
                        )
                        cell.store(region.address + page * PAGE, value)
                    for _ in range(rng.randrange(4)):
                        for page in range(pages):
                            found = cell.load(region.address + page * PAGE)
                            assert found == value, f"page {page}: {found} is not {value}"
                        time.sleep(0.001)
            finally:
                done.set()

        def isolator() -> None:
            while not done.is_set():
                client.call(echo.ISOLATE, region.address, region.size)
                client.call(echo.RESTORE, region.address, region.size)

        together(mapper, isolator)

    run(scenario, platform=f"echo-pause-{pause}", seconds=120)


@pytest.mark.parametrize("seed", SEEDS)
def test_gpu_and_cpu_add(seed: int) -> None:
    """GPU atomics and CPU stores to the same pages, isolated now and then, all take effect."""
    pages, rounds = 8, 300

    def scenario(client: Client) -> None:
        region = Region(pages * PAGE)
        client.call(echo.MIRROR, region.address, region.size)

        def gpu() -> None:
            rng = random.Random(seed)
            for _ in range(rounds):
                for page in range(pages):
                    client.call(echo.GPU_ADD, region.address + page * PAGE, 1)
                if rng.random() < 0.2:
                    client.call(echo.ISOLATE, region.address, region.size)
                    client.call(echo.RESTORE, region.address, region.size)

        def cpu() -> None:
            cell = Cell()
            for value in range(rounds * 4):
                for page in range(pages):
                    cell.store(region.address + page * PAGE + 64, value)
                    assert cell.load(region.address + page * PAGE + 64) == value

        together(gpu, cpu)
        assert [region[page * PAGE] for page in range(pages)] == [rounds] * pages

    run(scenario, seconds=120)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_event_is_missed(seed: int) -> None:
    """Four threads map, mirror, isolate, move, drop and unmap memory: each unmapping is reported, contents
    follow.
    """
    rounds = 150

    def scenario(client: Client) -> None:
        moved, dropped = [0] * 4, [0] * 4

        def mapper(lane: int) -> None:
            rng, cell = random.Random(seed * 10 + lane), Cell()
            for value in range(1, rounds):
                pages = rng.randrange(1, 9)
                region = Region(pages * PAGE)
                for page in range(pages):
                    cell.store(region.address + page * PAGE, value << 8 | page)
                client.call(echo.MIRROR, region.address, region.size)
                if rng.random() < 0.7:
                    client.call(echo.ISOLATE, region.address, region.size)
                if rng.random() < 0.4:
                    region.address = checked(
                        libc.mremap(region.address, region.size, region.size + PAGE, 1, None)
                    )
                    region.size += PAGE
                zero = set()
                if rng.random() < 0.3:
                    page = rng.randrange(pages)
                    region.madvise(mmap.MADV_DONTNEED, page * PAGE, PAGE)
                    dropped[lane] += 1
                    zero.add(page)
                if rng.random() < 0.3:
                    target = Region(region.size)
                    region.address = checked(
                        libc.mremap(region.address, region.size, region.size, 3, target.address)
                    )
                    moved[lane] += 1
                for page in range(pages):
                    want = 0 if page in zero else value << 8 | page
                    address = region.address + page * PAGE
                    found = cell.load(address)
                    assert found == want, (
                        f"lane {lane} round {value} at {address:#x}: {found:#x} is not {want:#x}"
                    )
                region.munmap()

        together(*[lambda lane=lane: mapper(lane) for lane in range(4)])  # type: ignore[misc]
        # A move unmaps the old place, unless it could grow where it was.
        assert client.count("unmap") >= 4 * (rounds - 1)
        assert client.count("remove") == sum(dropped)
        assert client.count("remap") >= sum(moved)
        assert client.call(echo.STATE)[2] == 0

    run(scenario, seconds=120)


@pytest.mark.parametrize("seed", SEEDS)
def test_fork_in_the_storm(seed: int) -> None:
    """Children forked while memory comes and goes have its contents as of some moment, whole; the parent
    loses nothing.
    """
    pages = 16

    def scenario(client: Client) -> None:
        region = Region(pages * PAGE)
        region.number(seed)
        client.call(echo.MIRROR, region.address, region.size)
        done = threading.Event()

        def isolator() -> None:
            while not done.is_set():
                client.call(echo.ISOLATE, region.address, region.size)
                client.call(echo.RESTORE, region.address, region.size // 2)

        def forker() -> None:
            try:
                for _ in range(25):
                    in_child(lambda: region.check(seed))
                    region.check(seed)
            finally:
                done.set()

        together(isolator, forker)
        region.check(seed)

    run(scenario, seconds=120)


def test_many_processes() -> None:
    """Four processes with threads of their own, one mock: each has its own memory and events."""

    def scenario(client: Client) -> None:
        def body(lane: int) -> None:
            region = Region(8 * PAGE)
            region.number(lane)
            client.call(echo.MIRROR, region.address, region.size)
            for _ in range(20):
                client.call(echo.ISOLATE, region.address, region.size)
                region.check(lane)
            region.munmap()

        pids = []
        for lane in range(1, 5):
            pid = fork()
            if pid == 0:
                in_child(lambda lane=lane: body(lane))  # type: ignore[misc]
                body(lane)
                import os

                os._exit(0)
            pids.append(pid)
        import os

        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
        assert client.count("unmap") == 8

    run(scenario, seconds=120)
