# SPDX-License-Identifier: MIT
"""The serial ports between a guest and this process, and the threads that copy between them and our files."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from typing import BinaryIO, Self

CHUNK = 1 << 16


class Channels:
    """A pair of connected sockets for each port: ``ours`` to use here, ``theirs`` for QEMU to inherit.

    A context manager that closes them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.ours: dict[str, socket.socket] = {}
        self.theirs: dict[str, socket.socket] = {}
        for name in names:
            self.ours[name], self.theirs[name] = socket.socketpair()
        self._outputs: list[threading.Thread] = []

    def descriptors(self) -> dict[str, int]:
        return {name: end.fileno() for name, end in self.theirs.items()}

    def handed_over(self) -> None:
        """Close our copies of QEMU's ends, which it has inherited: its death is an end of file then."""
        for end in self.theirs.values():
            end.close()

    def send(self, name: str, message: dict[str, object]) -> None:
        """One JSON line to the guest."""
        self.ours[name].sendall(json.dumps(message).encode() + b"\n")

    def copy_in(self, name: str, source: BinaryIO) -> None:
        self._copy(lambda: os.read(source.fileno(), CHUNK), self.ours[name].sendall, self.ours[name])

    def copy_out(self, name: str, target: BinaryIO) -> None:
        def write(data: bytes) -> None:
            while data:
                data = data[os.write(target.fileno(), data) :]

        self._outputs.append(self._copy(lambda: self.ours[name].recv(CHUNK), write, None))

    def pass_on(self, name: str, source: int, copy: BinaryIO) -> None:
        """Copy from the descriptor ``source`` to a file at once, and to a port as the guest reads it."""
        waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()

        def read() -> bytes:
            data = os.read(source, CHUNK)
            copy.write(data)
            copy.flush()
            if not data:
                waiting.put(data)
            return data

        self._outputs.append(self._copy(read, waiting.put, None))
        self._copy(waiting.get, self.ours[name].sendall, None)

    def drain(self) -> None:
        """Wait until everything that the command wrote has been passed on; QEMU must have ended."""
        for thread in self._outputs:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the threads that still wait for the guest."""
        for end in (*self.ours.values(), *self.theirs.values()):
            end.close()

    @staticmethod
    def _copy(
        read: Callable[[], bytes], write: Callable[[bytes], None], end: socket.socket | None
    ) -> threading.Thread:
        def copy() -> None:
            with contextlib.suppress(OSError, ValueError):  # the other side has gone, or our file was closed
                while data := read():
                    write(data)
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=copy, daemon=True)
        thread.start()
        return thread
