# SPDX-License-Identifier: MIT
"""Messages between a client and its mock before the filter is installed: JSON objects with descriptors attached.

mock: {"pid", "nodes"} the driver is there client: {"pid", "mailbox", "user_mode_only", "adviser"} +
[userfaultfd] mock: {"reductions"} all taken over client: {} + [listener] the filter is installed mock: {}
serving

Instead of any of its messages the mock may send {"error"}. The connection stays open: its end is the mock's
death.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

_MAX_MESSAGE = 65536
_MAX_FDS = 4


class HandoverError(Exception):
    """The other side refused or died; the text is for people."""


class Channel:
    """One end of the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()

    def send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Raises HandoverError if the other side is gone."""
        try:
            socket.send_fds(self._connection, [json.dumps(message).encode()], list(fds))
        except OSError as error:
            raise HandoverError("the other side is gone") from error

    def receive(self, timeout: float | None = None) -> tuple[dict[str, Any], list[int]]:
        """The next message and its descriptors; ``timeout`` in seconds. Raises HandoverError."""
        self._connection.settimeout(timeout)
        try:
            data, fds, _, _ = socket.recv_fds(self._connection, _MAX_MESSAGE, _MAX_FDS)
        except TimeoutError:
            raise HandoverError(f"no answer in {timeout} s") from None
        except OSError as error:
            raise HandoverError(os.strerror(error.errno or 0)) from error
        finally:
            self._connection.settimeout(None)
        if not data:
            raise HandoverError("the other side is gone")
        message = json.loads(data)
        if "error" in message:
            raise HandoverError(message["error"])
        return message, fds
