# SPDX-License-Identifier: MIT
"""The mock opens only its own places. The kernel opens everything else, with the caller's rights."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mock.call import Call
from mock.filter import PROGRAMS
from mock.kernel import PciDevice
from mock.linux.seccomp import Gone, Notification
from mock.linux.syscall import NUMBERS, syscall
from mock.looking import Looking
from mock.naming import Naming
from mock.tree import Tree
from tests.mock.transport import echo_driver as echo
from tests.mock.transport.harness import NODE, Client, call, in_child, refused, run

NOBODY = 65534
DEBUGFS = "/sys/kernel/debug/dri/128/gt0/stats"
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="NEEDS:root: rights are given up")


def through(place: str, target: Path) -> str:
    """A path that leads through a place of the mock's to another file."""
    return f"{place}{'/..' * place.count('/')}{target}"


def places() -> list[str]:
    """Places of the mock, first those that the kernel also has."""
    return sorted(["/dev/dri", "/sys/class/drm"], key=lambda place: not Path(place).is_dir())


def as_nobody(body: Callable[[], None]) -> None:
    def lowered() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        body()

    in_child(lowered)


def kernel_refuses(place: str, error: int) -> int:
    """Result of the kernel for a path through a place."""
    return error if Path(place).is_dir() else errno.ENOENT


@ROOT
def test_foreign_file_is_not_opened(tmp_path: Path) -> None:
    """A user finds no file that is closed to them through the mock's places, to read or to write."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    for parent in (tmp_path, *list(tmp_path.parents)[:-2]):
        parent.chmod(0o755)
    errors = {place: kernel_refuses(place, errno.EACCES) for place in places()}

    def scenario(client: Client) -> None:
        def body() -> None:
            for place, error in errors.items():
                for flags in (os.O_RDONLY, os.O_RDWR | os.O_TRUNC, os.O_WRONLY):
                    refused(error, os.open, through(place, secret), flags)
            assert os.stat(NODE).st_mode & 0o666 == 0o666
            os.close(os.open(NODE, os.O_RDWR))

        as_nobody(body)
        assert secret.read_text() == "secret"

    run(scenario, rules=PROGRAMS)


@ROOT
def test_debugfs_is_for_root() -> None:
    """Files that are closed to users on a machine with a GPU are closed here: debugfs, and writing to sysfs."""
    vendor = "/sys/class/drm/card0/device/vendor"

    def scenario(client: Client) -> None:
        def body() -> None:
            refused(errno.EACCES, os.open, DEBUGFS, os.O_RDONLY)
            refused(errno.EACCES, os.stat, DEBUGFS)
            refused(errno.EACCES, os.open, vendor, os.O_RDWR)
            assert os.access(vendor, os.R_OK)
            assert not os.access(vendor, os.W_OK)
            assert Path(vendor).read_text() == "0x8086\n"

        as_nobody(body)
        assert Path(DEBUGFS).read_text()
        refused(errno.EACCES, os.open, vendor, os.O_RDWR)
        refused(errno.EACCES, os.open, vendor, os.O_TRUNC)
        refused(errno.EISDIR, os.open, "/sys/class/drm", os.O_RDWR)
        assert Path(vendor).read_text() == "0x8086\n"

    run(scenario, rules=PROGRAMS)


def test_fail_nth_is_for_own_threads() -> None:
    """Another process's fail-nth is not below /proc/self."""

    def scenario(client: Client) -> None:
        own = f"/proc/self/task/{os.getpid()}/fail-nth"
        assert Path(own).read_text() == str(os.getpid())
        in_child(
            lambda: refused(errno.ENOENT, os.open, f"/proc/self/task/{os.getppid()}/fail-nth", os.O_RDONLY)
        )

    run(scenario)


