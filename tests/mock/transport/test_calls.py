# SPDX-License-Identifier: MIT
"""System calls on mock devices: calls that the driver gets, memory that it reads and writes, calls of the kernel."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import threading
from pathlib import Path

import pytest

from mock.linux.syscall import syscall
from tests.mock.transport import echo_driver as echo
from tests.mock.transport.harness import NODE, PAGE, RW, Client, Region, call, checked, libc, refused, run


def test_ioctl_round_trip() -> None:
    """An ioctl reads its argument, returns its result, and changes the argument in place."""

    def scenario(client: Client) -> None:
        buffer = bytearray(echo.ARGS.pack(40, 2, *[0] * 6))
        assert fcntl.ioctl(client.fd, echo.ADD, buffer, True) == 7
        assert echo.ARGS.unpack(buffer)[:3] == (40, 2, 42)

    run(scenario)


def test_ioctl_errno_leaves_argument() -> None:
    """A refused ioctl fails with the driver's errno and leaves its argument alone."""

    def scenario(client: Client) -> None:
        for error in (errno.EINVAL, errno.ENOSPC, errno.ETIME, errno.EAGAIN, errno.EINTR):
            buffer = bytearray(echo.ARGS.pack(error, 5, *[6] * 6))
            with pytest.raises(OSError) as caught:
                fcntl.ioctl(client.fd, echo.FAIL, buffer, True)
            assert caught.value.errno == error
            assert echo.ARGS.unpack(buffer) == (error, 5, *[6] * 6)

    run(scenario)


def test_copy_from_user_honours_protection() -> None:
    """copy_from_user gives EFAULT for unmapped and unreadable memory, and reads across pages."""

    def scenario(client: Client) -> None:
        region = Region(4 * PAGE)
        region[PAGE - 8], region[PAGE] = 0x1111111122222222, 0x3333333344444444
        assert client.call(echo.READ, region.address + PAGE - 4)[2] == 0x4444444411111111
        fresh = Region(PAGE)
        assert client.call(echo.READ, fresh.address)[2] == 0
        region.munmap(3 * PAGE)
        region.size = 3 * PAGE
        for bad in (0, 8, 1 << 47, 1 << 63, (1 << 64) - 8, region.address + 3 * PAGE - 4):
            refused(errno.EFAULT, client.call, echo.READ, bad)
        region.mprotect(0)
        refused(errno.EFAULT, client.call, echo.READ, region.address)
        region.mprotect(mmap.PROT_READ)
        assert client.call(echo.READ, region.address + PAGE - 8)[2] == 0x1111111122222222
        region.munmap()
        refused(errno.EFAULT, client.call, echo.READ, region.address)

    run(scenario)


def test_copy_to_user_honours_protection() -> None:
    """copy_to_user gives EFAULT for read-only, unreadable and unmapped memory and writes fresh memory."""

    def scenario(client: Client) -> None:
        region = Region(2 * PAGE)
        client.call(echo.WRITE, region.address + PAGE - 4, 0x5555555566666666)
        assert region[PAGE - 8] >> 32 == 0x66666666
        assert region[PAGE] == 0x55555555
        region.mprotect(mmap.PROT_READ)
        refused(errno.EFAULT, client.call, echo.WRITE, region.address, 1)
        assert region[0] == 0
        region.mprotect(0)
        refused(errno.EFAULT, client.call, echo.WRITE, region.address, 1)
        region.munmap()
        refused(errno.EFAULT, client.call, echo.WRITE, region.address, 1)
        refused(errno.EFAULT, client.call, echo.WRITE, 1 << 63, 1)

    run(scenario)


def test_bad_argument_pointer() -> None:
    """An argument that is not mapped is EFAULT, one that is read-only too when the driver writes back."""

    def scenario(client: Client) -> None:
        for bad in (0, 4096, 1 << 62):
            refused(errno.EFAULT, syscall, "ioctl", client.fd, echo.ADD, bad)
        constant = Region(PAGE)
        constant.mprotect(mmap.PROT_READ)
        refused(errno.EFAULT, syscall, "ioctl", client.fd, echo.ADD, constant.address)

    run(scenario)


