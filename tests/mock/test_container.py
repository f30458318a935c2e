# SPDX-License-Identifier: MIT
"""Containers as in docs/mock.md: with default capabilities and SYS_PTRACE, nothing is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = (
    *("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("net_bind_service", "net_raw", "sys_chroot", "mknod", "audit_write", "setfcap"),
)
"""Capabilities that Docker leaves to a container."""
SETPRIV = shutil.which("setpriv")
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not SETPRIV, reason="drops capabilities: needs root and setpriv (Debian: util-linux)"
)


def reduced(*command: str) -> list[str]:
    """Reductions of the mock below a command."""
    doctor = [*command, sys.executable, str(ROOT / "svmcts"), "doctor", "--json"]
    done = subprocess.run(doctor, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    found: list[str] = json.loads(done.stdout)["reduced"]
    return found


def with_capabilities(*added: str) -> list[str]:
    """The command that leaves the default capabilities and these."""
    held = ",".join(f"+{name}" for name in (*DEFAULT, *added))
    return [str(SETPRIV), f"--bounding-set=-all,{held}", "--inh-caps=-all"]


def test_option_of_the_containerfile_gives_what_root_has() -> None:
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    options = [name.lower() for name in re.findall(r"--cap-add (\w+)", text)]
    assert options == ["sys_ptrace"]
    assert reduced(*with_capabilities(*options)) == reduced()


def test_without_the_option_forks_are_lost() -> None:
    assert any("children of fork" in line for line in reduced(*with_capabilities()))


def test_capability_of_a_user_namespace_does_not_count() -> None:
    """As in rootless podman: the kernel asks for the capability of the machine's own namespace."""
    inside = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces")
    assert any("children of fork" in line for line in reduced(*inside))


def test_document_has_the_command_of_the_containerfile() -> None:
    commands = re.findall(r"podman .*", (ROOT / "Containerfile").read_text(encoding="utf-8"))
    document = (ROOT / "docs/mock.md").read_text(encoding="utf-8")
    assert len(commands) == 2
    assert all(f"    {command}\n" in document for command in commands)
