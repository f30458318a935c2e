# SPDX-License-Identifier: MIT
"""The keeper: a small process that outlives the mock.

If the mock died, every system call that the filter traps would fail with ENOSYS, including each open(2) of the client,
and no test could even report what happened. The keeper holds the listener too: it then lets all calls through and
answers those for devices with ENODEV, as after a surprise removal. It kills a mock that does not end after its last
client, for example a stopped one. The mock does not need its keeper: killing that does no harm.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import sys
from pathlib import Path

from mock.linux.seccomp import Gone, Listener, Notification
from mock.linux.syscall import NUMBERS
from mock.unanswered import Unanswered

GRACE = 10.0
"""Seconds in which a mock has to end after its last client."""


def keep(mock: int, connection: socket.socket, channel: int, unanswered: Unanswered) -> int:
    """Wait for the mock (a child), which sends its listener on ``connection`` while the client is at the other end of
    ``channel``. Returns the exit status to end with.
    """
    process = os.pidfd_open(mock)
    listener_fd: int | None = None
    with contextlib.suppress(OSError):
        if _first(process, (connection.fileno(), select.POLLIN), (channel, 0)):
            _, fds, _, _ = socket.recv_fds(connection, 1, 1, socket.MSG_DONTWAIT)
            listener_fd = fds[0] if fds else None
    os.close(channel)  # from now on its end is also that of the mock
    if listener_fd is not None:
        _first(process, (listener_fd, 0))
    if not _ends(process, GRACE):
        print("mock: killed, because it did not end after its last client", file=sys.stderr, flush=True)
        os.kill(mock, signal.SIGKILL)
        os.waitpid(mock, 0)
        return 1
    _, status = os.waitpid(mock, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return 0
    if listener_fd is None and code > 0:
        return 1  # it has sent the client the reason
    how = (
        f"was killed by signal {-code} ({signal.strsignal(-code)})"
        if code < 0
        else f"ended with status {code}"
    )
    print(f"mock: the mock {how}", file=sys.stderr, flush=True)
    if listener_fd is not None:
        listener = Listener(listener_fd)
        for ident in unanswered:
            with contextlib.suppress(Gone, OSError):
                listener.answer(ident, -errno.ENODEV)
        _stand_in(listener)
    return 1


def _first(process: int, *others: tuple[int, int]) -> bool:
    """Wait until the process ends (False), or one of others has these events or is hung up (True)."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    for fd, events in others:
        poll.register(fd, events)
    return any(fd != process for fd, _ in poll.poll())


def _ends(process: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _stand_in(listener: Listener) -> None:
    """Answer in place of a dead mock until the last client has exited."""
    poll = select.poll()
    poll.register(listener.fd, select.POLLIN)
    while not any(events & select.POLLHUP for _, events in poll.poll()):
        notification = listener.receive()
        if notification is None:
            continue
        with contextlib.suppress(Gone):
            if _for_a_device(notification):
                listener.answer(notification.id, -errno.ENODEV)
            else:
                listener.proceed(notification.id)


def _for_a_device(notification: Notification) -> bool:
    fd = {NUMBERS.get("ioctl"): 0, NUMBERS.get("mmap"): 4}.get(notification.number)
    if fd is None:
        return False
    try:
        target = Path(f"/proc/{notification.tid}/fd/{notification.arguments[fd] & 0xFFFFFFFF}").readlink()
    except OSError:
        return False
    return str(target).startswith("/memfd:svm-cts")
