# SPDX-License-Identifier: MIT
"""Open files: one identity through dup, fork, exec and descriptor passing, until the last reference goes."""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import mmap
import os
import resource
import select
import socket
import subprocess
import sys
import tempfile

from mock.files import ClientFile, Files
from mock.loop import EventLoop
from tests.mock.transport import echo_driver as echo
from tests.mock.transport.harness import (
    NODE,
    PAGE,
    Client,
    call,
    checked,
    in_child,
    libc,
    refused,
    run,
    wait_until,
)


def test_dup_is_the_same_file() -> None:
    """A duplicate is the same open file: closing one of them releases nothing."""

    def scenario(client: Client) -> None:
        copy = os.dup(client.fd)
        other = os.open(NODE, os.O_RDWR)
        assert client.call(echo.STATE)[3] == 2
        os.close(client.fd)
        client.fd = other
        assert call(copy, echo.ADD, 20, 22)[2] == 42
        assert client.call(echo.STATE)[3] == 2
        os.close(copy)
        assert client.call(echo.STATE)[3] == 1

    run(scenario)


def test_release_follows_close_at_once() -> None:
    """An ioctl made after the last close finds the file released, every time."""

    def scenario(client: Client) -> None:
        for index in range(200):
            os.close(os.open(NODE, os.O_RDWR))
            assert client.count("released") == index + 1

    run(scenario)


def test_mapping_keeps_the_file() -> None:
    """A mapping is a reference: the file is released when it ends."""

    def scenario(client: Client) -> None:
        fd = os.open(NODE, os.O_RDWR)
        area = mmap.mmap(fd, PAGE, offset=1 << 32)  # duplicates the descriptor
        os.close(fd)
        assert client.count("released") == 0
        assert area[:6] == b"buffer"
        area.close()
        assert client.count("released") == 1

    run(scenario)


def test_fork_shares_the_file() -> None:
    """A child of fork has the same open file, and keeps it when its parent closes it."""

    def scenario(client: Client) -> None:
        fd = os.open(NODE, os.O_RDWR)
        reader, writer = os.pipe()

        def body() -> None:
            os.close(writer)
            os.read(reader, 1)
            assert call(fd, echo.ADD, 1, 2)[2] == 3
            os.close(fd)
            assert client.count("released") == 1

        pid = os.fork()
        if pid == 0:
            try:
                body()
                os._exit(0)
            finally:
                os._exit(1)
        os.close(fd)
        assert client.count("released") == 0
        os.write(writer, b"x")
        assert os.waitpid(pid, 0)[1] == 0
        assert client.count("released") == 1

    run(scenario)


def test_exec_keeps_the_file() -> None:
    """A program started by exec uses the descriptor it inherited, and can open its own."""
    program = """
import fcntl, os, struct, sys
fd = int(sys.argv[1])
for fd in (fd, os.open("/dev/dri/renderD128", os.O_RDWR)):
    data = bytearray(struct.pack("=8Q", 40, 2, *[0] * 6))
    assert fcntl.ioctl(fd, int(sys.argv[2]), data, True) == 7
    assert struct.unpack("=8Q", data)[2] == 42
"""

    def scenario(client: Client) -> None:
        command = [sys.executable, "-c", program, str(client.fd), str(echo.ADD)]
        assert subprocess.run(command, pass_fds=(client.fd,), check=False).returncode == 0
        assert client.count("released") == 1

        # The same process: its memory is another one afterwards.
        def body() -> None:
            assert client.call(echo.ADD, 1, 2)[2] == 3
            os.set_inheritable(client.fd, True)
            os.execv(sys.executable, command)

        in_child(body)
        assert client.call(echo.ADD, 1, 2)[2] == 3

    run(scenario)


def test_failed_exec_changes_nothing() -> None:
    """A failed exec does not change the process."""

    def scenario(client: Client) -> None:
        for _ in range(3):
            with contextlib.suppress(FileNotFoundError):
                os.execv("/no/such/program", ["program"])
            assert client.call(echo.ADD, 1, 2)[2] == 3
        assert client.count("exited") == 0

    run(scenario)


