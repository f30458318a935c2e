# SPDX-License-Identifier: MIT
"""Known reasons of subtests that do not pass. Any other failure is assumed to be a fault of the emulated GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from guest.igt.results import Result


@dataclass(frozen=True)
class Reason:
    """Explains results of ``subtests`` (a shell pattern of program@subtest) with these outcomes and this message."""

    kind: str
    subtests: str
    outcomes: tuple[str, ...]
    message: str
    """A regular expression to search in the result's message."""
    why: str

    def explains(self, result: Result) -> bool:
        """Whether this is the reason of a result."""
        return (
            result.outcome in self.outcomes
            and fnmatchcase(str(result.key), self.subtests)
            and re.search(self.message, result.message) is not None
        )


SKIP, FAIL = ("skip",), ("fail",)
HARDWARE = "other hardware"
PF_ONLY = "PF only"
SHADER = "arbitrary shader"
KERNEL = "kernel finding"
CONFIG = "kernel configuration"
IGT = "IGT's own bug"
SLOW = "slow without KVM"

REASONS: tuple[Reason, ...] = (
    Reason(PF_ONLY, "xe_query@*cs-cycles", SKIP, "query_engine_cycles_supported",
        "a virtual function may not read the engines' clocks (xe_query.c:query_engine_cycles)"),
    Reason(PF_ONLY, "xe_exec_reset@gt-mocs-reset", SKIP, "igt_debugfs_exists",
        "a virtual function does not show its MOCS registers (xe_gt_debugfs.c: pf_only_debugfs_list)"),
    Reason(IGT, "xe_query@multigpu-query-*cs-cycles", FAIL, "SIGABRT",
        "the requirement above fails in a child process, where IGT's igt_skip asserts that it is not"),
    Reason(HARDWARE, "*@*multi-queue*", SKIP, "xe_has_multi_queue_engine",
        "multi-queue groups come with Xe3p"),
    Reason(CONFIG, "xe_vm@bind-array-conflict-error-inject", FAIL, "errno",
        "the error is injected by kernels with CONFIG_DRM_XE_DEBUG only; Debian's has it off, and refuses the flag"),
    Reason(KERNEL, "xe_vm@overcommit-nonfault-vram-lr-external-nodefer", FAIL, "errors == 0",
        "an object evicted before the first queue of a long-running VM stays mapped (docs/findings.md)"),
    Reason(SHADER, "xe_exec_store@long-shader-bb-check", FAIL, "LONG_SHADER_VALUE",
        "runs a shader of its own; the emulated GPU executes commands, not shaders"),
    Reason(SLOW, "xe_exec_threads@*-userptr-invalidate-race", FAIL, "^",
        "another thread replaces the memory without a pause, and the kernel gives up pinning it after one second "
        "(EBUSY; drm_gpusvm.c, HMM_RANGE_DEFAULT_TIMEOUT)"),
    Reason(SLOW, "xe_exec_threads@threads-many-queues", ("timeout",), "^",
        "did not end within its limit of one minute on a busy machine"),
    Reason(SLOW, "xe_exec_system_allocator@*-benchmark", ("timeout",), "^",
        "a benchmark that moves gigabytes; its output shows progress"),
)  # fmt: skip


def reason_of(result: Result) -> Reason | None:
    """The first reason that explains a result."""
    return next((reason for reason in REASONS if reason.explains(result)), None)
