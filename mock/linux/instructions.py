# SPDX-License-Identifier: MIT
"""The instructions of an adviser (mock.linux.adviser), as an assembler prints them: bytes and text.

In registers that system calls leave alone: the second page, and the descriptor of the socket.
"""

from __future__ import annotations

from mock.linux.syscall import MACHINE

NAME = "svm-cts-madvise"
"""Name of the thread; the longest that Linux permits."""

LISTINGS = {
    "x86_64": """
        b838000000      mov eax, 56                 # clone(flags, stack)
        0f05            syscall
        85c0            test eax, eax
        7401            jz 4f
        c3              ret
        488d1ded0f0000  4: lea rbx, [rip + 4077]    # the second page
        bf0f000000      mov edi, 15                 # prctl(PR_SET_NAME, name)
        488d3584000000  lea rsi, [rip + 0f]
        b89d000000      mov eax, 157
        0f05            syscall
        448b6320        mov r12d, [rbx + 32]
        4585e4          test r12d, r12d
        7414            jz 1f
        31ff            xor edi, edi                # close_range(0, fd - 1, 0)
        418d7424ff      lea esi, [r12 - 1]
        31d2            xor edx, edx
        b8b4010000      mov eax, 436
        0f05            syscall
        85c0            test eax, eax
        7813            js 2f
        418d7c2401      1: lea edi, [r12 + 1]       # close_range(fd + 1, ~0, 0)
        beffffffff      mov esi, -1
        31d2            xor edx, edx
        b8b4010000      mov eax, 436
        0f05            syscall
        48894318        2: mov [rbx + 24], rax      # write(fd, result, 8)
        4489e7          mov edi, r12d
        488d7318        lea rsi, [rbx + 24]
        ba08000000      mov edx, 8
        b801000000      mov eax, 1
        0f05            syscall
        83f808          cmp eax, 8
        7528            jne 3f
        4489e7          mov edi, r12d               # read(fd, request, 24)
        4889de          mov rsi, rbx
        ba18000000      mov edx, 24
        31c0            xor eax, eax
        0f05            syscall
        83f818          cmp eax, 24
        7514            jne 3f
        488b3b          mov rdi, [rbx]              # madvise(start, size, advice)
        488b7308        mov rsi, [rbx + 8]
        488b5310        mov rdx, [rbx + 16]
        b81c000000      mov eax, 28
        0f05            syscall
        ebbc            jmp 2b
        31ff            3: xor edi, edi             # exit(0): the thread only
        b83c000000      mov eax, 60
        0f05            syscall""",
    "aarch64": """
        881b80d2        mov x8, 220
        010000d4        svc 0
        400000b4        cbz x0, 4f
        c0035fd6        ret
        937f0010        4: adr x19, . + 4080
        e00180d2        mov x0, 15
        e1040010        adr x1, 0f
        e81480d2        mov x8, 167
        010000d4        svc 0
        742240b9        ldr w20, [x19, 32]
        f4000034        cbz w20, 1f
        000080d2        mov x0, 0
        81060051        sub w1, w20, 1
        020080d2        mov x2, 0
        883680d2        mov x8, 436
        010000d4        svc 0
        c000f8b7        tbnz x0, 63, 2f
        80060011        1: add w0, w20, 1
        01008012        mov w1, -1
        020080d2        mov x2, 0
        883680d2        mov x8, 436
        010000d4        svc 0
        600e00f9        2: str x0, [x19, 24]
        e003142a        mov w0, w20
        61620091        add x1, x19, 24
        020180d2        mov x2, 8
        080880d2        mov x8, 64
        010000d4        svc 0
        1f2000f1        cmp x0, 8
        a1010054        b.ne 3f
        e003142a        mov w0, w20
        e10313aa        mov x1, x19
        020380d2        mov x2, 24
        e80780d2        mov x8, 63
        010000d4        svc 0
        1f6000f1        cmp x0, 24
        c1000054        b.ne 3f
        600640a9        ldp x0, x1, [x19]
        620a40f9        ldr x2, [x19, 16]
        281d80d2        mov x8, 233
        010000d4        svc 0
        edffff17        b 2b
        000080d2        3: mov x0, 0
        a80b80d2        mov x8, 93
        010000d4        svc 0""",
}


def instructions() -> bytes:
    """Code for this machine; the name of the thread follows it."""
    words = (line.split(maxsplit=1)[0] for line in LISTINGS[MACHINE].strip().splitlines())
    return bytes.fromhex("".join(words)) + NAME.encode() + b"\0"


CLONE = {"x86_64": 5, "aarch64": 4}
"""Offset of the instruction that enters clone(2): a thread that is made to execute it, with registers set, begins
there.
"""