def test_descriptor_passed_by_message() -> None:
    """A descriptor sent over a socket is the same file; in flight it stays open."""

    def scenario(client: Client) -> None:
        ours, theirs = socket.socketpair()
        fd = os.open(NODE, os.O_RDWR)
        socket.send_fds(ours, [b"x"], [fd])
        os.close(fd)
        assert client.count("released") == 0
        _, fds, _, _ = socket.recv_fds(theirs, 1, 1)
        assert call(fds[0], echo.ADD, 1, 2)[2] == 3
        os.close(fds[0])
        assert client.count("released") == 1

    run(scenario)


def test_reopened_by_proc() -> None:
    """Another open file of the same inode (/proc/self/fd) also prevents the release."""

    def scenario(client: Client) -> None:
        fd = os.open(NODE, os.O_RDWR)
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        os.close(fd)
        assert client.count("released") == 0
        assert call(again, echo.ADD, 1, 2)[2] == 3
        os.close(again)
        assert client.count("released") == 1

    run(scenario)


def test_anonymous_files() -> None:
    """Files made by the driver are installed in the caller, recognised again, and released with the last
    close.
    """

    def scenario(client: Client) -> None:
        fd = client.call(echo.EXPORT, 0)[2]
        assert not os.get_inheritable(fd)
        assert client.call(echo.LOOKUP, fd)[2] == 1
        copy = os.dup(fd)
        os.close(fd)
        assert client.call(echo.LOOKUP, copy)[2] == 1
        assert client.call(echo.LOOKUP, client.fd)[2] == 0
        assert client.call(echo.LOOKUP, 999)[2] == 0
        assert client.count("file-released") == 0
        os.close(copy)
        assert client.count("file-released") == 1

    run(scenario)


def test_event_files() -> None:
    """An event file is readable for poll once it was signalled, and released with the last close."""

    def scenario(client: Client) -> None:
        fd = client.call(echo.EXPORT, 1)[2]
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(0) == []
        assert client.call(echo.LOOKUP, fd)[2] == 1
        client.call(echo.SIGNAL)
        assert poll.poll(0) == [(fd, select.POLLIN)]
        assert poll.poll(0) == [(fd, select.POLLIN)]
        os.close(fd)
        assert client.count("file-released") == 1

    run(scenario)


def test_many_files() -> None:
    """Opening and closing a thousand files leaks nothing in the mock."""

    def scenario(client: Client) -> None:
        def descriptors() -> int:
            return len(os.listdir(f"/proc/{client.attachment.pid}/fd"))

        client.call(echo.ADD, 1, 1)
        before = descriptors()
        for _ in range(20):
            fds = array.array("i", (os.open(NODE, os.O_RDWR) for _ in range(50)))
            for fd in fds:
                os.close(fd)
        assert client.count("released") == 1000
        assert descriptors() == before

    run(scenario)


def test_eventfd_of_the_client_is_reached() -> None:
    """The driver adds to an eventfd of its caller; what is closed or something else is recognized."""

    def scenario(client: Client) -> None:
        fd = os.eventfd(0)
        for _ in range(3):
            client.call(echo.TELL, fd)
        assert os.eventfd_read(fd) == 3
        refused(errno.EINVAL, client.call, echo.TELL, client.fd)
        os.close(fd)
        refused(errno.EBADF, client.call, echo.TELL, fd)

    run(scenario)


