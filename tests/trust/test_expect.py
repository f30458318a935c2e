# SPDX-License-Identifier: MIT
"""A driver that loses a capability fails the run: the capabilities of an environment are known from its description."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures.plugin.capabilities import CAPABILITIES, machine
from fixtures.plugin.expectations import of_guest
from guest.machine import Machine, Topology
from mock.driver.platform import PLATFORMS

ROOT = Path(__file__).resolve().parents[2]

# A process has one mock: each platform is probed in a process of its own.
PROBE = """
import json, sys
from fixtures.plugin.backend import STARTERS
from fixtures.plugin.capabilities import probe
from fixtures.plugin.environment import Environment
backend = STARTERS["mock"](Environment("x", "mock", platform=sys.argv[1], level=sys.argv[2]))
found, _ = probe(backend.nodes, backend.reductions)
known = backend.expected
print(json.dumps([known.missing(found), known.unexpected(found), [*known.has, *known.lacks]]))
"""

# The mock's own process believes that no two GPUs are linked, whatever the platform says.
APART = """
import sys
if sys.orig_argv[1:3] == ["-m", "mock"]:
    from mock.driver.platform import Platform
    Platform.links_of = lambda self, index: set()
"""


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def of_this_machine(name: str) -> bool:
    """On any machine that the mock runs on, with and without the mock."""
    probe = CAPABILITIES[name].probe
    return probe is not None and probe.__module__ == machine.__name__


LEVELS = [*((platform, "7.3") for platform in PLATFORMS), *(("bmg2", f"6.{n}") for n in (17, 18, 19))]
LEVELS += [(platform, level) for platform in ("bmg2", "lnl") for level in ("7.0", "7.1", "7.2")]


@pytest.mark.parametrize(("platform", "level"), LEVELS)
def test_mock_platform_has_what_it_is_known_to_have(platform: str, level: str) -> None:
    done = python("-c", PROBE, platform, level)
    assert done.returncode == 0, done.stderr
    missing, unexpected, named = json.loads(done.stdout)
    assert (missing, unexpected) == ({}, {})
    assert [name for name in CAPABILITIES if name not in named and not of_this_machine(name)] == []


def run(
    tmp_path: Path, platform: str, *arguments: str, **environment: str
) -> tuple[int, str, list[dict[str, Any]]]:
    done = python(
        "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:allure_pytest", f"--results={tmp_path}",
        "--platform", platform, *arguments, **environment,
    )  # fmt: skip
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    return done.returncode, done.stdout, [json.loads(line) for line in lines]


def gate(tmp_path: Path) -> tuple[int, str]:
    done = python("svmcts", "gate", str(tmp_path))
    return done.returncode, done.stdout


def test_driver_that_forgets_a_link_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(APART)
    status, said, events = run(
        tmp_path,
        "bmg2",
        "suites/p2p/test_access.py",
        "suites/query/test_clock.py",
        PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}",
    )
    line = (
        "interconnect is expected (2 linked GPUs, since Linux 7.0), "
        "the probe says: VRAM of the peer as preferred location: ENOLINK"
    )
    assert status == pytest.ExitCode.TESTS_FAILED
    assert f"error mock/bmg2: {line}\n" in said
    assert "  note: no-interconnect is not expected (2 linked GPUs, since Linux 7.0), but present\n" in said
    results = [event for event in events if event["event"] == "result"]
    codes = {(event["reason"] or {}).get("code"): event["outcome"] for event in results}
    assert codes["EXPECTED:interconnect"] == "ERROR"
    assert "NEEDS:interconnect" not in codes
    assert codes[None] == "PASS"
    refused, why = gate(tmp_path)
    assert refused == 1
    assert f":2: ERROR mock/bmg2: {line}\n" in why
    assert "REFUSED for 1 reason (" in why


def test_broken_probe_is_an_error_by_name(tmp_path: Path) -> None:
    """It is an error even if no test of the run needs the capability."""
    plugin = "from fixtures.plugin.capabilities import CAPABILITIES as C\nimport dataclasses\n"
    plugin += 'C["atomic"] = dataclasses.replace(C["atomic"], probe=lambda p: "it is broken")\n'
    (tmp_path / "broken_probe.py").write_text(plugin)
    (tmp_path / "conftest.py").write_text("")
    status, said, events = run(
        tmp_path,
        "lnl",
        "-p",
        "broken_probe",
        "suites/query/test_clock.py",
        PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}",
    )
    line = "atomic is expected (the GPU has page faults), the probe says: it is broken"
    assert status == pytest.ExitCode.TESTS_FAILED
    assert f"error mock/lnl: {line}\n" in said
    assert f"  ERROR mock/lnl: {line}\n" in said
    assert {event["outcome"] for event in events if event["event"] == "result"} == {"PASS"}
    assert gate(tmp_path)[0] == 1


# Options of Debian's kernels on which a capability depends.
DEBIAN = dict.fromkeys(
    ("SWAP", "TRANSPARENT_HUGEPAGE", "KSM", "HUGETLBFS", "DEBUG_FS", "DEV_COREDUMP", "PM_ADVANCED_DEBUG", "NUMA",
     "USERFAULTFD", "PCI_P2PDMA", "DRM_GPUSVM", "DRM_XE_GPUSVM", "DRM_XE_PAGEMAP", "INIT_ON_ALLOC_DEFAULT_ON",
     "SLUB_DEBUG"),
    "y",
)  # fmt: skip
ONE = Machine()
NEAR, FAR = Machine(2), Machine(2, Topology.FAR)
MEDIA = Machine(emulator=("--media", "--bar", "64M"))
INTEGRATED = Machine(emulator=("--platform", "ptl"))
IOMMU = Machine(iommu=True)
NOTHING: dict[str, str] = {}
# Seen in a guest with that kernel: differences from a guest with 7.3 and two linked GPUs.
GUESTS = [
    (NEAR, (7, 3, 4), NOTHING, "", ""),
    (FAR, (7, 3, 4), NOTHING, "interconnect", "no-interconnect"),
    (ONE, (7, 3, 4), NOTHING, "interconnect two-devices", ""),
    (MEDIA, (7, 3, 4), NOTHING, "interconnect two-devices", "media-gt multi-gt small-bar"),
    (
        INTEGRATED,
        (7, 3, 4),
        NOTHING,
        "interconnect two-devices svm-vram vram",
        "integrated no-svm-vram unit-prefetches",
    ),
    (IOMMU, (7, 3, 4), NOTHING, "interconnect two-devices", "iommu"),
    (NEAR, (7, 0, 13), NOTHING, "purging", ""),
    (NEAR, (6, 18, 15), NOTHING, "interconnect no-compression-hint purging", "no-interconnect"),
    (
        NEAR,
        (6, 17, 13),
        NOTHING,
        "interconnect no-compression-hint purging range-attributes svm-counters",
        "no-interconnect",
    ),
]
# Configurations that Debian does not have: by reading.
GUESTS += [
    (NEAR, (7, 3), {"PM_ADVANCED_DEBUG": "n"}, "runtime-usage", ""),
    (NEAR, (7, 3), {"PCI_P2PDMA": "n"}, "interconnect", "no-interconnect"),
    (NEAR, (7, 3), {"DRM_XE_PAGEMAP": "n"}, "atomic interconnect svm-vram", "no-interconnect no-svm-vram"),
    (NEAR, (7, 3), {"TRANSPARENT_HUGEPAGE_NEVER": "y"}, "thp", ""),
    (NEAR, (7, 3), {"LOCKDEP": "y"}, "", "lockdep-kernel"),
    (NEAR, (7, 3), {"SLUB_DEBUG": "n"}, "slab-counts", ""),
    (NEAR, (7, 3), {"FAIL_FUNCTION": "y"}, "", ""),
    (NEAR, (7, 3), {"CGROUP_DMEM": "y"}, "", "cgroup-dmem"),
    (NEAR, (7, 3), {"DRM_XE_DEBUG_VM": "y"}, "", ""),
    (NEAR, (7, 3), {"DRM_XE_DEBUG_VM": "y", "IKCONFIG_PROC": "y"}, "", "debug-kernel"),
    (NEAR, (7, 3), {"INIT_ON_ALLOC_DEFAULT_ON": "n"}, "", "uncleared-memory"),
    (NEAR, (7, 3), {"INIT_ON_ALLOC_DEFAULT_ON": "n", "KASAN": "y"}, "", ""),
]
BASE = {
    "vram", "cpu-addr-mirror", "purging", "no-compression-hint", "userptr", "svm-vram", "page-faults", "two-devices",
    "two-engines", "three-engines", "xe2", "atomic", "interconnect", "range-attributes", "pxp", "debugfs",
    "svm-counters", "gt-reset", "root", "swap", "thp", "ksm", "hugepages", "coredump", "numa", "device-pages",
    "driver-unbind", "runtime-usage", "debugger-faults", "shared-vram", "core-dumps", "pinning", "notifier-size",
    "fd-passing", "kernel-faults", "user-faults", "unit-faults", "gpu-failures", "blocking-unmap", "fork-events",
    "gpu-tlb", "bo-cpu-faults", "slab-counts",
}  # fmt: skip


@pytest.mark.parametrize(("machine", "kernel", "options", "lacks", "more"), GUESTS)
def test_guest_is_known_by_kernel_and_machine(
    machine: Machine, kernel: tuple[int, ...], options: dict[str, str], lacks: str, more: str
) -> None:
    known = of_guest.expectation(machine, kernel, {**DEBIAN, **options})
    assert set(known.has) == BASE - set(lacks.split()) | set(more.split())
    assert set(known.has) | set(known.lacks) == set(CAPABILITIES)
    assert not set(known.has) & set(known.lacks)
