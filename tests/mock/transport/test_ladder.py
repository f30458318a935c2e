# SPDX-License-Identifier: MIT
"""The mock without privileges: lost parts are named, the rest works."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mock.attach import Unavailable, attach
from mock.kernel import Ability
from mock.linux import userfaultfd
from mock.linux.bpf import Verdict
from mock.linux.syscall import NUMBERS, syscall
from tests.mock.transport import echo_driver as echo
from tests.mock.transport.harness import (
    DRIVER,
    NODE,
    PAGE,
    Client,
    Region,
    call,
    in_child,
    libc,
    run,
    wait_until,
)

NOBODY = 65534
SIZE = 16 * PAGE

root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def forbid(*names: str) -> None:
    """Make these system calls fail with EPERM, as a container's profile does."""
    refuse = struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | errno.EPERM)
    program = struct.pack("=HBBI", 0x20, 0, 0, 0)
    for name in names:
        program += struct.pack("=HBBI", 0x15, 0, 1, NUMBERS[name]) + refuse
    program += struct.pack("=HBBI", 0x06, 0, 0, Verdict.ALLOW)
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(buffer))
    syscall("prctl", 38, 1, 0, 0, 0)
    syscall("seccomp", 1, 0, ctypes.c_char_p(fprog))


def no_userfaultfd() -> None:
    """Neither by the system call nor by the device."""
    userfaultfd._DEVICE = "/no/such/device"
    forbid("userfaultfd")


def interpreter_for_all() -> str:
    """A Python that any user may run."""
    for candidate in (
        sys.executable,
        "/usr/bin/python3",
        shutil.which("python3", path="/usr/bin:/bin") or "",
    ):
        probe = [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            done = subprocess.run(probe, user=NOBODY, group=NOBODY, extra_groups=[], check=False)
            if done.returncode == 0:
                return candidate
        except OSError:
            continue
    pytest.skip("no Python 3.11 that user nobody may run")


def nobody(interpreter: str) -> Callable[[], None]:
    """Become an ordinary user."""

    def become() -> None:
        sys.executable = interpreter
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        syscall("prctl", 4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as after exec

    return become


def migrates(client: Client) -> Region:
    """Memory can be isolated and comes back."""
    region = Region(SIZE)
    region.number()
    client.call(echo.MIRROR, region.address, SIZE)
    for _ in range(3):
        assert client.call(echo.ISOLATE, region.address, SIZE)[2] == 16
        region.check()
    assert client.call(echo.ISOLATE, region.address, SIZE)[2] == 16
    return region


@root
def test_ordinary_user() -> None:
    """Without privilege memory migrates; only system calls on it fail, and children of fork read
    zeros there.
    """

    def scenario(client: Client) -> None:
        attachment = client.attachment
        assert Ability.ZAP in attachment.abilities
        assert Ability.KERNEL_FAULTS not in attachment.abilities
        assert Ability.FORK_EVENTS not in attachment.abilities
        assert [line.partition(" (")[0] for line in attachment.ladder] == [
            "system calls on migrated memory fail with EFAULT",
            "children of fork read zeros where memory had migrated",
        ]
        assert client.call(echo.STATE)[4:6] == [NOBODY, 0]
        region = migrates(client)
        reader, writer = os.pipe()
        assert libc.write(writer, ctypes.c_void_p(region.address), ctypes.c_size_t(8)) == -1
        assert ctypes.get_errno() == errno.EFAULT
        assert client.call(echo.READ, region.address + PAGE)[2] == 1_000_003 + 1

        def body() -> None:
            assert region[8 * PAGE] == 0
            migrates(client)

        in_child(body)
        region.check()
        assert client.count("forked") == 0
        assert sorted(os.listdir("/dev/dri")) == ["card0", "renderD128"]
        os.close(reader)

    run(scenario, prepare=nobody(interpreter_for_all()))


@root
def test_ordinary_user_leaves_nothing() -> None:
    """Named files are gone when the mock has ended."""
    before = set(Path(tempfile.gettempdir()).glob("svm-cts-*"))
    test_ordinary_user()
    wait_until(lambda: set(Path(tempfile.gettempdir()).glob("svm-cts-*")) <= before)


def test_no_adviser() -> None:
    """Without a thread that executes madvise nothing migrates, but the driver is still notified of munmap."""

    def scenario(client: Client) -> None:
        assert Ability.ZAP not in client.attachment.abilities
        assert Ability.USERFAULTFD in client.attachment.abilities
        (line,) = client.attachment.ladder
        assert line.startswith("no memory can migrate (thread for madvise: EPERM")
        region = Region(SIZE)
        region.number()
        client.call(echo.MIRROR, region.address, SIZE)
        assert client.call(echo.ISOLATE, region.address, SIZE)[2] == 0
        assert client.call(echo.GPU_READ, region.address)[2] == region[0]
        region.munmap()
        assert client.count("unmap") == 1

    run(scenario, prepare=lambda: forbid("close_range"))


def test_no_userfaultfd() -> None:
    """Without userfaultfd, only ioctls and GPU accesses to system memory work."""

    def scenario(client: Client) -> None:
        assert client.attachment.abilities == frozenset()
        assert client.attachment.ladder[0].startswith(
            "no memory can migrate, CPU faults and unmapping are not noticed ("
        )
        region = Region(SIZE)
        region.number()
        client.call(echo.MIRROR, region.address, SIZE)
        assert client.call(echo.ISOLATE, region.address, SIZE)[2] == 0
        client.call(echo.GPU_WRITE, region.address, 5)
        assert client.call(echo.GPU_ADD, region.address, 5)[2] == 5
        assert region[0] == 10
        region.munmap()
        assert client.count("unmap") == 0
        with pytest.raises(OSError):
            client.call(echo.GPU_READ, region.address)
        in_child(lambda: None)
        assert call(os.open(NODE, os.O_RDWR), echo.ADD, 1, 2)[2] == 3

    run(scenario, prepare=no_userfaultfd)


def test_no_tracing() -> None:
    """Without access to descriptors of other processes nothing migrates, the rest works."""

    def scenario(client: Client) -> None:
        assert Ability.ZAP not in client.attachment.abilities
        assert any(
            "pidfd_getfd" in line or "access to other processes" in line for line in client.attachment.ladder
        )
        assert client.call(echo.ADD, 1, 2)[2] == 3

    run(scenario, prepare=lambda: forbid("pidfd_getfd"))


def test_no_seccomp() -> None:
    """Without seccomp the mock does not start, and prints one line that says what to do."""

    def body() -> None:
        # seccomp(2) itself is what the last filter takes away.
        forbid("seccomp")
        with pytest.raises(Unavailable) as caught:
            attach("echo", driver=DRIVER)
        assert str(caught.value).startswith("no mock: seccomp user notification: EPERM")
        assert "\n" not in str(caught.value)

    in_child(body)
