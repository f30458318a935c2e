# SPDX-License-Identifier: MIT
"""Real guests, if QEMU and a kernel are in the cache: nothing is fetched here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.kernels import Version
from guest import PROJECT, cache, kernels, qemu
from guest.run import RUNS
from tests.plugin.conftest import LEDGER, VOCABULARY

PROGRAM = [sys.executable, str(PROJECT / "svmcts"), "guest"]
DEADLINE_S = 240

pytestmark = pytest.mark.timeout(DEADLINE_S + 60)


@pytest.fixture(scope="module")
def kernel() -> str:
    """The newest kernel in the user's cache."""
    if qemu.find() is None or not (known := kernels.cached()):
        pytest.skip("no QEMU or no kernel in the cache: make guest fetches them")
    return max(known, key=Version.parse)


@pytest.fixture(autouse=True)
def own_cache(kernel: str) -> Iterator[None]:
    """The user's cache, and one guest at a time."""
    with cache.lock("boot-tests"):
        yield


def run(kernel: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "--kernel", kernel, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_a_command_runs_as_it_would_here(kernel: str, tmp_path: Path) -> None:
    """The command has its standard files, exit status, working directory, environment and the host's files."""
    (tmp_path / "file").write_text("of the host")
    script = f"cat; echo $PWD; cat {tmp_path}/file; echo gone > {tmp_path}/file; echo kept > $SVMCTS_SCRATCH/result; "
    script += (
        "ls /dev/dri; uname -r; echo vfs $(cat /sys/module/xe/parameters/max_vfs); echo wrong >&2; exit 7"
    )
    scratch = tmp_path / "scratch"
    options = ("--scratch", str(scratch), "--append", "xe.max_vfs=3")
    done = run(kernel, *options, "--", "sh", "-c", script, text="input\n")
    lines = done.stdout.splitlines()
    assert done.returncode == 7, done.stderr
    assert lines[:2] == ["input", str(Path.cwd())]
    assert lines[2].startswith("of the host")
    assert "renderD128" in done.stdout
    assert f"\n{kernel}" in done.stdout
    assert "\nvfs 3\n" in done.stdout  # the driver's own parameter
    assert done.stderr.endswith("wrong\n")
    assert (tmp_path / "file").read_text() == "of the host"
    assert (scratch / "result").read_text() == "kept\n"


def test_scratch_keeps_no_rights(kernel: str, tmp_path: Path) -> None:
    """Root of the guest makes no set-uid files and no device nodes on the host."""
    script = "cd $SVMCTS_SCRATCH; echo > own; chmod 4755 own; stat -c %a own; mknod node c 1 3; "
    script += "grep scratch /proc/mounts"
    done = run(kernel, "--scratch", str(tmp_path), "--", "sh", "-c", script)
    mode, mount = done.stdout.splitlines()
    assert mode == "4755"
    assert {"nosuid", "nodev"} <= set(mount.split()[3].split(","))
    assert "Operation not permitted" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["own"]
    assert (tmp_path / "own").stat().st_mode & 0o7777 == 0o755


def test_a_panic_ends_the_guest_with_the_console_in_the_message(kernel: str) -> None:
    done = run(kernel, "--", "sh", "-c", "echo c > /proc/sysrq-trigger; sleep 60")
    assert done.returncode == 125
    assert "the guest's kernel died: Kernel panic - not syncing: sysrq triggered crash" in done.stderr
    assert "sysrq_handle_crash" in done.stderr


def test_a_guest_dies_with_the_process_that_started_it(kernel: str) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "--kernel", kernel, "--", "sh", "-c", "echo up; sleep 60"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    started = children(process.pid)
    assert started
    process.kill()
    process.communicate()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/exe").exists() for pid in started):
        assert time.monotonic() < end
        time.sleep(0.05)


def children(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


TESTS = """
import os, pathlib, time
import pytest
from fixtures import acts, behaviour
from fixtures.counting import count

pytestmark = [behaviour("demo.works"), acts("ioctl"), pytest.mark.timeout(100)]

def test_first():
    assert os.path.exists("/dev/dri/renderD128")
    count("ioctl")

def test_panic():
    pathlib.Path("/proc/sysrq-trigger").write_text("c")

def test_between():
    assert os.uname().nodename == "guest"
    count("ioctl")

def test_killed():
    pathlib.Path(os.environ["SVMCTS_SCRATCH"], "kill me").touch()
    time.sleep(60)

def test_last():
    assert os.path.exists("/dev/dri/renderD128")
    count("ioctl")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project with the suite's plugin."""
    files = {
        "pytest.ini": f"[pytest]\npythonpath = {PROJECT}\naddopts = --import-mode=importlib\n",
        "conftest.py": (PROJECT / "conftest.py").read_text(),
        "behaviours/vocabulary.yaml": VOCABULARY,
        "behaviours/demo.yaml": LEDGER,
        "behaviours/untested.yaml": "[]\n",
        "suites/demo/test_inside.py": TESTS,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_guest_that_dies_costs_one_test(kernel: str, project: Path) -> None:
    """One test ends the kernel, and during another QEMU is killed: each is blamed, and the rest continues."""
    command = [sys.executable, "-m", "pytest", "--guest", kernel, "-p", "no:cacheprovider"]
    before = set(RUNS.glob("*/*"))
    with subprocess.Popen(
        command,
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        end = time.monotonic() + DEADLINE_S
        while not (
            found := [path for path in set(RUNS.glob("*/*")) - before if (path / "scratch/kill me").exists()]
        ):
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.05)
        owner = int((found[0] / "owner").read_text())
        (qemu_id,) = [
            pid for pid in children(owner) if b"-nodefaults" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(qemu_id, signal.SIGKILL)
        output, _ = process.communicate(timeout=DEADLINE_S)
    events = [json.loads(line) for line in (project / "reports/out/results.jsonl").read_text().splitlines()]
    results = {event["test"].partition("::")[2]: event for event in events if event["event"] == "result"}
    assert {name: event["outcome"] for name, event in results.items()} == {
        "test_first": "PASS", "test_panic": "ERROR", "test_between": "PASS", "test_killed": "ERROR", "test_last": "PASS"
    }, output  # fmt: skip
    for name, why in (
        ("test_panic", "the guest's kernel died: Kernel panic - not syncing: sysrq triggered crash"),
        ("test_killed", "QEMU was killed by signal 9"),
    ):
        assert why in results[name]["longrepr"]
        assert "the end of" in results[name]["longrepr"]
    assert "sysrq_handle_crash" in results["test_panic"]["longrepr"]
    assert process.returncode == 1
