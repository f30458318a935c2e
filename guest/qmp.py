# SPDX-License-Identifier: MIT
"""The part of QEMU's monitor protocol that is needed here (docs/interop/qmp-spec.rst)."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from guest import GuestError

POLL_S = 0.005
DEADLINE_S = 120.0
ENDED = "QEMU ended while it was being set up, see qemu.log"


class Monitor:
    """A connection to QEMU's monitor. Raises GuestError when QEMU refuses a command or has gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(DEADLINE_S)
        self._received = b""
        self._read()  # QEMU greets first
        self.execute("qmp_capabilities")

    def _read(self) -> dict[str, Any]:
        while b"\n" not in self._received:
            try:
                data = self._connection.recv(1 << 16)
            except TimeoutError as error:
                raise GuestError("QEMU's monitor does not answer") from error
            except ConnectionError:
                data = b""
            if not data:
                raise GuestError(ENDED)
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def execute(self, command: str, **arguments: object) -> Any:
        """The answer to one command."""
        request = {"execute": command, "arguments": arguments}
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise GuestError(ENDED) from error
        while "event" in (answer := self._read()):
            pass
        if "error" in answer:
            raise GuestError(f"QEMU: {command}: {answer['error']['desc']}")
        return answer["return"]

    def share_memory(self) -> None:
        """Leave the guest's memory out of what is saved and restored: it is in a file that both sides map."""
        capability = {"capability": "x-ignore-shared", "state": True}
        self.execute("migrate-set-capabilities", capabilities=[capability])

    def save(self, path: str) -> None:
        """Write the state of the stopped machine, without its memory."""
        self.share_memory()
        self.execute("migrate", uri=f"file:{path}")
        self._wait_for_migration()

    def restore(self, path: str) -> None:
        """Load a state into a machine that was started to wait for it."""
        self.share_memory()
        self.execute("migrate-incoming", uri=f"file:{path}")
        self._wait_for_migration()

    def _wait_for_migration(self) -> None:
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            answer = self.execute("query-migrate")
            if answer.get("status") == "completed":
                return
            if answer.get("status") in ("failed", "cancelled"):
                raise GuestError(f"QEMU: the machine's state: {answer.get('error-desc', 'failed')}")
            time.sleep(POLL_S)
        raise GuestError("QEMU: the machine's state was not transferred in time")
