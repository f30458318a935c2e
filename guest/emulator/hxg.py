# SPDX-License-Identifier: MIT
"""Headers of GuC messages.

Source: drivers/gpu/drm/xe/abi/guc_messages_abi.h (HXG messages), abi/guc_communication_ctb_abi.h (CTB header)
and abi/guc_actions_abi.h, guc_actions_sriov_abi.h (actions).
"""

from __future__ import annotations

import enum

FROM_GUC = 1 << 31


class Type(enum.IntEnum):
    """Bits 30:28 of the header."""

    REQUEST = 0
    EVENT = 1
    FAST_REQUEST = 2
    NO_RESPONSE_BUSY = 3
    NO_RESPONSE_RETRY = 5
    RESPONSE_FAILURE = 6
    RESPONSE_SUCCESS = 7


class Action(enum.IntEnum):
    """Request or notification of a message."""

    SELF_CFG = 0x0508
    UPDATE_SCHEDULING_POLICIES = 0x0509
    SCHED_CONTEXT = 0x1000
    SCHED_CONTEXT_MODE_SET = 0x1001
    SCHED_CONTEXT_MODE_DONE = 0x1002
    SET_CONTEXT_PRIORITY = 0x1005
    SET_CONTEXT_EXECUTION_QUANTUM = 0x1006
    SET_CONTEXT_PREEMPTION_TIMEOUT = 0x1007
    CONTEXT_RESET_NOTIFICATION = 0x1008
    UPDATE_CONTEXT_POLICIES = 0x100B
    GET_HWCONFIG = 0x4100
    REGISTER_CONTEXT = 0x4502
    DEREGISTER_CONTEXT = 0x4503
    CONTROL_CTB = 0x4509
    DEREGISTER_CONTEXT_DONE = 0x4600
    REGISTER_CONTEXT_MULTI_LRC = 0x4601
    RELAY_FROM_PF = 0x5102
    RELAY_TO_PF = 0x5103
    MATCH_VERSION = 0x5500
    VF_RESET = 0x5507
    RESFIX_DONE = 0x5508
    QUERY_SINGLE_KLV = 0x5509
    OPT_IN_FEATURE = 0x550E
    RESFIX_START = 0x550F
    MEMORY_CAT_ERROR = 0x6000
    REPORT_PAGE_FAULT = 0x6002
    PAGE_FAULT_RESPONSE = 0x6003
    TLB_INVALIDATION = 0x7000
    TLB_INVALIDATION_DONE = 0x7001
    TLB_INVALIDATION_ALL = 0x7002


class Failure(enum.IntEnum):
    """Error of a RESPONSE_FAILURE (abi/guc_errors_abi.h)."""

    INVALID_STATE = 0x0A
    UNSUPPORTED_VERSION = 0x0B
    UNKNOWN_ACTION = 0x30
    INVALID_PARAMS = 0x60
    INVALID_SIZE = 0x102
    INVALID_KLV_KEY = 0x105


def action_of(header: int) -> int:
    """The action of a request, fast request or event."""
    return header & 0xFFFF


def type_of(header: int) -> int:
    """The type of any message."""
    return header >> 28 & 7


def success(data: int = 0) -> int:
    """Header of a success reply; ``data`` has 28 bits."""
    return FROM_GUC | Type.RESPONSE_SUCCESS << 28 | data & 0x0FFF_FFFF


def failure(error: int, hint: int = 0) -> int:
    """Header of a failure reply."""
    return FROM_GUC | Type.RESPONSE_FAILURE << 28 | (hint & 0xFFF) << 16 | error & 0xFFFF


def event(action: int) -> int:
    """Header of an unsolicited message."""
    return FROM_GUC | Type.EVENT << 28 | action


_ACTIONS = {action.value: action.name for action in Action}
_TYPES = {kind.value: kind.name for kind in Type}


def name_of(header: int) -> str:
    """Description of a message in the kernel's words, for a trace."""
    kind = type_of(header)
    if kind in (Type.REQUEST, Type.EVENT, Type.FAST_REQUEST):
        return _ACTIONS.get(action_of(header), f"action {action_of(header):#x}")
    return _TYPES.get(kind, f"type {kind}")
