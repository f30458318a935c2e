# SPDX-License-Identifier: MIT
"""Selection of subtests, and the machine of each program.

The programs are those about virtual memory, execution and SVM. One of them has nearly two thousand subtests, most of
which repeat a pattern many times, in processes or in threads: a sample of each such family is run, chosen by a seed.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from guest import GuestError


@dataclass(frozen=True)
class Setting:
    """The machine of a program: number of GPUs, memory in GiB, and options of the emulator."""

    gpus: int = 2
    memory: int = 4
    emulator: tuple[str, ...] = ("--vram", "1G")


PLAIN = Setting()
LARGE = Setting(emulator=("--vram", "3G"))
"""With room for objects of 2 GiB and more."""
SMALL_BAR = Setting(emulator=("--vram", "1G", "--bar", "256M"))
LITTLE_MEMORY = Setting(memory=2)
"""Little memory, for programs that fill it."""
MEDIA = Setting(emulator=("--vram", "1G", "--media"))
"""Two engines of one class, for virtual and parallel queues: only a media GT exposes them to user space."""

SETTINGS = {
    "xe_query": PLAIN,
    "xe_create": PLAIN,
    "xe_mmap": SMALL_BAR,
    "xe_vm": LARGE,
    "xe_waitfence": PLAIN,
    "xe_exec_basic": PLAIN,
    "xe_exec_store": PLAIN,
    "xe_exec_atomic": PLAIN,
    "xe_exec_fault_mode": PLAIN,
    "xe_exec_compute_mode": PLAIN,
    "xe_exec_mix_modes": PLAIN,
    "xe_exec_reset": MEDIA,
    "xe_exec_balancer": MEDIA,
    "xe_exec_threads": MEDIA,
    "xe_evict": PLAIN,
    "xe_madvise": PLAIN,
    "xe_svm_usrptr_madvise": PLAIN,
    "xe_userptr_pressure": LITTLE_MEMORY,
    "xe_tlb": PLAIN,
    "xe_exec_system_allocator": PLAIN,
    "xe_multigpu_svm": PLAIN,
    "xe_peer2peer": PLAIN,
}
"""Programs to run, in this order."""

FAMILIES = {
    "xe_exec_system_allocator": re.compile(
        r"(?:many|process-many|threads-many|threads-shared-vm-many)(?:-64k|-large|-stride|-execqueues)*"
    )
}
"""Subtests of these programs that match are sampled: some of each family (the text that matches) are run."""


def families(program: str, subtests: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Subtests to run in any case, and the families of the others."""
    pattern = FAMILIES.get(program)
    always, sampled = [], defaultdict(list)
    for name in subtests:
        if pattern is not None and (found := pattern.match(name)):
            sampled[found[0]].append(name)
        else:
            always.append(name)
    return always, dict(sampled)


def choose(program: str, subtests: Sequence[str], sample: int | None, seed: int) -> list[str]:
    """The subtests to run; at most ``sample`` of each family (None: all)."""
    if sample is None:
        return list(subtests)
    always, sampled = families(program, subtests)
    chosen = set(always)
    for family, names in sorted(sampled.items()):
        chosen.update(random.Random(f"{seed} {program} {family}").sample(names, min(sample, len(names))))
    return [name for name in subtests if name in chosen]


def setting(program: str) -> Setting:
    """The machine of a program; the default one if it is not in the list."""
    return SETTINGS.get(program, PLAIN)


def matching(programs: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The programs to run: the listed ones, or those that match a shell pattern. Raises GuestError if none matches."""
    if not patterns:
        if missing := [name for name in SETTINGS if name not in programs]:
            raise GuestError(f"this IGT has no {missing[0]}")
        return list(SETTINGS)
    order = [*SETTINGS, *(name for name in programs if name not in SETTINGS)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in programs):
            raise GuestError(f"no test program matches {pattern!r}")
    return [
        name for name in order if name in programs and any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
