# SPDX-License-Identifier: MIT
"""User fences (xe_sync.c: struct xe_user_fence)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mock.driver.lib.blocking import WaitQueue
    from mock.kernel import Mm, Services


class UserFence:
    """A 64-bit value that the driver stores at a CPU address when a bind completes (struct xe_user_fence)."""

    def __init__(self, services: Services, waiters: WaitQueue, mm: Mm, address: int, value: int) -> None:
        """``waiters`` are woken after the store. Raises OSError(EFAULT) if the address cannot be read."""
        mm.read(address, 8)
        self._services = services
        self._waiters = waiters
        self._mm = mm
        self._address = address
        self._value = value
        self.signaled = False

    def kick(self) -> None:
        """Store the value from a worker, then wake WAIT_USER_FENCE (user_fence_worker)."""
        self._services.loop.call_soon(self._work)

    def _work(self) -> None:
        self.signaled = True
        try:
            self._mm.write(self._address, self._value.to_bytes(8, "little"))
        except OSError as error:
            self._services.log(f"user fence at {self._address:#x}: {error}")
        self._waiters.wake()
