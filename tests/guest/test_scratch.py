# SPDX-License-Identifier: MIT
"""Files that a guest leaves in its scratch directory have no privileges on the host."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from guest import scratch
from guest.processes import spawn


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def made(path: Path, bits: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    path.chmod(bits)
    return path


@pytest.mark.parametrize("bits", [0o4755, 0o2755, 0o6711, 0o4000])
def test_set_uid_files_are_ordinary_afterwards(tmp_path: Path, bits: int) -> None:
    file = made(tmp_path / "a/b/file", bits)
    scratch.drop_rights(tmp_path, time.time() - 60)
    assert mode(file) == bits & 0o777


def test_older_files_keep_their_rights(tmp_path: Path) -> None:
    file = made(tmp_path / "file", 0o4755)
    scratch.drop_rights(tmp_path, time.time() + 60)
    assert mode(file) == 0o4755


def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside = made(tmp_path / "outside/file", 0o4755)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "file").symlink_to(outside)
    (inside / "folder").symlink_to(outside.parent)
    os.mkfifo(inside / "fifo", 0o644)
    scratch.drop_rights(inside, time.time() - 60)
    assert mode(outside) == 0o4755


CAPABLE = "import os; os.setxattr('f', 'security.capability', (2 << 24).to_bytes(4, 'little') + bytes(16))"


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user makes no device nodes")
@pytest.mark.parametrize("command", ["mknod node c 1 3", f'python3 -c "{CAPABLE}"'])
def test_child_gives_no_rights_to_files(tmp_path: Path, command: str) -> None:
    made(tmp_path / "f", 0o644)
    log = tmp_path / "log"
    process = spawn(["sh", "-c", command], tmp_path, log)
    assert process.wait() == 1
    assert "Operation not permitted" in log.read_text()
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
