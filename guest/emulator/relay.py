# SPDX-License-Identifier: MIT
"""Requests that a virtual function sends through the GuC to the physical function.

Source: drivers/gpu/drm/xe/xe_guc_relay.c (framing), abi/guc_relay_actions_abi.h (actions). The physical
function here tells its interface version and the values of the registers that a virtual function may not
read.
"""

from __future__ import annotations

from collections.abc import Sequence

from guest.emulator import hxg

HANDSHAKE = 0x0001
QUERY_RUNTIME = 0x0101
VERSION = 1 << 16
"""1.0, major and minor."""
REPLY_FROM_HOST = ~hxg.FROM_GUC & 0xFFFF_FFFF
MOST_REGISTERS = 16


def answer(request: Sequence[int], table: Sequence[tuple[int, int]]) -> list[int]:
    """The reply to one relayed request, which comes from a host: bit 31 of its header is clear.

    ``table`` has the registers of the GT that is asked, offset and value.
    """
    action = hxg.action_of(request[0])
    if action == HANDSHAKE and len(request) >= 2:
        return [hxg.success() & REPLY_FROM_HOST, VERSION]
    if action == QUERY_RUNTIME and len(request) >= 2:
        start = request[1]
        limit = request[0] >> 16 & 0xFFF or MOST_REGISTERS
        registers = table[start : start + min(limit, MOST_REGISTERS)]
        remaining = max(0, len(table) - start - len(registers))
        values = [word for register in registers for word in register]
        return [hxg.success(len(registers)) & REPLY_FROM_HOST, remaining, *values]
    return [hxg.failure(hxg.Failure.UNKNOWN_ACTION) & REPLY_FROM_HOST]
