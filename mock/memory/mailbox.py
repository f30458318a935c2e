# SPDX-License-Identifier: MIT
"""Recognising an address space."""

from __future__ import annotations

import os
import secrets

from mock.kernel import PAGE_SIZE

TOKEN_SIZE = 16


class Mailbox:
    """A page in a client by which its memory is recognised, whatever process shows it: it holds a random
    token.

    It is wiped on fork (MADV_WIPEONFORK) and always registered, so a fork of the client always gives the mock
    a userfaultfd for the child, in which it leaves another token.
    """

    def __init__(self, address: int) -> None:
        self.address = address
        self.token = secrets.token_bytes(TOKEN_SIZE)

    @property
    def page(self) -> bytes:
        return self.token.ljust(PAGE_SIZE, b"\0")

    def marks(self, pid: int) -> bool:
        """Whether process ``pid`` has this very page."""
        try:
            fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return os.pread(fd, TOKEN_SIZE, self.address) == self.token
        except OSError:
            return False
        finally:
            os.close(fd)
