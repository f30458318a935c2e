# SPDX-License-Identifier: MIT
"""Fault injection: steps of the driver that a client can make fail (lib/fault-inject.c, kernel/fail_function.c,
mm/failslab.c, mm/fail_page_alloc.c).

The driver calls ``enter`` in functions that the kernel allows error injection for, and ``kmalloc`` where it allocates.
A client configures the failures in debugfs and, for the allocations of one thread, in its /proc/thread-self/fail-nth.
"""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, field

from mock.driver.lib.errors import Refused, refuse_if

INJECTABLE = (
    "vm_bind_ioctl_ops_create",
    "vm_bind_ioctl_ops_execute",
    "xe_exec_queue_create_bind",
    "xe_pt_create",
    "xe_pt_update_ops_prepare",
    "xe_pt_update_ops_run",
    "xe_sync_entry_parse",
    "xe_vm_create_scratch",
    "xe_vma_ops_alloc",
)
"""The functions marked ALLOW_ERROR_INJECTION(..., ERRNO) that the driver has a step for."""

FUNCTIONS = {
    name: 0xFFFF_FFFF_C000_0000 + index * 0x1000
    for index, name in enumerate(("drm_gpusvm_get_pages", *INJECTABLE))
}
"""Addresses of functions, to make allocations fail by caller. Only their order is that of a kernel."""
_ANYWHERE = (1 << 64) - 1

_MAX_ERRNO = 4095
_WORD = 1 << 64

Nth = dict[int, int]
"""task_struct.fail_nth by thread id: the number of calls until one fails. 0, or a missing thread: never."""


@dataclass
class FaultAttr:
    """struct fault_attr: the files of a fail* directory, and whether a call fails."""

    nth: Nth
    probability: int = 0
    interval: int = 1
    times: int = 1
    space: int = 0
    verbose: int = 2
    require_start: int = 0
    require_end: int = _ANYWHERE
    _count: int = 0
    _random: random.Random = field(default_factory=random.Random)

    FILES = ("probability", "interval", "times", "space", "verbose")
    ADDRESSES = ("require-start", "require-end")

    def should_fail(self, task: int | None, size: int = 1, *, caller: str = "") -> bool:
        """should_fail_ex().

        task    thread that made the system call or page fault, None for work items
        caller  function of FUNCTIONS in which this happens
        """
        if not self._by(caller):
            return False
        if task is not None and self.nth.get(task):
            self.nth[task] -= 1
            if self.nth[task]:
                return False
            return self._fail()
        if not self.probability or not self.times:
            return False
        if self.space > size:
            self.space -= size
            return False
        if self.interval > 1:
            self._count += 1
            if self._count % self.interval:
                return False
        return self.probability > self._random.randrange(100) and self._fail()

    def _by(self, caller: str) -> bool:
        """fail_stacktrace(), for a stack of one frame."""
        if (self.require_start, self.require_end) == (0, _ANYWHERE):
            return True
        return self.require_start <= FUNCTIONS.get(caller, 0) < self.require_end

    def _fail(self) -> bool:
        if self.times > 0:
            self.times -= 1
        return True

    def read(self, name: str) -> bytes | None:
        """A file of the directory (fault_create_debugfs_attr); None if the name is unknown."""
        if name in self.ADDRESSES:
            return b"0x%016x\n" % getattr(self, name.replace("-", "_"))
        return b"%d\n" % getattr(self, name) if name in self.FILES else None

    def write(self, name: str, text: str) -> None:
        """Raises Refused(EINVAL) if the text is not a number, or out of the file's range."""
        value = _number(text)
        refuse_if(value < 0 and name not in ("times", "space"), errno.EINVAL, f"{name} is unsigned")
        setattr(self, name.replace("-", "_"), value)


class FailFunction:
    """Functions that return an error instead of doing anything (kernel/fail_function.c)."""

    def __init__(self, nth: Nth) -> None:
        self.attr = FaultAttr(nth)
        self._codes: dict[str, int] = {}
        """The return value of each function on the list."""

    def enter(self, name: str, task: int | None) -> None:
        """The kprobe at the start of a function of INJECTABLE. Raises Refused if it is to fail."""
        assert name in INJECTABLE, name
        code = self._codes.get(name)
        if code is not None and self.attr.should_fail(task):
            raise Refused(code, f"injected failure of {name}")

    def read(self, name: str) -> bytes | None:
        if name == "inject":
            return "".join(f"{function} [xe]\n" for function in self._codes).encode()
        if name == "injectable":
            return "".join(f"{function} [xe]\tERRNO\n" for function in INJECTABLE).encode()
        function, _, file = name.partition("/")
        if file == "retval" and function in self._codes:
            return b"%x\n" % (_WORD - self._codes[function])
        return self.attr.read(name)

    def write(self, name: str, text: str) -> None:
        """fei_write(), fei_retval_set(). Raises Refused."""
        function, _, file = name.partition("/")
        if name == "inject":
            self._inject(text.strip())
        elif file == "retval":
            refuse_if(function not in self._codes, errno.ENOENT, f"{function} is not on the list")
            code = _WORD - _number(text) % _WORD
            refuse_if(not 1 <= code <= _MAX_ERRNO, errno.EINVAL, "not a negative errno")
            self._codes[function] = code
        else:
            self.attr.write(name, text)

    def _inject(self, function: str) -> None:
        if not function:
            self._codes.clear()
        elif function.startswith("!"):
            refuse_if(function[1:] not in self._codes, errno.ENOENT, f"{function[1:]} is not on the list")
            del self._codes[function[1:]]
        else:
            refuse_if(function not in INJECTABLE, errno.EINVAL, f"{function} is not injectable")
            refuse_if(function in self._codes, errno.EBUSY, f"{function} is on the list")
            self._codes[function] = errno.EINVAL


