# SPDX-License-Identifier: MIT
"""Ioctls that sleep in the driver: woken, interrupted by signals as in the kernel, or killed."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import threading
import time

import pytest

from mock.linux.syscall import syscall
from tests.mock.transport import echo_driver as echo
from tests.mock.transport.harness import PAGE, Client, Region, call, child, run, wait_until

NEVER, EINTR, RESTART = 0, 1, 2
"""Reply of the driver to a signal, see echo_driver.WAIT."""


def sleepers(client: Client) -> int:
    return client.call(echo.STATE)[6]


def wait_raw(client: Client, kind: int) -> int:
    """The ioctl without Python's help (its own retry after signals). Its result or negative errno."""
    buffer = Region(PAGE)
    buffer[0] = kind
    try:
        return syscall("ioctl", client.fd, echo.WAIT, buffer.address)
    except OSError as error:
        return -(error.errno or 0)


def test_sleep_and_wake() -> None:
    """A sleeping ioctl returns when another thread's makes the driver settle it; others are answered
    in the meantime.
    """

    def scenario(client: Client) -> None:
        results: list[int] = []
        threads = [threading.Thread(target=lambda: results.append(wait_raw(client, NEVER))) for _ in range(5)]
        for thread in threads:
            thread.start()
        wait_until(lambda: sleepers(client) == 5)
        assert client.call(echo.POKE)[2] == 5
        for thread in threads:
            thread.join()
        assert results == [1] * 5

    run(scenario)


def handled(flags: int) -> list[int]:
    """Count SIGUSR1 with a handler that has these sa_flags."""
    seen: list[int] = []
    signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    signal.siginterrupt(signal.SIGUSR1, flags == 0)
    return seen


def poker(client: Client, after: list[int] | None = None) -> object:
    """A child that signals this process while it sleeps, then, once that had its effect, wakes all
    sleepers.
    """
    parent = os.getpid()

    def body() -> None:
        wait_until(lambda: sleepers(client) == 1)
        os.kill(parent, signal.SIGUSR1)
        if after is None:
            return
        # The signal's handler runs in C at once; give the restarted call time to be back.
        time.sleep(0.1)
        wait_until(lambda: sleepers(client) == 1)
        client.call(echo.POKE)

    return child(body)


def test_signal_interrupts() -> None:
    """A wait that says EINTR ends with it when a signal comes, once, and the handler runs."""

    def scenario(client: Client) -> None:
        seen = handled(0)
        with poker(client):
            assert wait_raw(client, EINTR) == -errno.EINTR
        assert seen == [1]

    run(scenario)


@pytest.mark.parametrize(
    ("restart", "result"), [(True, 1), (False, -errno.EINTR)], ids=["SA_RESTART", "interrupt"]
)
def test_signal_restarts(restart: bool, result: int) -> None:
    """A wait that says ERESTARTSYS is repeated after a handler with SA_RESTART, and is EINTR after
    another.
    """

    def scenario(client: Client) -> None:
        seen = handled(1 if restart else 0)
        with poker(client, after=[] if restart else None):
            assert wait_raw(client, RESTART) == result
        assert seen == [1]

    run(scenario)


def test_ignored_and_blocked_signals() -> None:
    """Signals that are ignored or blocked do not end a wait."""

    def scenario(client: Client) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        parent = os.getpid()

        def body() -> None:
            wait_until(lambda: sleepers(client) == 1)
            os.kill(parent, signal.SIGUSR1)
            os.kill(parent, signal.SIGUSR2)
            time.sleep(0.1)
            assert sleepers(client) == 1
            client.call(echo.POKE)

        with child(body):
            assert wait_raw(client, EINTR) == 1
        signal.sigwait([signal.SIGUSR2])

    run(scenario)


def test_uninterruptible() -> None:
    """Without a signal callback a wait continues through signals; the handler runs when it has ended."""

    def scenario(client: Client) -> None:
        seen = handled(0)
        with poker(client, after=[]):
            assert wait_raw(client, NEVER) == 1
        assert seen == [1]

    run(scenario)


def test_signals_are_not_seen_by_short_calls() -> None:
    """Signals coming all the time neither fail nor repeat ioctls that do not sleep (their handler has
    SA_RESTART: the filter lets a signal in before the mock has received the call).
    """

    def scenario(client: Client) -> None:
        seen: list[int] = []
        signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
        signal.siginterrupt(signal.SIGALRM, False)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        counter, buffer = Region(PAGE), Region(PAGE)
        rounds = 0
        while len(seen) < 100:
            buffer[0], buffer[8] = counter.address, 1
            assert syscall("ioctl", client.fd, echo.GPU_ADD, buffer.address) == 0
            rounds += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert counter[0] == rounds

    run(scenario)


def test_stop_and_continue() -> None:
    """A waiting process that is stopped and continued waits on."""

    def scenario(client: Client) -> None:
        pid = os.getpid()

        def body() -> None:
            wait_until(lambda: sleepers(client) == 1)
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.05)
            os.kill(pid, signal.SIGCONT)
            wait_until(lambda: sleepers(client) == 1)
            client.call(echo.POKE)

        with child(body):
            assert wait_raw(client, RESTART) == 1

    run(scenario)


def test_other_threads_run_on() -> None:
    """A thread's signal leaves the waits of the others alone."""

    def scenario(client: Client) -> None:
        seen = handled(0)
        results: list[int] = []
        thread = threading.Thread(target=lambda: results.append(wait_raw(client, EINTR)))
        thread.start()
        wait_until(lambda: sleepers(client) == 1)
        signal.raise_signal(signal.SIGUSR1)
        ctypes.CDLL(None).usleep(30000)
        assert sleepers(client) == 1
        assert seen == [1]
        assert call(client.fd, echo.POKE)[2] == 1
        thread.join()
        assert results == [1]

    run(scenario)