@ROOT
def test_mock_tree_is_read_only() -> None:
    """Nothing can be made in the directory of the nodes, so nothing in it leads out of it."""

    def scenario(client: Client) -> None:
        directory = os.open("/dev/dri", os.O_RDONLY)
        refused(errno.EROFS, lambda: os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
        refused(errno.EROFS, lambda: os.symlink("/etc/shadow", "new", dir_fd=directory))
        refused(errno.EROFS, lambda: os.mkfifo("new", dir_fd=directory))

    run(scenario)


@ROOT
def test_chroot_has_no_devices(tmp_path: Path) -> None:
    """A client in a chroot has only the files there: neither those of the machine nor the mock's."""

    def scenario(client: Client) -> None:
        def body() -> None:
            os.chroot(tmp_path)
            os.chdir("/")
            for path in ("/dev/dri/../../etc/passwd", NODE, "/dev/dri", "/proc/kallsyms", DEBUGFS):
                refused(errno.ENOENT, os.open, path, os.O_RDONLY)
                refused(errno.ENOENT, os.stat, path)
            assert call(client.fd, echo.ADD, 1, 2)[2] == 3

        in_child(body)

    run(scenario, rules=PROGRAMS)


def test_open_beneath_a_directory(tmp_path: Path) -> None:
    """openat2 relative to a directory as root finds the files there, not the mock's."""

    def scenario(client: Client) -> None:
        directory = os.open(tmp_path, os.O_RDONLY)
        how = (ctypes.c_uint64 * 3)(os.O_RDONLY, 0, 0)

        def openat2() -> int:
            return syscall("openat2", directory, ctypes.c_char_p(NODE.encode()), how, ctypes.sizeof(how))

        os.close(openat2())
        how[2] = 0x10  # RESOLVE_IN_ROOT
        refused(errno.ENOENT, openat2)
        how[2] = 0x08  # RESOLVE_BENEATH
        refused(errno.EXDEV, openat2)

    run(scenario)


@pytest.mark.parametrize("place", ["/dev/dri", "/sys/class/drm"])
def test_fifo_keeps_nobody_waiting(tmp_path: Path, place: str) -> None:
    """A client that opens a FIFO through the mock's places waits for its other end alone."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    path = through(place, fifo)

    # Inside, the place is the mock's.
    there = Path(place).is_dir()
    run(lambda client: _waits(client, path, fifo if there else None))


def _waits(client: Client, path: str, fifo: Path | None) -> None:
    waiting = subprocess.Popen([sys.executable, "-c", f"open({path!r})"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(20):
            os.close(os.open(NODE, os.O_RDWR))
        if fifo is not None:
            os.close(os.open(fifo, os.O_WRONLY))
        assert waiting.wait(20) == (1 if fifo is None else 0)
    finally:
        waiting.kill()


class Strangers:
    """No process has used a device."""

    def of(self, tid: int) -> None:
        return None


def naming() -> Naming:
    nodes = {"card0": 0}
    device = PciDevice("0000:03:00.0", 0x8086, 0xE20B, 0x8086, 0x1100, 4)
    return Naming(Strangers(), nodes, Tree(nodes, {0: device}))  # type: ignore[arg-type]


class Recycled:
    """A listener whose callers are all gone: their numbers are others' now."""

    def valid(self, ident: int) -> bool:
        return False


def test_number_of_another_process() -> None:
    """Nothing is written to, or read from, a process that has the pid of a caller that is gone."""
    target = ctypes.create_string_buffer(b"untouched", 4096)
    name = ctypes.create_string_buffer(b"/dev/dri/card0")
    call = Call(Recycled(), Notification(1, os.getpid(), NUMBERS["stat"], (0,) * 6))  # type: ignore[arg-type]
    looking = object.__new__(Looking)
    looking._clients = Strangers()  # type: ignore[assignment]
    with pytest.raises(Gone):
        looking._put(call, ctypes.addressof(target), b"data")
    assert target.value == b"untouched"
    with pytest.raises(Gone):
        naming().place(call, 0, ctypes.addressof(name))