class FailSlab:
    """Slab allocations: kmalloc and similar (mm/failslab.c)."""

    def __init__(self, nth: Nth) -> None:
        self.attr = FaultAttr(nth)
        self._flags = {"ignore-gfp-wait": True, "cache-filter": False}

    def should_fail(self, task: int | None, caller: str) -> bool:
        """should_failslab(), for an allocation that may sleep, as nearly all of the driver's do, from a cache without
        SLAB_FAILSLAB.
        """
        return not any(self._flags.values()) and self.attr.should_fail(task, caller=caller)

    def read(self, name: str) -> bytes | None:
        return _yes_no(self._flags[name]) if name in self._flags else self.attr.read(name)

    def write(self, name: str, text: str) -> None:
        """Raises Refused(EINVAL)."""
        if name in self._flags:
            self._flags[name] = _bool(text)
        else:
            self.attr.write(name, text)


class FailPageAlloc:
    """Allocations of pages (mm/fail_page_alloc.c)."""

    def __init__(self, nth: Nth) -> None:
        self.attr = FaultAttr(nth)
        self._flags = {"ignore-gfp-wait": True, "ignore-gfp-highmem": True}
        self._min_order = 1

    def should_fail(self, order: int, task: int | None) -> bool:
        """should_fail_alloc_page(), for pages of user space (GFP_HIGHUSER)."""
        ignored = order < self._min_order or any(self._flags.values())
        return not ignored and self.attr.should_fail(task, 1 << order)

    def read(self, name: str) -> bytes | None:
        if name in self._flags:
            return _yes_no(self._flags[name])
        return b"%d\n" % self._min_order if name == "min-order" else self.attr.read(name)

    def write(self, name: str, text: str) -> None:
        """Raises Refused(EINVAL)."""
        if name in self._flags:
            self._flags[name] = _bool(text)
        elif name == "min-order":
            self._min_order = _number(text)
        else:
            self.attr.write(name, text)


class FaultInjection:
    """All kinds of fault injection, for the devices of one driver."""

    def __init__(self) -> None:
        self._nth: Nth = {}
        self._function = FailFunction(self._nth)
        self._slab = FailSlab(self._nth)
        self._pages = FailPageAlloc(self._nth)
        self._directories: dict[str, FailFunction | FailSlab | FailPageAlloc] = {
            "fail_function": self._function,
            "failslab": self._slab,
            "fail_page_alloc": self._pages,
        }

    # For the driver

    def enter(self, name: str, task: int | None = None) -> None:
        """The start of an injectable function. Raises Refused with the injected errno."""
        self._function.enter(name, task)

    def kmalloc(self, task: int | None = None, code: int = errno.ENOMEM, *, caller: str = "") -> None:
        """An allocation, in a function of FUNCTIONS. Raises Refused(code) if it is to fail."""
        refuse_if(self._slab.should_fail(task, caller), code, "injected allocation failure")

    def alloc_pages(self, order: int, task: int | None) -> None:
        """An allocation of system memory for user space. Raises Refused(ENOMEM) if it is to fail."""
        refuse_if(self._pages.should_fail(order, task), errno.ENOMEM, f"injected failure of order {order}")

    def update_page_tables(self, tiles: int, task: int | None = None) -> None:
        """Injectable steps of a page table update (xe_vm.c: ops_execute). Raises Refused."""
        self.kmalloc(task)
        for step in ("xe_pt_update_ops_prepare", "xe_pt_update_ops_run"):
            for _ in range(tiles):
                self.enter(step, task)

    # Files

    def read(self, path: str) -> bytes | None:
        """Contents of a file below /sys/kernel/debug; None if the path is unknown."""
        directory, _, name = path.partition("/")
        found = self._directories.get(directory)
        return found.read(name) if found is not None else None

    def writable(self, path: str) -> bool:
        """Whether the file may be written."""
        return self.read(path) is not None and path != "fail_function/injectable"

    def write(self, path: str, data: bytes) -> None:
        """write(2). Raises Refused with its errno."""
        directory, _, name = path.partition("/")
        self._directories[directory].write(name, data.decode(errors="replace"))

    @staticmethod
    def kallsyms() -> bytes:
        """/proc/kallsyms, of FUNCTIONS."""
        return "".join(f"{address:016x} t {name}\t[xe]\n" for name, address in FUNCTIONS.items()).encode()

    def fail_nth(self, task: int) -> bytes:
        """/proc/TID/fail-nth (fs/proc/base.c: proc_fail_nth_read)."""
        return b"%d\n" % self._nth.get(task, 0)

    def set_fail_nth(self, task: int, data: bytes) -> None:
        """proc_fail_nth_write(); raises Refused(EINVAL)."""
        value = _number(data.decode(errors="replace"))
        refuse_if(value < 0, errno.EINVAL, "fail-nth is unsigned")
        self._nth.pop(task, None)
        if value:
            self._nth[task] = value


def _number(text: str) -> int:
    """kstrtoull() with base 0. Raises Refused(EINVAL)."""
    text = text.strip()
    try:
        return int(text, 8) if text.lstrip("-").startswith("0") and text.isdecimal() else int(text, 0)
    except ValueError:
        raise Refused(errno.EINVAL, f"{text!r} is not a number") from None


def _yes_no(value: bool) -> bytes:
    return b"Y\n" if value else b"N\n"


def _bool(text: str) -> bool:
    """kstrtobool(). Raises Refused(EINVAL)."""
    start = text[:1]
    refuse_if(start not in ("y", "Y", "1", "n", "N", "0"), errno.EINVAL, f"{text!r} is neither yes nor no")
    return start in ("y", "Y", "1")
