# SPDX-License-Identifier: MIT
"""The thread by which the mock drops pages of a client."""

from __future__ import annotations

import errno
import os
import signal
import struct
import sys
from pathlib import Path

import pytest

from mock.linux import pidfd, procfs
from mock.linux.adviser import MADV_DONTNEED_LOCKED, SIZE, Adviser, create
from mock.linux.instructions import NAME
from tests.mock.transport import echo_driver as echo
from tests.mock.transport.harness import (
    ANONYMOUS,
    NODE,
    PAGE,
    Client,
    Region,
    call,
    child,
    in_child,
    run,
    wait_until,
)

_FD = struct.Struct("=i")


def threads() -> list[int]:
    """The advisers of this process."""
    return procfs.threads_named(os.getpid(), NAME)


def answer(adviser: Adviser, region: Region, size: int = PAGE) -> int:
    """The result of dropping the first bytes of a region."""
    results: list[int] = []

    def come() -> bool:
        result = adviser.result()
        results.extend([] if result is None else [result])
        return result is not None

    adviser.madvise(region.address, region.address + size, MADV_DONTNEED_LOCKED)
    wait_until(come)
    return results[0]


def isolate(client: int) -> Region:
    """Memory that the adviser of this process has dropped, and that came back."""
    region = Region(16 * PAGE)
    region.number()
    call(client, echo.MIRROR, region.address, region.size)
    assert call(client, echo.ISOLATE, region.address, region.size)[2] == 16
    region.check()
    return region


def test_pages_are_dropped_as_by_madvise() -> None:
    """The pages of the request are, and no others; an error has its errno."""

    def body() -> None:
        adviser, region = Adviser(create()), Region(4 * PAGE)
        region.number()
        assert answer(adviser, region, 2 * PAGE) == 0
        assert [region[page * PAGE] for page in range(4)] == [0, 0, 1_000_003 + 2, 1_000_003 + 3]
        region.munmap()
        assert answer(adviser, region) == -errno.ENOMEM

    in_child(body)


def check_that_it_is_apart() -> None:
    """One thread, with its socket only, that no signal is delivered to."""
    (thread,) = threads()
    (descriptor,) = Path(f"/proc/self/task/{thread}/fd").iterdir()
    link = str(descriptor.readlink())
    assert link.startswith("socket:[")
    assert link not in [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.exists()]
    # The C library keeps 32 and 33 to itself, and SIGKILL and SIGSTOP cannot be blocked.
    unblockable = {signal.SIGKILL, signal.SIGSTOP, 32, 33}
    missing = {number for number in range(1, 65) if not procfs.status(thread).blocked >> number - 1 & 1}
    assert missing <= unblockable


def test_adviser_is_apart_from_the_program() -> None:
    """In a client that attached itself, in its child and in a program that the child started."""

    def scenario(client: Client) -> None:
        isolate(client.fd)
        check_that_it_is_apart()

        def body() -> None:
            assert not threads()
            isolate(os.open(NODE, os.O_RDWR))
            check_that_it_is_apart()
            program = (
                "import os; from tests.mock.transport.test_adviser import *\n"
                "isolate(os.open(NODE, os.O_RDWR)); check_that_it_is_apart()"
            )
            assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", program) == 0

        in_child(body)
        check_that_it_is_apart()

    run(scenario)


def test_child_of_fork_has_no_memory_of_it() -> None:
    """Its two pages are with the process that has the thread."""

    def own() -> list[tuple[int, int]]:
        maps = procfs.Maps(os.getpid()).all()
        shared = [(area.start, area.end) for area in maps if area.flags & procfs.SHARED]
        return [(start, end) for start, end in shared if end - start <= SIZE]

    def body() -> None:
        before = own()
        create()
        assert len(own()) == len(before) + 2
        in_child(lambda: pytest.fail("it has") if own() != before else None)

    in_child(body)


def test_adviser_ends_with_its_socket() -> None:
    """It leaves no thread behind."""

    def body() -> None:
        adviser = Adviser(create())
        assert threads()
        adviser.close()
        wait_until(lambda: not threads())

    in_child(body)


@pytest.mark.parametrize("way", ["exit", "exec"])
def test_end_of_its_process_is_noticed(way: str) -> None:
    """Also by one who waits for a result: nothing is dropped after exec in what has the same address."""
    reader, writer = os.pipe()
    again, go = os.pipe()

    def body() -> None:
        os.close(go)
        os.write(writer, _FD.pack(create()))
        os.read(again, 1)
        if way == "exec":
            os.dup2(again, 0)
            os.execlp("cat", "cat")  # until the other end is closed

    with (
        child(body) as pid,
        open(go, "wb", buffering=0) as run_on,
        open(again, "rb"),
        open(reader, "rb") as pipe,
    ):
        os.close(writer)
        process = pidfd.open_(pid)
        adviser = Adviser(pidfd.take(process, *_FD.unpack(pipe.read(_FD.size))))
        region = Region(PAGE, ANONYMOUS)
        assert adviser.result() is None
        run_on.write(b"x")

        def ended() -> bool:
            try:
                adviser.result()
            except ProcessLookupError:
                return True
            return False

        wait_until(ended)
        with pytest.raises(ProcessLookupError):
            adviser.madvise(region.address, region.address + PAGE, MADV_DONTNEED_LOCKED)
    adviser.close()
    os.close(process)