def test_device_is_not_a_regular_file() -> None:
    """Operations for regular files fail on a device, and leave its memory alone."""

    def scenario(client: Client) -> None:
        memory = mmap.mmap(client.fd, PAGE, offset=1 << 32)
        before = memory[:]
        reading = os.open(NODE, os.O_RDONLY)
        allocate = libc.fallocate
        allocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        for place in (0, 1 << 32):
            refused(errno.EFBIG, os.pwrite, client.fd, b"x", place)
        refused(errno.EFBIG, os.write, client.fd, b"x")
        refused(errno.EBADF, os.write, reading, b"x")
        for fd in (client.fd, os.dup(client.fd), reading):
            refused(errno.EINVAL, os.ftruncate, fd, 0)
            assert os.lseek(fd, 1 << 32, os.SEEK_SET) == 0
            assert os.lseek(fd, 5, os.SEEK_END) == 0
            refused(errno.EINVAL, os.lseek, fd, 0, 5)
        refused(errno.ENODEV, lambda: checked(allocate(client.fd, 3, 1 << 32, PAGE)))
        refused(errno.EBADF, lambda: checked(allocate(reading, 3, 1 << 32, PAGE)))
        refused(errno.EINVAL, lambda: checked(allocate(client.fd, 3, 1 << 32, 0)))
        refused(errno.EOPNOTSUPP, lambda: checked(allocate(client.fd, 2, 1 << 32, PAGE)))
        # Its name in /proc leads to the same memory, which keeps its size.
        refused(errno.EPERM, os.truncate, f"/proc/self/fd/{client.fd}", 0)
        assert memory[:] == before
        with tempfile.TemporaryFile() as regular:
            os.ftruncate(regular.fileno(), 10)
            assert os.lseek(regular.fileno(), 0, os.SEEK_END) == 10

    run(scenario)


def test_files_are_shared_out() -> None:
    """A process that opens as many files as it can leaves some for others, and can open new ones after closing."""

    def scenario(client: Client) -> None:
        fds = open_all()
        assert len(fds) > 20
        # The mock's own limit is the hard one, whatever its client's soft one is.
        soft, hard = resource.prlimit(client.attachment.pid, resource.RLIMIT_NOFILE)
        assert soft == hard > resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        in_child(open_ten)
        assert "card0" in os.listdir("/dev/dri")
        os.close(fds.pop())
        wait_until(lambda: len(open_all(1)) == 1)

    def prepare() -> None:
        used = max(int(fd) for fd in os.listdir("/proc/self/fd")) + 1  # what the worker had before the fork
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 200, used + 400))

    run(scenario, prepare=prepare)


def open_ten() -> None:
    assert len(open_all(10)) == 10


def open_all(most: int = 10000) -> list[int]:
    fds: list[int] = []
    while len(fds) < most:
        try:
            fds.append(os.open(NODE, os.O_RDWR))
        except OSError as error:
            if error.errno != errno.EMFILE or len(fds) > 150:  # its own limit
                raise
            break
    return fds


def test_files_room() -> None:
    """A process may have a share of all files; the last are for processes with few. Closed files are free again."""
    loop = EventLoop(lambda: None, lambda _, error: None)
    files = Files(loop, 128)

    def make(payer: str, count: int) -> list[ClientFile]:
        files.payer = payer
        return [files.create(lambda: None) for _ in range(count)]

    made = make("greedy", 32)
    refused(errno.EMFILE, make, "greedy", 1)
    refused(errno.EMFILE, files.create_event, lambda: None)
    make("second", 32)
    make("third", 31)
    make("middle", 16)
    refused(errno.ENFILE, make, "middle", 1)
    refused(errno.ENFILE, make, "third", 1)
    make("modest", 15)
    make("last", 2)
    assert len(files) == 128
    refused(errno.ENFILE, make, "new", 1)
    files._release(made[0])
    make("new", 1)
    refused(errno.ENFILE, make, "greedy", 1)


def test_lost_close_events() -> None:
    """If the kernel had no room for all closes, files that are not open are still found."""
    loop = EventLoop(lambda: None, lambda _, error: None)
    files = Files(loop, 64)
    released: list[int] = []
    kept = files.create(lambda: released.append(0))
    given = kept.reopen(os.O_RDWR)
    files.create(lambda: released.append(1))
    files._inotify = Overflown()  # type: ignore[assignment]
    files._closed()
    assert released == [1]
    os.close(given)
    files.settle()
    assert released == [1, 0]


class Overflown:
    def read(self) -> list[tuple[int, int]]:
        return [(-1, 0x4000)]

    def forget(self, watch: int) -> None:
        pass
