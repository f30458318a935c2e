# SPDX-License-Identifier: MIT
"""System calls by number, and the encoding of ioctl numbers."""

from __future__ import annotations

import ctypes
import os
from typing import Any

# The x86_64 numbers are those of asm/unistd_64.h, the aarch64 ones of asm-generic/unistd.h. Calls that only old
# architectures have (open, stat, access, ...) are absent from the second table.
_X86_64 = {
    "open": 2,
    "close": 3,
    "lseek": 8,
    "stat": 4,
    "fstat": 5,
    "lstat": 6,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "ioctl": 16,
    "mremap": 25,
    "access": 21,
    "madvise": 28,
    "socketpair": 53,
    "clone": 56,
    "execve": 59,
    "ftruncate": 77,
    "fallocate": 285,
    "readlink": 89,
    "prctl": 157,
    "getxattr": 191,
    "lgetxattr": 192,
    "listxattr": 194,
    "llistxattr": 195,
    "openat": 257,
    "tgkill": 234,
    "newfstatat": 262,
    "readlinkat": 267,
    "faccessat": 269,
    "process_vm_writev": 311,
    "seccomp": 317,
    "execveat": 322,
    "userfaultfd": 323,
}
_AARCH64 = {
    "getxattr": 8,
    "lgetxattr": 9,
    "listxattr": 11,
    "llistxattr": 12,
    "ioctl": 29,
    "ftruncate": 46,
    "fallocate": 47,
    "lseek": 62,
    "faccessat": 48,
    "openat": 56,
    "close": 57,
    "readlinkat": 78,
    "newfstatat": 79,
    "fstat": 80,
    "prctl": 167,
    "socketpair": 199,
    "clone": 220,
    "execve": 221,
    "mmap": 222,
    "mprotect": 226,
    "tgkill": 131,
    "munmap": 215,
    "mremap": 216,
    "madvise": 233,
    "process_vm_writev": 271,
    "seccomp": 277,
    "execveat": 281,
    "userfaultfd": 282,
}
_COMMON = {
    "statx": 332,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "faccessat2": 439,
    "mount_setattr": 442,
    "memfd_secret": 447,
}

MACHINE = os.uname().machine
"""``uname -m``; NUMBERS is empty for machines that the mock does not support."""

NUMBERS: dict[str, int] = {
    "x86_64": _X86_64 | _COMMON,
    "aarch64": _AARCH64 | _COMMON | {"statx": 291},
}.get(MACHINE, {})

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def syscall(name: str, *arguments: Any) -> int:
    """Make a system call; integers are passed as C longs. Raises OSError; ENOSYS if ``name`` has no number."""
    number = NUMBERS.get(name, -1)
    result: int = _syscall(
        ctypes.c_long(number),
        *(ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments),
    )
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def _ioc(direction: int, kind: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | kind << 8 | number


def io(kind: int, number: int) -> int:
    """_IO of asm-generic/ioctl.h. The mock's own requests to the kernel are not part of the uAPI under test,
    so they do not go through the ioctl package and need no third-party module.
    """
    return _ioc(0, kind, number, 0)


def iow(kind: int, number: int, size: int) -> int:
    """_IOW."""
    return _ioc(1, kind, number, size)


def ior(kind: int, number: int, size: int) -> int:
    """_IOR."""
    return _ioc(2, kind, number, size)


def iowr(kind: int, number: int, size: int) -> int:
    """_IOWR."""
    return _ioc(3, kind, number, size)
