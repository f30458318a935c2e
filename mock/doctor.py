# SPDX-License-Identifier: MIT
"""svmcts doctor: what this machine can run, and what to do for each thing missing."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from pathlib import Path

from mock.probe import (
    Finding,
    find_fork_events,
    find_ring,
    find_seccomp,
    find_tracing,
    find_userfaultfd,
)

_NODES = Path("/dev/dri")
_DRIVERS = Path("/sys/class/drm")


def main(arguments: list[str]) -> int:
    """Print the findings. Exit status 0 if the suite can run here at all, on the mock or on a real node."""
    parser = argparse.ArgumentParser(prog="svmcts doctor", description=__doc__)
    parser.parse_args(arguments)
    mock = [
        find_seccomp(),
        find_tracing(),
        find_userfaultfd(),
        find_fork_events(),
        find_ring(),
    ]
    nodes = render_nodes()
    print(f"Linux {platform.release()} on {platform.machine()}, Python {platform.python_version()}, {user()}")
    print("\nthe mock")
    show(mock)
    print("\nthe real driver")
    show(nodes)
    print("\nfor the project's own work")
    show([compiler()])
    able = not any(finding.lost == "the mock cannot run" for finding in mock)
    print()
    print(verdict(able, mock))
    return 0 if able or any(node.works for node in nodes) else 1


def show(findings: list[Finding]) -> None:
    """One line a finding, and what to do below it."""
    for finding in findings:
        print(f"  {'ok ' if finding.works else 'no '} {finding.name}: {finding.detail}")
        if finding.lost:
            print(f"      without it: {finding.lost}")
        if finding.remedy:
            print(f"      to do: {finding.remedy}")


def verdict(able: bool, findings: list[Finding]) -> str:
    """The last line."""
    if not able:
        return "The mock cannot run here."
    if missing := [finding.name for finding in findings if not finding.works]:
        return f"The mock runs here, reduced: {', '.join(missing)}."
    return "The mock runs here, with everything."


def user() -> str:
    """Who runs this."""
    return "root" if os.geteuid() == 0 else f"user {os.geteuid()}"


def render_nodes() -> list[Finding]:
    """The render nodes, their drivers, and whether they may be opened."""
    nodes = sorted(_NODES.glob("renderD*"))
    if not nodes:
        remedy = "a GPU and the xe driver, or `svmcts guest`"
        return [Finding("render node", False, f"there is none in {_NODES}", remedy=remedy)]
    return [_render_node(node) for node in nodes]


def _render_node(node: Path) -> Finding:
    link = _DRIVERS / node.name / "device" / "driver"
    driver = link.resolve().name if link.exists() else "unknown"
    if driver != "xe":
        return Finding(str(node), False, f"driver {driver}", remedy="the suite is for xe")
    if not os.access(node, os.R_OK | os.W_OK):
        remedy = "join the group that owns it (usually render), or run as root"
        return Finding(str(node), False, "driver xe, no permission", remedy=remedy)
    return Finding(str(node), True, "driver xe")


def compiler() -> Finding:
    """The C compiler that `svmcts abi` asks."""
    wanted = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    for name in wanted:
        if path := shutil.which(name):
            return Finding("C compiler", True, path)
    return Finding("C compiler", False, "none", "svmcts abi cannot check a header", "install gcc or clang")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
