# SPDX-License-Identifier: MIT
"""Clients that are stopped, or die, while their memory is being taken: nothing is lost, no other client waits."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator

from tests.mock.transport import echo_driver as echo
from tests.mock.transport.harness import PAGE, Client, Region, call, child, fork, run, wait_until

QUICK = 2.0
"""Seconds that a call without waiting may take on a very busy machine."""


@contextlib.contextmanager
def quickly() -> Iterator[None]:
    """Code inside the block does not wait."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < QUICK


def quick(fd: int) -> None:
    """Another client gets an answer at once."""
    with quickly():
        call(fd, echo.ADD, 1, 2)


def stopped(pid: int) -> bool:
    """Wait until the client is stopped in the middle of a migration. Checking opens files, and so calls the mock."""
    with quickly():
        return echo.stopped(pid)


def test_stopped_client_loses_nothing() -> None:
    """A client stopped in the middle of a migration keeps its memory, and no other client has to wait."""

    def scenario(client: Client) -> None:
        def victim() -> None:
            fd = os.open("/dev/dri/renderD128", os.O_RDWR)
            region = Region(16 * PAGE)
            region.number()
            call(fd, echo.MIRROR, region.address, region.size)
            call(fd, echo.ISOLATE_SOON, region.address, region.size)
            wait_until(lambda: call(fd, echo.STATE)[2] == 16)
            region.check()

        with child(victim) as pid:
            wait_until(lambda: stopped(pid))
            quick(client.fd)
            os.kill(pid, signal.SIGCONT)

    run(scenario, platform="echo-stop-zap")


def test_stopped_client_again_and_again() -> None:
    """A client that is stopped at random while its memory migrates back and forth loses none of it."""

    def scenario(client: Client) -> None:
        dice = random.Random(7)

        def victim() -> None:
            fd = os.open("/dev/dri/renderD128", os.O_RDWR)
            for seed in range(1, 200):
                region = Region(64 * PAGE)
                region.number(seed)
                call(fd, echo.MIRROR, region.address, region.size)
                call(fd, echo.ISOLATE_SOON, region.address, region.size)
                time.sleep(dice.random() * 0.05)
                call(fd, echo.GPU_WRITE, region.address + 8, seed)
                region.check(seed)
                assert region[8] == seed
                region.munmap()

        with child(victim) as pid:
            for _ in range(150):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    quick(client.fd)
                    time.sleep(dice.random() * 0.01)
                    os.kill(pid, signal.SIGCONT)
                time.sleep(dice.random() * 0.01)

    run(scenario)


def test_stopped_client_is_killed() -> None:
    """A client that dies while it is stopped in the middle of a migration affects nothing else."""

    def scenario(client: Client) -> None:
        pid = fork()
        if pid == 0:
            fd = os.open("/dev/dri/renderD128", os.O_RDWR)
            region = Region(16 * PAGE)
            region.number()
            call(fd, echo.MIRROR, region.address, region.size)
            call(fd, echo.ISOLATE_SOON, region.address, region.size)
            time.sleep(30)
            os._exit(1)
        wait_until(lambda: stopped(pid))
        quick(client.fd)
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        wait_until(lambda: client.count("exited") == 1)
        wait_until(lambda: client.call(echo.STATE)[3] == 1)

    run(scenario, platform="echo-stop-zap")
