# SPDX-License-Identifier: MIT
"""Start and end of clients and of the mock, and leftovers."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mock.attach import Unavailable, attach
from mock.linux.syscall import NUMBERS, syscall
from tests.mock.transport import echo_driver as echo
from tests.mock.transport.harness import (
    DRIVER,
    NODE,
    PAGE,
    Client,
    Region,
    call,
    fork,
    in_child,
    run,
    wait_until,
)


def lives(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_mock_is_nobodys_child() -> None:
    """A client's wait(2) never sees the mock, which is in a session of its own."""

    def scenario(client: Client) -> None:
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        assert os.getsid(client.attachment.pid) not in (os.getsid(0), client.attachment.pid)

    run(scenario)


def test_mock_ends_with_the_tree() -> None:
    """The mock and its keeper end when the last descendant of the client has ended, not before."""
    reader, writer = os.pipe()
    stop_reader, stop_writer = os.pipe()
    pid = fork()
    if pid == 0:
        attachment = attach("echo", driver=DRIVER)
        if fork() == 0:
            os.close(stop_writer)
            os.read(stop_reader, 1)
            os._exit(0 if call(os.open(NODE, os.O_RDWR), echo.ADD, 1, 2)[2] == 3 else 1)
        os.write(writer, f"{attachment.pid} {parent_of(attachment.pid)}".encode())
        os._exit(0)
    mock, keeper = (int(word) for word in os.read(reader, 64).split())
    assert os.waitpid(pid, 0)[1] == 0
    assert lives(mock)
    assert lives(keeper)
    os.close(stop_reader)
    os.close(stop_writer)
    wait_until(lambda: not lives(mock) and not lives(keeper))


def last_client_ends(then: Callable[[int, int], None]) -> tuple[int, int]:
    """Mock and keeper of a client that has ended; ``then`` did something to them before."""
    reader, writer = os.pipe()
    pid = fork()
    if pid == 0:
        attachment = attach("echo", driver=DRIVER)
        os.close(os.open(NODE, os.O_RDWR))
        mock, keeper = attachment.pid, parent_of(attachment.pid)
        os.write(writer, f"{mock} {keeper}".encode())
        then(mock, keeper)
        os._exit(0)
    mock, keeper = (int(word) for word in os.read(reader, 64).split())
    assert os.waitpid(pid, 0)[1] == 0
    return mock, keeper


def test_stopped_mock_ends_with_the_tree() -> None:
    """A mock or keeper that is stopped still ends with its last client."""
    stop_mock = last_client_ends(lambda mock, _: os.kill(mock, signal.SIGSTOP))
    stop_keeper = last_client_ends(lambda _, keeper: os.kill(keeper, signal.SIGSTOP))
    wait_until(lambda: not any(lives(pid) for pid in (*stop_mock, *stop_keeper)), 40)


def test_killed_keeper_harms_nobody() -> None:
    """The mock continues without it, and ends with the tree."""

    def scenario(client: Client) -> None:
        keeper = parent_of(client.attachment.pid)
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: not lives(keeper))
        assert client.call(echo.ADD, 1, 2)[2] == 3
        assert client.attachment.alive()
        assert client.attachment.errors() == ""

    run(scenario)
    mock, keeper = last_client_ends(lambda _, keeper: os.kill(keeper, signal.SIGKILL))
    wait_until(lambda: not lives(mock) and not lives(keeper))


