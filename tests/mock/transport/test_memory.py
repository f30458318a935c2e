# SPDX-License-Identifier: MIT
"""Isolating and restoring memory, and the driver's notifications of what a client does to it in the meantime."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal

import pytest

from tests.mock.transport import echo_driver as echo
from tests.mock.transport.harness import (
    ANONYMOUS,
    PAGE,
    RW,
    Client,
    Region,
    checked,
    in_child,
    libc,
    refused,
    run,
)

PAGES = 16
SIZE = PAGES * PAGE
MAP_FIXED = 0x10
MAYMOVE = 1
FIXED = 2
DONTUNMAP = 4


def isolated(client: Client, *, seed: int = 1) -> Region:
    """A watched region with numbered pages, all of them with the driver."""
    region = Region(SIZE)
    region.number(seed)
    client.call(echo.MIRROR, region.address, SIZE)
    assert client.call(echo.ISOLATE, region.address, SIZE)[2] == PAGES
    return region


def test_cpu_loads_bring_pages_back() -> None:
    """Each first touch is one fault, gets the contents, and only its page moves."""

    def scenario(client: Client) -> None:
        region = isolated(client)
        assert client.count("cpu-fault") == 0
        assert region[5 * PAGE] == 1_000_003 + 5
        assert client.count("cpu-fault") == 1
        assert client.call(echo.STATE)[2] == PAGES - 1
        region.check()
        region.check()
        assert client.count("cpu-fault") == PAGES

    run(scenario)


def test_cpu_stores_bring_pages_back() -> None:
    """A store faults like a load, and neither it nor the rest of the page is lost."""

    def scenario(client: Client) -> None:
        region = isolated(client)
        region[8] = 77
        assert (region[0], region[8]) == (1_000_003, 77)
        assert client.count("cpu-fault") == 1

    run(scenario)


def test_a_fault_that_fails_is_a_bus_error() -> None:
    """The thread whose load the driver cannot serve gets SIGBUS; a system call tries again."""

    def scenario(client: Client) -> None:
        region, raised = isolated(client), []
        signal.signal(signal.SIGBUS, lambda *_: raised.append(1))
        client.call(echo.FAIL_FAULTS, 1)
        assert region[3 * PAGE] == 1_000_003 + 3
        assert client.count("cpu-fault") == 2
        assert raised == [1]  # Python's handler runs a little after the signal
        client.call(echo.FAIL_FAULTS, 1)
        reader, writer = os.pipe()
        assert libc.write(writer, ctypes.c_void_p(region.address + 4 * PAGE), 8) == 8
        assert os.read(reader, 8) == (1_000_003 + 4).to_bytes(8, "little")
        assert raised == [1]
        client.call(echo.FAIL_FAULTS, 1)
        refused(errno.EFAULT, client.call, echo.READ, region.address + 5 * PAGE)
        region.check()
        assert raised == [1]

    run(scenario)


def test_a_bus_error_ends_a_program() -> None:
    """SIGBUS without a handler ends the process that touched the page."""

    def scenario(client: Client) -> None:
        region = isolated(client)

        def child() -> None:
            own = isolated(client, seed=2)
            client.call(echo.FAIL_FAULTS, 1)
            own[0]

        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGBUS, signal.SIG_DFL)
            child()
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGBUS
        region.check()

    run(scenario)


def test_isolate_leaves_nothing_behind() -> None:
    """Isolated pages are not in the client: the kernel does not have them any more."""

    def scenario(client: Client) -> None:
        region = isolated(client)
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            entries = os.pread(pagemap.fileno(), 8 * PAGES, region.address // PAGE * 8)
        assert not any(memoryview(entries).cast("Q")[page] >> 63 for page in range(PAGES))

    run(scenario)


def test_isolate_what_can_be() -> None:
    """Unpopulated pages are isolated as zeros, isolated ones not again, shared and file memory not at all."""

    def scenario(client: Client) -> None:
        region = Region(SIZE)
        region[3 * PAGE] = 9
        assert client.call(echo.ISOLATE, region.address, 4 * PAGE)[2] == 4
        assert client.call(echo.ISOLATE, region.address, SIZE)[2] == PAGES - 4
        assert client.call(echo.ISOLATE, region.address, SIZE)[2] == 0
        assert [region[page * PAGE] for page in range(PAGES)] == [0, 0, 0, 9] + [0] * 12
        assert client.count("cpu-fault") == PAGES
        shared = Region(SIZE, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
        shared.number()
        assert client.call(echo.ISOLATE, shared.address, SIZE)[2] == 0
        shared.check()
        shared.munmap()
        assert client.call(echo.ISOLATE, shared.address, SIZE)[2] == 0

    run(scenario)


def test_isolate_across_protections() -> None:
    """Read-only, inaccessible and locked pages are isolated and come back like any other."""

    def scenario(client: Client) -> None:
        for prepare in ("read-only", "none", "locked"):
            region = Region(SIZE)
            region.number()
            if prepare == "locked":
                checked(libc.mlock(region.address, PAGE))
            else:
                region.mprotect(mmap.PROT_READ if prepare == "read-only" else 0)
            assert client.call(echo.ISOLATE, region.address, SIZE)[2] == PAGES, prepare
            if prepare == "none":
                region.mprotect(mmap.PROT_READ)
            region.check()

    run(scenario)


def test_restore_by_the_driver() -> None:
    """Pages that the driver gives back are present without a fault."""

    def scenario(client: Client) -> None:
        region = isolated(client)
        client.call(echo.RESTORE, region.address, SIZE)
        assert client.call(echo.STATE)[2] == 0
        region.check()
        assert client.count("cpu-fault") == 0

    run(scenario)


def test_kernel_accesses_bring_pages_back() -> None:
    """write(2) from isolated memory and read(2) into it work as from any other."""

    def scenario(client: Client) -> None:
        region = isolated(client)
        reader, writer = os.pipe()
        assert libc.write(writer, ctypes.c_void_p(region.address + PAGE), ctypes.c_size_t(8)) == 8
        assert int.from_bytes(os.read(reader, 8), "little") == 1_000_003 + 1
        os.write(writer, (123).to_bytes(8, "little"))
        assert libc.read(reader, ctypes.c_void_p(region.address + 2 * PAGE + 8), ctypes.c_size_t(8)) == 8
        assert (region[2 * PAGE], region[2 * PAGE + 8]) == (1_000_003 + 2, 123)
        assert client.count("cpu-fault") == 2

    run(scenario)


def test_arguments_in_isolated_memory() -> None:
    """copy_from_user and copy_to_user of isolated pages bring them back, as in the kernel."""

    def scenario(client: Client) -> None:
        region = isolated(client)
        assert client.call(echo.READ, region.address + PAGE)[2] == 1_000_003 + 1
        client.call(echo.WRITE, region.address + 2 * PAGE - 4, 1 << 32 | 5)
        assert client.count("cpu-fault") == 2
        assert region[2 * PAGE] == (1_000_003 + 2) & ~0xFFFFFFFF | 1
        assert client.call(echo.STATE)[2] == PAGES - 2
        # Never populated, in a mapping where missing pages fault: zero, and writable.
        fresh = Region(SIZE)
        fresh[0] = 1
        assert client.call(echo.ISOLATE, fresh.address, PAGE)[2] == 1
        assert client.call(echo.READ, fresh.address + PAGE)[2] == 0
        client.call(echo.WRITE, fresh.address + PAGE, 6)
        client.call(echo.WRITE, fresh.address + 2 * PAGE, 7)
        assert (fresh[0], fresh[PAGE], fresh[2 * PAGE], fresh[3 * PAGE]) == (1, 6, 7, 0)

    run(scenario)


def test_gpu_accesses() -> None:
    """GPU loads, stores and atomics act on system memory, obey its protection, and recognise isolated
    pages.
    """

    def scenario(client: Client) -> None:
        region = Region(SIZE)
        region.number()
        client.call(echo.MIRROR, region.address, SIZE)
        assert client.call(echo.GPU_READ, region.address)[2] == 1_000_003
        client.call(echo.GPU_WRITE, region.address + 8, 5)
        assert client.call(echo.GPU_ADD, region.address + 8, 3)[2] == 5
        assert region[8] == 8
        client.call(echo.ISOLATE, region.address, PAGE)
        client.call(echo.GPU_WRITE, region.address + 8, 9)
        assert client.count("cpu-fault") == 0
        assert region[8] == 9
        region.mprotect(mmap.PROT_READ)
        for request in (echo.GPU_WRITE, echo.GPU_ADD):
            with pytest.raises(OSError) as caught:
                client.call(request, region.address + 8, 1)
            assert caught.value.errno == errno.EFAULT
        shared = Region(PAGE, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
        shared[0] = 1
        assert client.call(echo.GPU_ADD, shared.address, 1)[2] == 1
        assert shared[0] == 2

    run(scenario)


def test_populate() -> None:
    """Populating gives every page of a range memory."""

    def scenario(client: Client) -> None:
        region = Region(SIZE)
        region[PAGE] = 4
        client.call(echo.POPULATE, region.address, SIZE)
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            entries = os.pread(pagemap.fileno(), 8 * PAGES, region.address // PAGE * 8)
        assert all(memoryview(entries).cast("Q")[page] >> 63 for page in range(PAGES))
        assert region[PAGE] == 4

    run(scenario)


def test_munmap_is_heard() -> None:
    """A munmap of watched memory returns after the driver was notified, also of parts; isolated pages are
    forgotten.
    """

    def scenario(client: Client) -> None:
        region = isolated(client)
        region.munmap(4 * PAGE, 2 * PAGE)
        assert client.count("unmap") == 1
        assert client.call(echo.STATE)[2] == PAGES - 2
        assert region[3 * PAGE] == 1_000_003 + 3
        assert region[6 * PAGE] == 1_000_003 + 6
        region.munmap(0, 4 * PAGE)
        region.munmap(6 * PAGE)
        assert client.count("unmap") == 3
        assert client.call(echo.STATE)[2] == 0
        other = Region(PAGE)
        other.munmap()
        assert client.count("unmap") == 3

    run(scenario)


def test_map_over_is_heard() -> None:
    """Mmap with MAP_FIXED over watched memory unmaps it; the new mapping has none of the old contents."""

    def scenario(client: Client) -> None:
        region = isolated(client)
        checked(libc.mmap(region.address, SIZE, RW, ANONYMOUS | MAP_FIXED, -1, 0))
        assert client.count("unmap") == 1
        assert [region[page * PAGE] for page in range(PAGES)] == [0] * PAGES
        assert client.count("cpu-fault") == 0

    run(scenario)


@pytest.mark.parametrize("advice", [4, 8, 24], ids=["DONTNEED", "FREE", "DONTNEED_LOCKED"])
def test_removal_is_heard(advice: int) -> None:
    """Madvise that drops pages is reported as such, and isolated pages read as zeros afterwards."""

    def scenario(client: Client) -> None:
        region = isolated(client)
        region.madvise(advice, 2 * PAGE, 2 * PAGE)
        assert client.count("remove") == 1
        assert client.call(echo.STATE)[2] == PAGES - 2
        values = [region[page * PAGE] for page in range(5)]
        assert values == [1_000_003, 1_000_004, 0, 0, 1_000_007]

    run(scenario)


@pytest.mark.parametrize("flags", [MAYMOVE | FIXED, MAYMOVE | DONTUNMAP], ids=["move", "dontunmap"])
def test_mremap_moves_isolated_pages(flags: int) -> None:
    """Mremap takes isolated pages along: they fault at their new address, with their contents."""

    def scenario(client: Client) -> None:
        region = isolated(client)
        target = Region(SIZE)
        target.munmap()
        new = checked(libc.mremap(region.address, SIZE, SIZE, flags, target.address))
        assert client.count("remap") == 1
        assert client.call(echo.STATE)[2] == PAGES
        old, region.address = region.address, new
        region.check()
        assert client.count("cpu-fault") == PAGES
        if flags & DONTUNMAP:
            assert ctypes.c_uint64.from_address(old).value == 0
            assert client.count("cpu-fault") == PAGES

    run(scenario)


def test_mremap_grows_and_shrinks() -> None:
    """Growing keeps isolated pages, shrinking unmaps what is cut off."""

    def scenario(client: Client) -> None:
        region = isolated(client)
        region.address = checked(libc.mremap(region.address, SIZE, 2 * SIZE, MAYMOVE, None))
        region.check()
        assert region[SIZE] == 0
        client.call(echo.MIRROR, region.address, 2 * SIZE)
        assert client.call(echo.ISOLATE, region.address, 2 * SIZE)[2] == 2 * PAGES
        before = client.count("unmap")
        assert checked(libc.mremap(region.address, 2 * SIZE, SIZE, 0, None)) == region.address
        assert client.count("unmap") == before + 1
        assert client.call(echo.STATE)[2] == PAGES
        region.check()

    run(scenario)


def test_fork_copies_isolated_memory() -> None:
    """A child has the isolated contents as of fork, the parent's stay isolated, and each has its own from
    then on.
    """

    def scenario(client: Client) -> None:
        region = isolated(client)

        def body() -> None:
            region.check()
            region[0] = 5
            assert client.call(echo.STATE)[2] == 0
            assert region[0] == 5

        in_child(body)
        assert (client.count("forked"), client.count("fork")) == (1, 1)
        assert client.call(echo.STATE)[2] == PAGES
        region.check()

    run(scenario)


def test_child_has_its_own_memory() -> None:
    """A child isolates, faults and unmaps by itself, and so does its child."""

    def scenario(client: Client) -> None:
        region = isolated(client)

        def grandchild() -> None:
            region.check(2)
            client.call(echo.MIRROR, region.address, SIZE)
            region.munmap()
            assert client.call(echo.STATE)[2] == 0

        def body() -> None:
            region.number(2)
            client.call(echo.MIRROR, region.address, SIZE)
            assert client.call(echo.ISOLATE, region.address, SIZE)[2] == PAGES
            before = client.count("cpu-fault")
            in_child(grandchild)
            region.check(2)
            assert client.count("cpu-fault") == before + PAGES
            region.munmap()

        in_child(body)
        region.check(1)
        assert client.call(echo.STATE)[2] == 0
        assert client.count("unmap") == 2
        assert client.count("exited") == 2

    run(scenario)


def test_exit_is_told() -> None:
    """The end of a process is reported once for its memory."""

    def scenario(client: Client) -> None:
        def body() -> None:
            isolated(client, seed=4)

        for index in range(3):
            in_child(body)
            assert client.count("exited") == index + 1

    run(scenario)


def test_defects_of_the_transport() -> None:
    """ignore-munmap and ignore-mremap behave as their names say."""

    def deaf(client: Client) -> None:
        region = isolated(client)
        region.munmap()
        assert client.count("unmap") == 0

    def lazy(client: Client) -> None:
        region = isolated(client)
        target = Region(SIZE)
        target.munmap()
        region.address = checked(libc.mremap(region.address, SIZE, SIZE, MAYMOVE | FIXED, target.address))
        assert client.count("remap") == 0
        assert region[0] == 0

    run(deaf, defect="ignore-munmap")
    run(lazy, defect="ignore-mremap")
