# SPDX-License-Identifier: MIT
"""svmcts doctor: what this machine can run, and how to enable the rest."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from pathlib import Path

from common import as_json
from mock.probe import (
    Finding,
    Use,
    find_adviser,
    find_fork_events,
    find_seccomp,
    find_tracing,
    find_userfaultfd,
    has_capability,
)

_CAPABILITIES = {"CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_SYS_NICE": 23}


def find_python() -> Finding:
    """The interpreter."""
    detail = f"{platform.python_version()} ({sys.executable})"
    works = sys.version_info >= (3, 11)
    return Finding(
        "Python 3.11 or newer", works, detail, Use.MOCK, "the mock is not available", "install Python 3.11"
    )


def find_privileges() -> Finding:
    """The user; lack of privileges is not a fault, the ladder says what it costs."""
    held = [name for name, bit in _CAPABILITIES.items() if has_capability(bit)]
    return Finding(
        "privileges", True, f"user {os.geteuid()}, {', '.join(held) if held else 'no capabilities'}"
    )


def find_compiler() -> Finding:
    """A C compiler, which ``svmcts abi`` asks about structure layouts."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler:
        return Finding("C compiler", True, compiler)
    lost = "svmcts abi cannot check a header"
    return Finding("C compiler", False, "none", Use.OTHER, lost, "install gcc or clang")


def find_nodes() -> list[Finding]:
    """Render nodes and the drivers behind them."""
    nodes = sorted(Path("/dev/dri").glob("renderD*")) if Path("/dev/dri").is_dir() else []
    lost = "the driver backend has no device here (the mock and guests do)"
    if not nodes:
        remedy = "load the xe driver, or use the mock or a guest"
        return [Finding("render nodes", False, "none", Use.OTHER, lost, remedy)]
    return [_find_node(node, lost) for node in nodes]


def _find_node(node: Path, lost: str) -> Finding:
    name = f"render node {node}"
    try:
        driver = Path(f"/sys/class/drm/{node.name}/device/driver").resolve(strict=True).name
    except OSError:
        driver = "unknown driver"
    if driver != "xe":
        return Finding(name, False, driver, Use.OTHER, lost, "the suite is for xe: bind the device to it")
    if not os.access(node, os.R_OK | os.W_OK):
        remedy = f"join the group that owns {node}, or run as root"
        return Finding(name, False, "xe, but not accessible", Use.OTHER, lost, remedy)
    return Finding(name, True, "xe")


def _machine() -> list[Finding]:
    return [
        find_python(),
        find_privileges(),
        find_seccomp(),
        find_tracing(),
        find_userfaultfd(),
        find_fork_events(),
        find_adviser(),
        *find_nodes(),
        find_compiler(),
    ]


def report(findings: list[Finding]) -> str:
    """The findings as text."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{'yes' if finding.works else 'no':4}{finding.name:{width}}  {finding.detail}")
        if not finding.works:
            lines.append(f"{'':4}{'':{width}}  without it: {finding.lost}")
            lines.append(f"{'':4}{'':{width}}  to do: {finding.remedy}")
    return "\n".join(lines)


def _fatal(findings: list[Finding]) -> list[str]:
    """Missing facilities without which the mock cannot run."""
    return [finding.name for finding in findings if not finding.works and finding.use is Use.MOCK]


def _reduced(findings: list[Finding]) -> list[str]:
    """Limits of the mock on this machine."""
    return [finding.lost for finding in findings if not finding.works and finding.use is Use.PART]


def verdict(findings: list[Finding]) -> tuple[int, str]:
    """Exit status and the last line: whether the mock runs, and reduced in what."""
    if fatal := _fatal(findings):
        return 1, f"The mock cannot run here: {', '.join(fatal)}."
    if reduced := _reduced(findings):
        return 0, "The mock runs, reduced:\n" + "\n".join(f"- {lost}" for lost in reduced)
    return 0, "The mock runs, with everything."


def answer(findings: list[Finding]) -> as_json.Row:
    """The findings for programs."""
    fatal = _fatal(findings)
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "mock": not fatal,
        "fatal": sorted(fatal),
        "reduced": [] if fatal else sorted(_reduced(findings)),
        "findings": as_json.rows(
            {
                "name": finding.name,
                "works": finding.works,
                "detail": finding.detail,
                "use": finding.use.name.lower(),
                "lost": None if finding.works else finding.lost,
                "remedy": None if finding.works else finding.remedy,
            }
            for finding in findings
        ),
    }


def main(arguments: list[str]) -> int:
    """Exit status 0 if the mock can run at all."""
    parser = argparse.ArgumentParser(
        prog="svmcts doctor",
        description="Prints what this machine can run, and how to enable the rest.",
        epilog="exit status: 0 the mock can run, reduced or not; 1 it cannot; 2 no answer",
    )
    as_json.add_option(parser)
    options = parser.parse_args(arguments)
    findings = _machine()
    status, line = verdict(findings)
    if options.json:
        return as_json.print_answer("doctor", status, answer(findings))
    print(f"{platform.system()} {platform.release()} on {platform.machine()}")
    print(report(findings))
    print(line)
    return status
