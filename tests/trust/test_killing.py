# SPDX-License-Identifier: MIT
"""A run that loses a process to SIGKILL continues by --resume: two of those that ``make soak`` kills."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_killed_run_goes_on_and_is_whole() -> None:
    command = [sys.executable, "-m", "tests.trust.killing", "--kills", "2", "--seconds", "500"]
    command += ["suites/gc/test_close.py", "suites/query/test_config.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "all is well"
