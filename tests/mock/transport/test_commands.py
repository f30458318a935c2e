# SPDX-License-Identifier: MIT
"""svmcts doctor and svmcts mock, as a user runs them."""

from __future__ import annotations

import ctypes.util
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mock.doctor import main, report, verdict
from mock.probe import Finding, Use
from tests.mock.transport.harness import DRIVER

ROOT = Path(__file__).resolve().parents[3]


def svmcts(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [sys.executable, str(ROOT / "svmcts"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload,no-any-return]


def python(program: str, *mock: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program with mock GPUs."""
    done = svmcts("mock", *mock, "--", sys.executable, "-c", textwrap.dedent(program), cwd="/")
    assert done.returncode == 0, done.stderr
    return done


def test_doctor_here() -> None:
    """The doctor finds that the mock runs, and has a line for each part."""
    done = svmcts("doctor")
    assert done.returncode == 0
    assert "The mock runs" in done.stdout.splitlines()[-1] or "reduced:" in done.stdout
    for name in (
        "seccomp",
        "userfaultfd",
        "thread for madvise",
        "render node",
        "privileges",
        "C compiler",
        "Python",
        "access to",
    ):
        assert re.search(rf"^(yes|no ) {name}", done.stdout, re.M), name


@pytest.mark.parametrize("fatal", [False, True])
def test_doctor_says_the_same_to_programs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fatal: bool
) -> None:
    """Status, findings, what is lost and what to do are those of the text."""
    findings = [
        Finding("rings", False, "EPERM", Use.PART, "no migration", "allow rings"),
        Finding("python", True, "3.11", Use.MOCK, "no mock", "install it"),
        Finding("compiler", False, "none", Use.OTHER, "no abi check", "install one"),
        *([Finding("seccomp", False, "ENOSYS", Use.MOCK, "no mock", "another kernel")] if fatal else []),
    ]
    monkeypatch.setattr("mock.doctor._machine", lambda: findings)
    assert main([]) == fatal
    first, *lines = capsys.readouterr().out.splitlines()
    assert main(["--json"]) == fatal
    out, err = capsys.readouterr()
    assert not err
    answer = json.loads(out)
    assert (answer["command"], answer["status"], answer["mock"]) == ("doctor", fatal, not fatal)
    assert first == f"{answer['system']} {answer['release']} on {answer['machine']}"
    names = [found["name"] for found in answer["findings"]]
    assert names == sorted(finding.name for finding in findings)
    for found in answer["findings"]:
        head = f"{'yes' if found['works'] else 'no':4}{found['name']}"
        at = next(number for number, line in enumerate(lines) if line.startswith(head))
        assert lines[at].split() == [*head.split(), *found["detail"].split()]
        if found["works"]:
            assert found["lost"] is found["remedy"] is None
        else:
            said = [line.strip() for line in lines[at + 1 : at + 3]]
            assert said == [f"without it: {found['lost']}", f"to do: {found['remedy']}"]
    assert [found["use"] for found in answer["findings"]][:2] == ["other", "mock"]
    if fatal:
        assert (answer["fatal"], answer["reduced"]) == (["seccomp"], [])
        assert lines[-1] == "The mock cannot run here: seccomp."
    else:
        assert (answer["fatal"], answer["reduced"]) == ([], ["no migration"])
        assert lines[-1] == "- no migration"


def test_doctor_names_what_is_missing() -> None:
    """For each missing part the doctor says what is lost, and what to do; it only fails if the mock cannot
    run.
    """
    well = Finding("python", True, "3.11")
    part = Finding("rings", False, "EPERM", Use.PART, "no migration", "allow rings")
    other = Finding("compiler", False, "none", Use.OTHER, "no abi check", "install one")
    fatal = Finding("seccomp", False, "ENOSYS", Use.MOCK, "no mock", "another kernel")
    assert report([well, part]).splitlines()[1:] == [
        "no  rings   EPERM",
        "            without it: no migration",
        "            to do: allow rings",
    ]
    assert verdict([well, other]) == (0, "The mock runs, with everything.")
    assert verdict([well, part, other]) == (0, "The mock runs, reduced:\n- no migration")
    assert verdict([fatal, part]) == (1, "The mock cannot run here: seccomp.")


def test_program_sees_devices() -> None:
    """A program finds character devices with the right numbers, by name and by descriptor, and sysfs that
    fits.
    """
    python(
        """
        import os, stat
        node = os.stat("/dev/dri/renderD128")
        assert stat.S_ISCHR(node.st_mode)
        assert (os.major(node.st_rdev), os.minor(node.st_rdev)) == (226, 128)
        assert os.access("/dev/dri/card0", os.R_OK | os.W_OK)
        assert not os.path.exists("/dev/dri/card7")
        fd = os.open("/dev/dri/card0", os.O_RDWR)
        assert os.fstat(fd).st_rdev == os.makedev(226, 0)
        assert os.readlink(f"/proc/self/fd/{fd}") == "/dev/dri/card0"
        assert sorted(os.listdir("/sys/class/drm")) == sorted(os.listdir("/dev/dri"))
        home = os.path.realpath("/sys/dev/char/226:128/device")
        assert home == os.path.realpath("/sys/class/drm/card0/device")
        assert open(home + "/vendor").read() == "0x8086\\n"
        assert "PCI_SLOT_NAME=" + os.path.basename(home) in open(home + "/uevent").read()
        assert os.stat("/dev/null").st_rdev == os.makedev(1, 3)
        """
    )


def test_platforms() -> None:
    """The platform decides how many devices there are."""
    done = svmcts("mock", "--platform", "bmg2", "--", "ls", "/dev/dri")
    assert done.stdout.split() == ["card0", "card1", "renderD128", "renderD129"]
    done = svmcts("mock", "--platform", "nothing", "--", "ls")
    assert done.returncode == 2
    assert re.fullmatch(r"svmcts mock: no mock: no platform 'nothing': there are .*\n", done.stderr)


def test_exit_status() -> None:
    """The exit status is the program's: its number, or the signal that killed it."""
    assert svmcts("mock", "--", "sh", "-c", "exit 7").returncode == 7
    assert svmcts("mock", "--", "sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM
    done = svmcts("mock", "--", "/no/such/program")
    assert (done.returncode, done.stderr) == (
        127,
        "svmcts mock: /no/such/program: No such file or directory\n",
    )
    assert svmcts("mock", "--", "/etc/passwd").returncode == 126
    assert svmcts("mock").returncode == 2


def test_libdrm() -> None:
    """Libdrm lists the mock's devices as PCI devices, and opens them."""
    library = ctypes.util.find_library("drm")
    if library is None:
        pytest.skip("NEEDS:libdrm: not installed")
    python(
        f"""
        import ctypes, os
        drm = ctypes.CDLL("{library}")
        devices = (ctypes.c_void_p * 8)()
        assert drm.drmGetDevices2(0, devices, 8) == 2
        fd = os.open("/dev/dri/renderD129", os.O_RDWR)
        drm.drmGetDeviceNameFromFd2.restype = drm.drmGetRenderDeviceNameFromFd.restype = ctypes.c_char_p
        assert drm.drmGetDeviceNameFromFd2(fd) == b"/dev/dri/renderD129"
        assert drm.drmGetRenderDeviceNameFromFd(fd) == b"/dev/dri/renderD129"
        assert drm.drmGetNodeTypeFromFd(fd) == 2
        """,
        "--platform",
        "bmg2",
    )


def test_program_with_memory() -> None:
    """Memory of a program that knows nothing of the mock migrates, also that of its children."""
    program = f"""
        import os, subprocess, sys
        sys.path.insert(0, {str(ROOT)!r})
        from tests.mock.transport.harness import *
        from tests.mock.transport import echo_driver as echo
        from mock.attach import attach
        from mock.filter import PROGRAMS
        if len(sys.argv) == 1:
            attach("echo", driver={DRIVER!r}, rules=PROGRAMS, errors=2)
            program = open("/proc/self/cmdline").read().split("\\0")[2]
            os.execv(sys.executable, [sys.executable, "-c", program, "inside"])
        fd = os.open(NODE, os.O_RDWR)
        def body():
            region = Region(16 * PAGE)
            region.number()
            call(fd, echo.MIRROR, region.address, region.size)
            assert call(fd, echo.ISOLATE, region.address, region.size)[2] == 16
            region.check()
        body()
        in_child(lambda: (call(fd, echo.ADD, 1, 2), body()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_traced_program() -> None:
    """A program under a tracer has working devices, and a message says that its memory does not migrate."""
    strace = subprocess.run(
        ["sh", "-c", "command -v strace"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if not strace:
        pytest.skip("NEEDS:strace: not installed")
    program = "import os; os.close(os.open('/dev/dri/renderD128', os.O_RDWR))"
    done = svmcts("mock", "--verbose", "--", strace, "-f", "-o", os.devnull, sys.executable, "-c", program)
    assert done.returncode == 0
    assert "its memory cannot migrate" in done.stderr
