# SPDX-License-Identifier: MIT
"""The processes of a guest: none outlives its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
# include/uapi/linux/capability.h: CAP_MKNOD, CAP_SETFCAP
NO_CAPABILITIES = (27, 31)
"""Rights that a guest would leave on the host: its scratch directory is the host's file system."""
libc = ctypes.CDLL(None)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """To call in a child, preferably before exec: it gets this signal when its parent ends in any way (prctl(2))."""
    libc.prctl(PR_SET_PDEATHSIG, number)


def give_up_rights() -> None:
    """To call in a child before exec: it can make no device nodes or file capabilities then, like an ordinary user."""
    for capability in NO_CAPABILITIES:
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def confine() -> None:
    die_with_parent()
    give_up_rights()


def spawn(command: Sequence[str], directory: Path, log: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process in ``directory`` with its output in ``log``; to be called before any thread is started."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=confine,  # noqa: PLW1509 (no thread has been started yet)
            start_new_session=True,  # an interrupt from the terminal is for us to handle
            **options,
        )


def kill_after(first: subprocess.Popen[bytes], then: subprocess.Popen[bytes]) -> None:
    first.wait()
    then.kill()


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Processor time that a process has used so far, for benchmarks: it depends less on other load."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    return lines[-1] if lines else f"{path} is empty"
