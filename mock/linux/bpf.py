# SPDX-License-Identifier: MIT
"""Classic BPF over struct seccomp_data: the filter that selects system calls for the mock."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from mock.linux.syscall import MACHINE, NUMBERS

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_ABOVE = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_NUMBER = 0  # offsetof(struct seccomp_data, nr)
_ARCH = 4
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000


class Verdict(IntEnum):
    """SECCOMP_RET_* of linux/seccomp.h."""

    ALLOW = 0x7FFF0000
    USER_NOTIF = 0x7FC00000


@dataclass(frozen=True)
class Test:
    """A condition on one 32-bit half of an argument: (value & mask) == wanted, or != with ``negated``."""

    argument: int
    mask: int
    wanted: int
    high: bool = False
    negated: bool = False


@dataclass(frozen=True)
class Rule:
    """Notify the mock of the system call ``name`` if all conditions hold."""

    name: str
    tests: tuple[Test, ...] = ()


def _instruction(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, k)


def _rule(rule: Rule) -> bytes:
    """Instructions of one rule. The system call's number is loaded before it, and after it if it does not match."""
    body = b""
    for test in rule.tests:
        offset = 16 + 8 * test.argument + (4 if test.high else 0)  # little-endian halves
        body += _instruction(_LOAD, offset) + _instruction(_AND, test.mask)
        skip = (0, 1) if test.negated else (1, 0)
        body += _instruction(_EQUAL, test.wanted, *skip) + _instruction(_RETURN, Verdict.ALLOW)
    body += _instruction(_RETURN, Verdict.USER_NOTIF)
    return _instruction(_EQUAL, NUMBERS[rule.name], 0, len(body) // 8) + body


def assemble(rules: Iterable[Rule]) -> bytes:
    """The program (array of struct sock_filter). It allows calls of another ABI (32-bit, x32) and skips rules for calls
    that this machine does not have.
    """
    program = [
        _instruction(_LOAD, _ARCH),
        _instruction(_EQUAL, _AUDIT_ARCH[MACHINE], 1, 0),
        _instruction(_RETURN, Verdict.ALLOW),
        _instruction(_LOAD, _NUMBER),
    ]
    if MACHINE == "x86_64":
        program += [_instruction(_ABOVE, _X32_BIT, 0, 1), _instruction(_RETURN, Verdict.ALLOW)]
    program += [_rule(rule) for rule in rules if rule.name in NUMBERS]
    program.append(_instruction(_RETURN, Verdict.ALLOW))
    return b"".join(program)