def test_foreign_ioctls_pass() -> None:
    """Ioctls of type 'd' on other files, and of other types on devices, are answered by the kernel."""

    def scenario(client: Client) -> None:
        with socket.socket() as other:
            refused(errno.ENOTTY, call, other.fileno(), echo.ADD, 1, 2)
        memory = os.memfd_create("foreign")
        refused(errno.ENOTTY, call, memory, echo.ADD, 1, 2)
        refused(errno.EBADF, call, 999, echo.ADD, 1, 2)
        refused(errno.EBADF, syscall, "ioctl", -1, echo.ADD, 0)
        refused(errno.ENOTTY, fcntl.ioctl, client.fd, 0xC0406501, bytearray(64))
        assert client.call(echo.ADD, 1, 2)[2] == 3

    run(scenario)


def test_bug_in_the_driver() -> None:
    """An exception in the driver is EIO and a traceback in the attachment, and the mock keeps running."""

    def scenario(client: Client) -> None:
        refused(errno.EIO, client.call, echo.CRASH, 0)
        assert client.call(echo.ADD, 1, 2)[2] == 3
        assert "RuntimeError: as asked" in client.attachment.errors()
        assert client.attachment.alive()

    run(scenario, errors="RuntimeError: as asked")


def test_open_by_name() -> None:
    """Nodes can be opened under every spelling and flag; names without a device cannot."""

    def scenario(client: Client) -> None:
        for path in (NODE, "/dev//dri/./renderD128", "/dev/../dev/dri/card0"):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            assert call(fd, echo.ADD, 2, 2)[2] == 4
            os.close(fd)
        fd = os.open(NODE, os.O_RDONLY | os.O_NONBLOCK)
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_NONBLOCK) == os.O_NONBLOCK
        assert not os.get_inheritable(fd)
        assert call(fd, echo.ADD, 2, 2)[2] == 4
        os.close(fd)
        fd = syscall("openat", -100, _text(NODE), os.O_RDWR, 0)
        assert os.get_inheritable(fd)
        how = Region(PAGE)
        how[0] = os.O_RDWR | os.O_CLOEXEC
        fd = syscall("openat2", -100, _text(NODE), how.address, 24)
        assert not os.get_inheritable(fd)
        assert call(fd, echo.ADD, 2, 2)[2] == 4
        refused(errno.ENOENT, os.open, "/dev/dri/renderD129", os.O_RDWR)
        refused(errno.ENOTDIR, os.open, NODE, os.O_RDONLY | os.O_DIRECTORY)
        assert Path("/dev/null").read_text() == ""
        refused(errno.ENOENT, os.open, "/no/such/dri", os.O_RDWR)

    run(scenario)


def _text(string: str) -> ctypes.c_char_p:
    return ctypes.c_char_p(string.encode())


def test_directory() -> None:
    """/dev/dri lists the nodes, and they open relative to it."""

    def scenario(client: Client) -> None:
        del client
        assert sorted(os.listdir("/dev/dri")) == ["card0", "renderD128"]
        directory = os.open("/dev/dri", os.O_RDONLY | os.O_DIRECTORY)
        assert sorted(os.listdir(directory)) == ["card0", "renderD128"]
        fd = os.open("renderD128", os.O_RDWR, dir_fd=directory)
        assert call(fd, echo.ADD, 2, 2)[2] == 4
        other = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
        os.close(os.open("status", os.O_RDONLY, dir_fd=other))

    run(scenario)


def test_debugfs() -> None:
    """Debugfs files hold the driver's text as of open; others do not exist, none can be written."""

    def scenario(client: Client) -> None:
        stats = Path("/sys/kernel/debug/dri/128/gt0/stats")
        before = stats.read_text()
        assert "released: 0\n" in before
        os.close(os.open(NODE, os.O_RDWR))
        client.call(echo.ADD, 1, 1)
        assert "released: 1\n" in stats.read_text()
        refused(errno.ENOENT, os.open, "/sys/kernel/debug/dri/128/gt1/stats", os.O_RDONLY)
        refused(errno.EACCES, os.open, str(stats), os.O_WRONLY)

    run(scenario)


