# SPDX-License-Identifier: MIT
"""One system call of a client that waits for its answer."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from mock.linux.seccomp import Gone, Listener, Notification

ANSWERED = -(1 << 40)
"""Result of a handler that has answered the call itself, or will later. Others return what the call returns,
negative for an errno, or None to have the kernel carry the call out.
"""

INT = 0xFFFFFFFF
"""Mask of an argument that is an int in C."""

AT_FDCWD = -100 & INT


class Call(NamedTuple):
    """Methods raise Gone when the caller was killed, except for ``install``."""

    listener: Listener
    notification: Notification

    @property
    def tid(self) -> int:
        return self.notification.tid

    @property
    def arguments(self) -> tuple[int, ...]:
        return self.notification.arguments

    def confirm(self) -> None:
        """Raises Gone unless the caller still waits. If it does, what was opened by its thread id before belongs to it,
        not to a thread that got the id since.
        """
        if not self.listener.valid(self.notification.id):
            raise Gone

    def answer(self, result: int | None) -> None:
        """Complete the call with this result, see ANSWERED."""
        if result is None:
            self.listener.proceed(self.notification.id)
        elif result is not ANSWERED:
            self.listener.answer(self.notification.id, result)

    def give(self, fd: int, flags: int) -> int:
        """Answer an open(2) with flags ``flags`` with our descriptor ``fd``, which is closed."""
        try:
            self.listener.add_fd(self.notification.id, fd, cloexec=flags & os.O_CLOEXEC != 0, answer=True)
        finally:
            os.close(fd)
        return ANSWERED

    def install(self, fd: int, cloexec: bool) -> int:
        """Install a file in the caller before the answer; returns its descriptor there. OSError (EMFILE, ESRCH)."""
        try:
            return self.listener.add_fd(self.notification.id, fd, cloexec=cloexec)
        except Gone:
            raise ProcessLookupError(errno.ESRCH, "the caller was killed") from None
