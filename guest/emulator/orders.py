# SPDX-License-Identifier: MIT
"""Orders from tests to the emulator: JSON lines, each answered by one, with the failures still to come.

{"test": node id, "seed": the run's seed}: a test begins, what comes late is drawn for it (adversary.py).
{"fault": a name in adversary.UnitFaults}: for the rest of the test, page faults of execution units come with others.
{"failure": a name in adversary.Failure}: it happens once, at the first occasion in the test.
{}: failures end: those still to come, after the answer, and what lasts of others.
"""

from __future__ import annotations

import contextlib
import json
import os

from guest.emulator.adversary import Adversary, Failure, UnitFaults
from guest.emulator.checks import Checks

_MOST = 1 << 16


class Orders:
    """Orders and answers on one descriptor, a socket or a port, which is not closed here."""

    def __init__(self, descriptor: int, adversary: Adversary, checks: Checks) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._adversary = adversary
        self._checks = checks
        self._rest = b""

    def fileno(self) -> int:
        """Source of orders."""
        return self._descriptor

    def serve(self) -> bool:
        """Obey the orders that have come; False when no more can come."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._descriptor, _MOST):
                self._rest += data
                *lines, self._rest = self._rest.split(b"\n")
                for line in lines:
                    self._obey(line)
            return False
        return True

    def _obey(self, line: bytes) -> None:
        try:
            order = json.loads(line)
            if "fault" in order:
                self._adversary.unit_faults.add(UnitFaults(order["fault"]))
            elif "failure" in order:
                self._adversary.order(Failure(order["failure"]))
            elif order != {}:
                self._adversary.begin(int(order["seed"]), str(order["test"]))
        except (ValueError, KeyError, TypeError):
            self._checks.report("order-unknown", "-", order=line.decode(errors="replace")[:200])
        left = sorted(failure.value for failure in self._adversary.failures)
        os.write(self._descriptor, json.dumps({"left": left}).encode() + b"\n")
        if line == b"{}":
            self._adversary.end_failures()
