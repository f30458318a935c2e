# SPDX-License-Identifier: MIT
"""Clients of a mock for tests: each is a forked process that attaches, acts, and reports its result."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator

import pytest

from fixtures.process import readable
from mock.attach import Attachment, attach
from mock.filter import DEVICES
from mock.linux.bpf import Rule
from tests.mock.transport.echo_driver import ARGS, EVENTS, KINDS

DRIVER = "tests.mock.transport.echo_driver:EchoDriver"
PAGE = 4096
NODE = "/dev/dri/renderD128"

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int64,
)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
libc.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
libc.mremap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)

RW = mmap.PROT_READ | mmap.PROT_WRITE
ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def checked(result: int | None) -> int:
    """The result of a libc function; OSError when it is -1."""
    if result in (-1, ctypes.c_void_p(-1).value):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result or 0


def call(fd: int, request: int, *args: int) -> list[int]:
    """An ioctl of the echo driver; the arguments as they came back."""
    buffer = bytearray(ARGS.pack(*args, *[0] * (8 - len(args))))
    fcntl.ioctl(fd, request, buffer, True)
    return list(ARGS.unpack(buffer))


class Region:
    """Memory of this process at a known address, by raw system calls."""

    def __init__(self, size: int, flags: int = ANONYMOUS, prot: int = RW) -> None:
        self.address = checked(libc.mmap(None, size, prot, flags, -1, 0))
        self.size = size

    def __getitem__(self, offset: int) -> int:
        return ctypes.c_uint64.from_address(self.address + offset).value

    def __setitem__(self, offset: int, value: int) -> None:
        ctypes.c_uint64.from_address(self.address + offset).value = value

    def number(self, seed: int = 1) -> None:
        """A different value in each page."""
        for page in range(self.size // PAGE):
            self[page * PAGE] = seed * 1_000_003 + page

    def check(self, seed: int = 1) -> None:
        for page in range(self.size // PAGE):
            assert self[page * PAGE] == seed * 1_000_003 + page, f"page {page}"

    def munmap(self, offset: int = 0, size: int | None = None) -> None:
        checked(libc.munmap(self.address + offset, self.size - offset if size is None else size))

    def mprotect(self, prot: int) -> None:
        checked(libc.mprotect(self.address, self.size, prot))

    def madvise(self, advice: int, offset: int = 0, size: int | None = None) -> None:
        checked(libc.madvise(self.address + offset, self.size - offset if size is None else size, advice))


class Client:
    """Arguments of a scenario."""

    def __init__(self, attachment: Attachment) -> None:
        self.attachment = attachment
        self.fd = os.open(NODE, os.O_RDWR)

    def call(self, request: int, *args: int) -> list[int]:
        return call(self.fd, request, *args)

    def count(self, kind: str) -> int:
        """Number of calls of the driver about this."""
        return self.call(EVENTS, KINDS.index(kind))[2]


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Fails when the condition does not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def fork() -> int:
    """os.fork without Python's warning about threads (the mock's thread in an attached process counts
    as one).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


@contextlib.contextmanager
def child(body: Callable[[], None]) -> Iterator[int]:
    """Run ``body`` in a forked child in the meantime; at the end it must have succeeded."""
    pid = fork()
    if pid == 0:
        _run(body)
    try:
        yield pid
    finally:
        _, status = os.waitpid(pid, 0)
    assert status == 0, "the child failed, see its traceback"


def in_child(body: Callable[[], None]) -> None:
    """Run ``body`` in a forked child."""
    with child(body):
        pass


def _run(body: Callable[[], None]) -> None:
    try:
        body()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def run(
    scenario: Callable[[Client], None],
    *,
    platform: str = "echo",
    level: str = "7.3",
    defect: str | None = None,
    prepare: Callable[[], None] = lambda: None,
    errors: str = "",
    seconds: float = 60,
    rules: Iterable[Rule] = DEVICES,
) -> None:
    """Run a scenario in a client of its own. It fails when the scenario raises, when the client dies or
    hangs, and when the mock printed anything that does not contain ``errors``.
    """
    reader, writer = os.pipe()
    pid = fork()
    if pid == 0:
        os.close(reader)
        os.setpgid(0, 0)
        _client(scenario, writer, platform, level, defect, prepare, errors, rules)
    os.close(writer)
    report = b""
    deadline = time.monotonic() + seconds
    try:
        with open(reader, "rb", buffering=0) as pipe:
            while readable(pipe.fileno(), deadline - time.monotonic()):
                chunk = pipe.read(65536)
                if not chunk:
                    break
                report += chunk
            else:
                report += b"the client hangs"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert report == b"ok", report[-4000:].decode(errors="replace")


def _client(
    scenario: Callable[[Client], None],
    writer: int,
    platform: str,
    level: str,
    defect: str | None,
    prepare: Callable[[], None],
    errors: str,
    rules: Iterable[Rule],
) -> None:
    attachment: Attachment | None = None
    try:
        prepare()
        attachment = attach(platform, level, defect, driver=DRIVER, rules=rules)
        scenario(Client(attachment))
        said = attachment.errors()
        assert (errors in said) if errors else not said, f"the mock said:\n{said}"
        os.write(writer, b"ok")
    except BaseException:
        said = attachment.errors() if attachment else ""
        os.write(writer, (traceback.format_exc() + said).encode())
    os._exit(0)


def refused(error: int, function: Callable[..., object], *args: object) -> None:
    """The call fails with exactly this errno."""
    with pytest.raises(OSError) as caught:
        function(*args)
    assert caught.value.errno == error