def test_virtual_files_are_written() -> None:
    """The driver has each write by itself before the next call is answered; a refused one has no effect."""

    def scenario(client: Client) -> None:
        del client
        times = Path("/sys/kernel/debug/failslab/times")
        fd = os.open(times, os.O_WRONLY)
        os.write(fd, b"one")
        os.write(fd, b"two")
        assert times.read_bytes() == b"[one][two]"
        os.write(fd, b"refused")
        os.write(fd, b"three")
        os.close(fd)
        assert times.read_bytes() == b"[one][two][three]"
        refused(errno.EACCES, os.open, str(times), os.O_RDWR)
        refused(errno.ENOENT, os.open, "/sys/kernel/debug/failslab/nothing", os.O_WRONLY)

    run(scenario)


def test_fail_nth_is_of_the_thread_that_opens_it() -> None:
    """/proc/thread-self/fail-nth is a file of the mock's, one for each thread."""

    def scenario(client: Client) -> None:
        del client
        here = f"/proc/self/task/{threading.get_native_id()}/fail-nth"
        seen: list[str] = []

        def thread() -> None:
            seen.append(Path("/proc/thread-self/fail-nth").read_text())
            seen.append(str(threading.get_native_id()))

        assert Path("/proc/thread-self/fail-nth").read_text() == Path(here).read_text() == str(os.getpid())
        other = threading.Thread(target=thread)
        other.start()
        other.join()
        assert seen[0] == seen[1] != str(os.getpid())

    run(scenario)


def test_buffer_object_mapping() -> None:
    """A device is mapped natively at fake offsets, once the driver agrees."""

    def scenario(client: Client) -> None:
        with mmap.mmap(client.fd, PAGE, offset=1 << 32) as area:
            assert area[:13] == b"buffer object"
            area[:3] = b"OUR"
            with mmap.mmap(client.fd, PAGE, offset=1 << 32) as again:
                assert again[:13] == b"OURfer object"
        assert client.count("mmap") == 2
        refused(errno.EINVAL, lambda: mmap.mmap(client.fd, PAGE, offset=(1 << 32) + PAGE))
        # Not a device: the offset is in the file.
        other = os.memfd_create("foreign")
        os.ftruncate(other, (1 << 32) + PAGE)
        mmap.mmap(other, PAGE, offset=1 << 32).close()
        assert client.count("mmap") == 3

    run(scenario)


def test_vmas() -> None:
    """The driver sees mappings with their protections, kinds and files."""

    def scenario(client: Client) -> None:
        def flags(address: int, size: int = PAGE) -> str:
            result = client.call(echo.VMAS, address, size)
            bits = zip("rwxsfd", range(6), strict=True)
            return f"{result[2]}:" + "".join(letter for letter, bit in bits if result[3] >> bit & 1)

        region = Region(4 * PAGE)
        assert flags(region.address) == "1:rw"
        checked(libc.mprotect(region.address + PAGE, PAGE, mmap.PROT_READ))
        assert flags(region.address, 4 * PAGE) == "3:rw"
        assert flags(region.address + PAGE) == "1:r"
        region.munmap()
        assert flags(region.address) == "0:"
        shared = Region(PAGE, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
        assert flags(shared.address) == "1:rwsf"
        device = checked(libc.mmap(None, PAGE, RW, mmap.MAP_SHARED, client.fd, 1 << 32))
        assert flags(device) == "1:rwsfd"

    run(scenario)


def test_who_calls() -> None:
    """The driver knows the caller's user and capabilities."""

    def scenario(client: Client) -> None:
        state = client.call(echo.STATE)
        status = dict(
            line.split(":\t", 1)
            for line in Path("/proc/self/status").read_text().splitlines()
            if ":\t" in line
        )
        assert state[4] == os.geteuid()
        assert state[5] == int(status["CapEff"], 16) >> 23 & 1

    run(scenario)
