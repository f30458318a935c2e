# SPDX-License-Identifier: MIT
"""Real guests, where QEMU and a kernel are in the cache already: nothing is fetched here."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guest import cache, kernels, qemu
from guest.vm import PROJECT

PROGRAM = [sys.executable, str(PROJECT / "svmcts"), "guest"]
DEADLINE_S = 240

pytestmark = pytest.mark.timeout(DEADLINE_S + 60)


@pytest.fixture(scope="module")
def kernel() -> str:
    """The newest kernel in the user's cache."""
    if qemu.find() is None or not (known := kernels.cached()):
        pytest.skip("no QEMU or no kernel in the cache: make guest fetches them")
    return max(known, key=kernels.version_key)


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
    """Standard files, exit status, working directory, environment and the host's files are the command's own."""
    (tmp_path / "file").write_text("of the host")
    script = f"cat; echo $PWD; cat {tmp_path}/file; echo gone > {tmp_path}/file; echo kept > $SVMCTS_SCRATCH/result; "
    script += "ls /dev/dri; uname -r; echo wrong >&2; exit 7"
    scratch = tmp_path / "scratch"
    done = run(kernel, "--scratch", str(scratch), "--", "sh", "-c", script, text="input\n")
    lines = done.stdout.splitlines()
    assert done.returncode == 7, done.stderr
    assert lines[:2] == ["input", str(Path.cwd())]
    assert lines[2].startswith("of the host")
    assert "renderD128" in done.stdout
    assert f"\n{kernel}" in done.stdout
    assert done.stderr.endswith("wrong\n")
    assert (tmp_path / "file").read_text() == "of the host"
    assert (scratch / "result").read_text() == "kept\n"


def test_a_panic_ends_the_guest_with_the_console_in_the_message(kernel: str) -> None:
    done = run(kernel, "--gpus", "0", "--", "sh", "-c", "echo c > /proc/sysrq-trigger; sleep 60")
    assert done.returncode == 125
    assert "the guest's kernel panicked or powered off" in done.stderr
    assert "sysrq_handle_crash" in done.stderr


def test_a_guest_dies_with_the_process_that_started_it(kernel: str) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "--kernel", kernel, "--gpus", "0", "--", "sh", "-c", "echo up; sleep 60"],
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


def test_a_worker_of_xdist_lives_in_a_guest_and_is_replaced_when_it_dies(kernel: str, tmp_path: Path) -> None:
    """One test ends the kernel: it is blamed, and the rest goes on in a new guest."""
    (tmp_path / "test_inside.py").write_text(
        "import os, pathlib\n"
        "def test_first(): assert os.path.exists('/dev/dri/renderD128')\n"
        "def test_second(): pathlib.Path('/proc/sysrq-trigger').write_text('c')\n"
        "def test_third(): assert os.uname().nodename == 'guest'\n"
    )
    interpreter = f"{PROJECT}/guest/python --kernel {kernel} --name test"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path),
         "--dist=load", "--tx", f"popen//python={interpreter}", str(tmp_path), "-rA"],
        cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "crashed while running" in done.stdout
    assert "test_second" in done.stdout
    outcome = [
        json.loads(path.read_text())
        for path in sorted((PROJECT / "reports/out/guest/test").glob("*/outcome.json"))
    ]
    assert "the guest's kernel panicked or powered off" in [entry["lost"] for entry in outcome]
