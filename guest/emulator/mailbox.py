# SPDX-License-Identifier: MIT
"""The GuC's register mailbox: requests of up to four dwords before the command transport is up.

Source: drivers/gpu/drm/xe/xe_guc.c:xe_guc_mmio_send_recv (protocol), xe_gt_sriov_vf.c and
xe_guc.c:guc_action_* (actions). A GPU has two, one for each GuC; the media one answers just enough to say
that there is no media GT.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guest.emulator import hxg, klv
from guest.emulator.hxg import Action, Failure
from guest.emulator.trace import Trace

VERSION = 1 << 16 | 2 << 8
"""Interface 0.1.2 (branch, major, minor): the oldest that every supported driver takes, without optional
features.
"""


@dataclass(frozen=True, slots=True)
class Services:
    """Interface of a mailbox to the rest of the GPU."""

    reset: Callable[[], None]
    configure: Callable[[int, int, int], bool]
    """Key, length in dwords and value of a self-configuration; False for an unknown key."""
    enable_transport: Callable[[bool], None]
    write_global: Callable[[int, bytes], None]
    """Store bytes at a GGTT address."""


class Mailbox:
    """Four registers and a doorbell."""

    def __init__(self, name: str, provision: klv.Provision, services: Services, trace: Trace) -> None:
        self.registers = [0, 0, 0, 0]
        self._name = name
        self._provision = provision
        self._services = services
        self._trace = trace
        self._pending = False

    def write(self, index: int, value: int) -> None:
        """The driver stores one dword of a request."""
        self.registers[index] = value
        self._pending = True

    def ring(self) -> None:
        """The doorbell: answer the waiting request, if there is one."""
        if not self._pending or self.registers[0] & hxg.FROM_GUC:
            return
        self._pending = False
        request = tuple(self.registers)
        reply = self._answer(request)
        self.registers = [*reply, 0, 0, 0][:4]
        if self._trace.guc:
            shown = " ".join(f"{word:08x}" for word in request)
            answer = " ".join(f"{word:08x}" for word in reply)
            self._trace.line(self._name, "guc", f"mailbox [{shown}] -> [{answer}]")

    def _answer(self, request: Sequence[int]) -> Sequence[int]:
        services = self._services
        match hxg.action_of(request[0]):
            case Action.VF_RESET:
                services.reset()
                return (hxg.success(),)
            case Action.MATCH_VERSION:
                wanted = request[1] >> 16 & 0xFF
                if wanted not in (0, 1):
                    return (hxg.failure(Failure.UNSUPPORTED_VERSION),)
                return hxg.success(), VERSION
            case Action.QUERY_SINGLE_KLV:
                value = self._provision.answer(request[1] & 0xFFFF)
                if value is None:
                    return (hxg.failure(Failure.INVALID_KLV_KEY),)
                return hxg.success(len(value)), *value
            case Action.GET_HWCONFIG:
                address, size = request[1] | request[2] << 32, request[3]
                if size:
                    services.write_global(address, klv.HWCONFIG[:size])
                return (hxg.success(len(klv.HWCONFIG)),)
            case Action.SELF_CFG:
                key, length = request[1] >> 16, request[1] & 0xFFFF
                known = services.configure(key, length, request[2] | request[3] << 32)
                return (hxg.success(1 if known else 0),)
            case Action.CONTROL_CTB:
                services.enable_transport(bool(request[1]))
                return (hxg.success(),)
            case Action.RESFIX_DONE | Action.RESFIX_START:
                return (hxg.success(),)
            case _:
                return (hxg.failure(Failure.UNKNOWN_ACTION),)
