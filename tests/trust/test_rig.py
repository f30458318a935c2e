# SPDX-License-Identifier: MIT
"""A rig without disk space, memory or a writable folder: one line, and status 2."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from common.answers import status_of
from guest import GuestError, cache, cli, run
from guest.debian import Archive, Package

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SVMCTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SVMCTS_MIRROR", "http://m.example/debian")
    return tmp_path / "cache"


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with one free megabyte."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))


def guest(*arguments: str) -> int:
    return status_of("svmcts guest", lambda: cli.main(list(arguments)))


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("act", "what"),
    [
        (lambda: Archive("trixie").refresh(), "Debian's package lists: it takes 150 MB"),
        (
            lambda: Archive("trixie").fetch([Package("a", "1", "pool/a.deb", 9_000_000, "")]),
            "a: it takes 45 MB",
        ),
    ],
)
def test_full_disk_is_said_before_apt_hangs(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], what: str, own_cache: Path
) -> None:
    monkeypatch.setattr(Archive, "_apt", lambda *_, **__: pytest.fail("apt was started"))
    with pytest.raises(GuestError) as refused:
        act()
    assert str(refused.value) == (
        f"no room for {what}, {own_cache} has 1 MB: free some, or set SVMCTS_CACHE to a directory elsewhere"
    )


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), MemoryError(), GuestError("no QEMU")]
)
def test_guest_that_cannot_be_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(run, "prepare", fail)
    assert guest("--", "true") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("svmcts")


def test_cache_that_is_a_file_is_one_line(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_cache.write_text("")
    assert guest("--", "true") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "SVMCTS_CACHE" in line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("OSError(28, 'No space left on device', '/x')", "[Errno 28] No space left on device: '/x'"),
        ("MemoryError()", "out of memory"),
        ("GuestError('no QEMU')", "no QEMU"),
    ],
)
def test_guest_column_that_cannot_be_is_one_line(tmp_path: Path, error: str, line: str) -> None:
    program = (
        "import sys, pytest; from guest import GuestError, run\n"
        f"def fail(*_): raise {error}\n"
        "run.prepare = fail\n"
        f"sys.exit(pytest.main(['--guest', '7.3', '--results={tmp_path}', 'suites/vm']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert done.stderr.strip() == f"ERROR: --guest 7.3: {line}"


@pytest.mark.parametrize(
    ("module", "full"),
    [("reports.write", "_write"), ("fixtures.plugin.results", "Results.finish")],
    ids=["reports", "stream"],
)
def test_run_that_fills_the_disk_ends_with_one_line(tmp_path: Path, module: str, full: str) -> None:
    program = (
        f"import sys, pytest, {module}\n"
        "def fail(*_): raise OSError(28, 'No space left on device', '/full/x')\n"
        f"{module}.{full} = fail\n"
        f"sys.exit(pytest.main(['--results={tmp_path}', 'suites/vm/test_destroy.py']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == pytest.ExitCode.INTERNAL_ERROR, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    line = "svm-cts: /full/x: No space left on device: not all of the run is written"
    assert done.stderr.splitlines()[-1] == line