def test_mock_ends_when_nobody_joins() -> None:
    """A client that dies in the middle of attaching leaves no mock."""
    reader, writer = os.pipe()
    pid = fork()
    if pid == 0:
        import mock.attach

        def die(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        # The first thing the client does with the mock's greeting.
        mock.attach.make_userfaultfd = die
        channel = mock.attach._start

        def start(*arguments: object) -> object:
            made = channel(*arguments)
            os.write(writer, b"started")
            return made

        mock.attach._start = start
        attach("echo", driver=DRIVER)
    os.close(writer)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert os.read(reader, 16) == b"started"
    wait_until(lambda: not _mocks_of_driver(reader))


def _mocks_of_driver(pipe: int) -> list[int]:
    """Processes that still hold the other end of the pipe."""
    identity = os.fstat(pipe).st_ino
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                links = [link.readlink() for link in (process / "fd").iterdir()]
            except OSError:
                continue
            if Path(f"pipe:[{identity}]") in links:
                found.append(int(process.name))
    return found


def test_second_attach() -> None:
    """A process, and its descendants, have one mock permanently; a second attach fails with one line."""

    def scenario(client: Client) -> None:
        with pytest.raises(Unavailable, match="already attached to a mock"):
            attach("echo", driver=DRIVER)

        def body() -> None:
            import mock.attach

            mock.attach._attached = None
            with pytest.raises(Unavailable, match="listener is installed already"):
                attach("echo", driver=DRIVER)

        in_child(body)
        assert client.call(echo.ADD, 1, 2)[2] == 3

    run(scenario)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"platform": "voodoo", "driver": DRIVER}, "voodoo"),
        ({"platform": "echo", "driver": DRIVER, "defect": "nonsense"}, "no defect 'nonsense': there are "),
        ({"platform": "echo", "driver": "no.such.module:Driver"}, "no.such|No module named 'no'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, str], reason: str) -> None:
    """A mock that cannot be made raises Unavailable with the reason, and the process is unchanged."""

    def body() -> None:
        with pytest.raises(Unavailable, match=reason) as caught:
            attach(**arguments)
        assert "\n" not in str(caught.value)
        assert "Seccomp:\t0" in Path("/proc/self/status").read_text()
        attach("echo", driver=DRIVER)

    in_child(body)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_death_of_the_mock(number: int) -> None:
    """When the mock dies devices answer ENODEV, everything else continues, and the attachment says what
    happened.
    """

    def scenario(client: Client) -> None:
        region = Region(4 * PAGE)
        region.number()
        client.call(echo.MIRROR, region.address, region.size)
        client.call(echo.ISOLATE, region.address, region.size)
        with pytest.raises(OSError):
            client.call(echo.CRASH, number)
        wait_until(lambda: not client.attachment.alive())
        with pytest.raises(OSError) as caught:
            client.call(echo.ADD, 1, 2)
        assert caught.value.errno == errno.ENODEV
        with pytest.raises(OSError):
            os.open(NODE, os.O_RDWR)
        assert Path("/proc/self/status").read_text()
        assert subprocess.run(["/bin/true"], check=False).returncode == 0
        assert region[0] == 0  # lost, and no access waits for it
        wait_until(lambda: f"killed by signal {int(number)}" in client.attachment.errors())

    run(scenario, errors=f"killed by signal {int(number)}")


def test_kill_in_the_middle_of_an_ioctl() -> None:
    """Clients killed in the middle of ioctls, opens and faults harm neither the mock nor their siblings."""

    def scenario(client: Client) -> None:
        rng = random.Random(7)
        fds = len(list(Path(f"/proc/{client.attachment.pid}/fd").iterdir()))
        for _ in range(40):
            pid = fork()
            if pid == 0:
                region = Region(16 * PAGE)
                region.number()
                client.call(echo.MIRROR, region.address, region.size)
                while True:
                    client.call(echo.ISOLATE, region.address, region.size)
                    region.check()
                    os.close(os.open(NODE, os.O_RDWR))
            wait_until(lambda: client.call(echo.ADD, 1, 2)[2] == 3)
            for _ in range(rng.randrange(60)):
                client.call(echo.ADD, 1, 2)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert client.call(echo.ADD, 1, 2)[2] == 3
        assert client.attachment.alive()

        def clean() -> bool:
            client.call(echo.ADD, 1, 2)
            return client.call(echo.STATE)[3] == 1 and (
                len(list(Path(f"/proc/{client.attachment.pid}/fd").iterdir())) <= fds + 8
            )

        wait_until(clean)

    run(scenario)


def test_kill_of_a_sleeper() -> None:
    """A client killed while its ioctl sleeps is noticed: the driver may forget the sleeper."""

    def scenario(client: Client) -> None:
        pid = fork()
        if pid == 0:
            client.call(echo.WAIT, 0)
        wait_until(lambda: echo_sleepers(client) == 1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        wait_until(lambda: echo_sleepers(client) == 0)

    run(scenario)


def echo_sleepers(client: Client) -> int:
    return client.call(echo.STATE)[6]


def test_all_threads_are_filtered() -> None:
    """Threads that are older than the filter are answered by the mock too."""
    go, done = threading.Event(), []

    def older() -> None:
        go.wait()
        done.append(call(os.open(NODE, os.O_RDWR), echo.ADD, 20, 22)[2])

    thread: list[threading.Thread] = []

    def prepare() -> None:
        thread.append(threading.Thread(target=older))
        thread[0].start()

    def scenario(client: Client) -> None:
        del client
        go.set()
        thread[0].join()
        assert done == [42]

    run(scenario, prepare=prepare)


def test_exec_of_a_program_with_memory() -> None:
    """A program started by exec gets a userfaultfd and an adviser of its own when it opens a device."""

    def scenario(client: Client) -> None:
        program = (
            "from tests.mock.transport.harness import *\n"
            "from tests.mock.transport import echo_driver as echo\n"
            "fd = os.open(NODE, os.O_RDWR)\n"
            "region = Region(16 * PAGE); region.number()\n"
            "call(fd, echo.MIRROR, region.address, region.size)\n"
            "assert call(fd, echo.ISOLATE, region.address, region.size)[2] == 16\n"
            "region.check(); region.munmap()\n"
            "open_ = [f'/proc/self/fd/{n}' for n in range(fd + 10)]\n"
            "links = [os.readlink(path) for path in open_ if os.path.exists(path)]\n"
            "assert not [link for link in links if 'anon_inode' in link], links\n"
        )
        for _ in range(3):
            assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
        assert client.count("cpu-fault") == 48
        assert client.count("unmap") >= 3  # the interpreter may free memory that lies next to the region

    run(scenario)


def test_garbage() -> None:
    """Random requests, arguments and paths are refused, and do no harm."""

    def scenario(client: Client) -> None:
        rng = random.Random(3)
        libc = ctypes.CDLL(None)
        addresses = [
            0,
            1,
            PAGE - 1,
            1 << 47,
            (1 << 47) - 1,
            (1 << 64) - 1,
            id(rng),
            Region(PAGE).address + PAGE - 3,
        ]
        for _ in range(1500):
            request = ord("d") << 8 | rng.getrandbits(8) | rng.getrandbits(16) << 16
            if request in {echo.CRASH, echo.WAIT}:
                continue
            target = rng.choice([*addresses, rng.getrandbits(64)])
            libc.ioctl(
                ctypes.c_int(rng.choice([client.fd, client.fd, 0, -1, 12345])),
                ctypes.c_ulong(request),
                ctypes.c_ulong(target),
            )
            libc.syscall(NUMBERS["openat"], -100, ctypes.c_ulong(target), os.O_RDONLY)
            libc.syscall(NUMBERS["openat2"], -100, ctypes.c_ulong(target), ctypes.c_ulong(target), 24)
            libc.syscall(NUMBERS["execve"], ctypes.c_ulong(target), 0, 0)
        for path in (
            b"/dev/dri/" + b"x" * 5000,
            b"/dev/dri/\xff\xfe",
            b"/dev/dri/../../dev/dri/nothing",
            b"",
        ):
            with pytest.raises(OSError):
                os.open(path, os.O_RDWR)
        assert client.call(echo.ADD, 1, 2)[2] == 3

    run(scenario)


def test_client_without_memory_access() -> None:
    """A child that makes itself inaccessible (not dumpable, another user) still has working files."""

    def scenario(client: Client) -> None:
        def body() -> None:
            syscall("prctl", 4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
            assert client.call(echo.ADD, 1, 2)[2] == 3

        in_child(body)
        if os.geteuid() == 0:

            def other_user() -> None:
                os.setresuid(65534, 65534, 65534)
                assert client.call(echo.ADD, 1, 2)[2] == 3
                assert client.call(echo.STATE)[4] == 65534
                assert client.call(echo.STATE)[5] == 0

            in_child(other_user)

    run(scenario)


def test_signals_to_the_terminal() -> None:
    """Ctrl-C in the client's terminal does not reach the mock."""

    def scenario(client: Client) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.killpg(0, signal.SIGINT)
        assert client.call(echo.ADD, 1, 2)[2] == 3
        assert client.attachment.alive()

    run(scenario)


def test_no_descriptor_is_left_in_the_client() -> None:
    """Attaching leaves the client the connection and the mock's messages, nothing else."""

    def body() -> None:
        gc.collect()
        before = set(os.listdir("/proc/self/fd"))
        attach("echo", driver=DRIVER)
        gc.collect()
        assert len(set(os.listdir("/proc/self/fd")) - before) == 2

    in_child(body)


def test_child_that_never_speaks() -> None:
    """Children of fork that never touch a device are forgotten once they have ended."""

    def scenario(client: Client) -> None:
        def descriptors() -> int:
            return len(list(Path(f"/proc/{client.attachment.pid}/fd").iterdir()))

        before = descriptors()
        for _ in range(5):
            in_child(lambda: None)
        wait_until(lambda: descriptors() == before)

    run(scenario)


def test_close_on_exec_release() -> None:
    """A program that replaces a client releases what it does not inherit."""

    def scenario(client: Client) -> None:
        def body() -> None:
            fd = os.open(NODE, os.O_RDWR | os.O_CLOEXEC)
            fcntl.ioctl(fd, echo.NOTHING, 0)
            os.execv("/bin/true", ["true"])

        in_child(body)
        assert client.count("released") == 1

    run(scenario)
