# SPDX-License-Identifier: MIT
"""System calls of a client that the mock is notified of."""

from __future__ import annotations

import os

from mock.linux.bpf import Rule, Test

_INT = 0xFFFFFFFF

DEVICES = (
    Rule("ioctl", (Test(1, 0xFF00, ord("d") << 8),)),
    # Creating files is not the mock's business, and the most frequent kind of open in some programs.
    Rule("openat", (Test(2, os.O_CREAT, 0),)),
    Rule("open", (Test(1, os.O_CREAT, 0),)),
    Rule("openat2"),
    # A descriptor mapped at 4 GiB or above: the fake offsets of buffer objects.
    Rule("mmap", (Test(4, _INT, _INT, negated=True), Test(5, _INT, 0, high=True, negated=True))),
    # MREMAP_DONTUNMAP: the only property of an mremap that is not in its events.
    Rule("mremap", (Test(3, 4, 4),)),
    # A device is not a file with a size; the kernel itself refuses write(2) (see mock.files).
    Rule("lseek"),
    Rule("ftruncate"),
    Rule("fallocate"),
    Rule("execve"),
    Rule("execveat"),
)
"""For a program that opens devices by name and uses them."""

PROGRAMS = DEVICES + tuple(
    Rule(name)
    for name in (
        "stat",
        "lstat",
        "fstat",
        "newfstatat",
        "statx",
        "access",
        "faccessat",
        "faccessat2",
        "readlink",
        "readlinkat",
        "getxattr",
        "lgetxattr",
        "listxattr",
        "llistxattr",
    )
)
"""For any program: it may look at devices and sysfs first."""
