# SPDX-License-Identifier: MIT
"""The memory of a device in a test's steps: how much of it is in use, and sizes that depend on how much there is.

Neither is the same on another device, or in another run on the same one, so a program compares what is in use with
what was in use before, and works out sizes as the test did, from the answer of DEVICE_QUERY_MEM_REGIONS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ioctl import xe
from reproduce.answers import elements
from reproduce.recorded import Step, outputs
from reproduce.verdict import Verdict

CHUNK = 1 << 21
"""Sizes that depend on a region's are rounded down to that."""
LEAST = 4
"""An object of less than a region's size by this does not depend on it."""
MOST_PARTS = 64
ACTS = frozenset({xe.DRM_IOCTL_XE_EXEC, xe.DRM_IOCTL_XE_VM_BIND, xe.DRM_IOCTL_XE_MADVISE})


def used(step: Step) -> dict[str, int]:
    """Numbers of an answer with the used bytes of a region, by their paths."""
    return {path: value for path, value in _numbers(step) if path.rpartition(".")[2] == "used"}


def _numbers(step: Step) -> Iterator[tuple[str, int]]:
    if step.do == "ioctl" and step.request is xe.DRM_IOCTL_XE_DEVICE_QUERY:
        for head, data in outputs(step):
            yield from elements(step, head, data)


def _vram(step: Step) -> dict[str, dict[str, int]]:
    """The VRAM regions of an answer: path of the region, with a dot at its end, to its numbers."""
    regions: dict[str, dict[str, int]] = {}
    for path, value in _numbers(step):
        region, _, name = path.rpartition(".")
        regions.setdefault(f"{region}.", {})[name] = value
    return {
        region: numbers
        for region, numbers in regions.items()
        if numbers.get("mem_class") == xe.DRM_XE_MEM_REGION_CLASS_VRAM
    }


def baseline(steps: Sequence[Step], verdict: Verdict) -> tuple[Step | None, Step | None]:
    """The query that a check of memory in use compares with, and the query that it judges; None if it has not both."""
    before, judged = _queries(steps, verdict)
    return (before, judged) if before is not None else (None, None)


def _queries(steps: Sequence[Step], verdict: Verdict) -> tuple[Step | None, Step | None]:
    step = verdict.step
    if step is None:
        return None, None
    if verdict.kind == "wait":
        # For something to be given back: the last that saw less of it in use.
        last = next((one for one in reversed(step.condition) if one.do == "ioctl"), None)
        now = used(last) if last is not None else {}
        for one in reversed(steps):
            before = used(one)
            if before.keys() == now.keys() and any(before[path] < now[path] for path in now):
                return one, last
        return None, None
    if not (now := used(step)):
        return None, None
    earlier = [one for one in _before(steps, step) if used(one).keys() == now.keys()]
    if verdict.kind == "value":
        path = verdict.path
        same = next((one for one in reversed(earlier) if used(one).get(path) in verdict.wanted), None)
        return same or next(reversed(earlier), None), step
    return next(reversed(earlier), None), step


def _before(steps: Sequence[Step], last: Step) -> list[Step]:
    """Steps before the last act on memory that came before a query."""
    until = next(index for index, step in enumerate(steps) if step is last)
    acts = [
        index
        for index, step in enumerate(steps[:until])
        if step.do in ("munmap", "madvise", "mmap", "load", "store")
        or (step.do == "ioctl" and step.request in ACTS)
    ]
    return list(steps[: acts[-1]]) if acts else []


def grown(steps: Sequence[Step], before: Step, now: Step) -> dict[str, bool]:
    """Whether more of each region of VRAM is in use: by half of the largest memory of the test, or more."""
    half = threshold(steps)
    old, new = used(before), used(now)
    return {path: new[path] > old[path] + half for region in _vram(now) if (path := f"{region}used") in new}


def threshold(steps: Sequence[Step]) -> int:
    """Bytes by which more is in use if memory of the test has moved there: half of the largest."""
    return (
        max((step.fields["size"] for step in steps if step.do == "mmap" and step.fields["fd"] < 0), default=0)
        // 2
    )


@dataclass
class Room:
    """Sizes of a test that are a part of a device's VRAM, and the query that they come from."""

    query: Step | None = None
    path: str = ""
    """Where its answer has the size of the VRAM."""
    total: int = 0
    """That size: offsets of the test may need as much."""
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Size to the parts of the whole that it is, and of how many."""


def room(steps: Sequence[Step]) -> Room:
    """Objects of a test in VRAM that are so large that they have to do with how much there is of it."""
    found = Room()
    for step in steps:
        if step.do != "ioctl" or step.errno:
            continue
        if found.query is None and (regions := _vram(step)):
            region, numbers = next(iter(regions.items()))
            found.query, found.path, found.total = step, f"{region}total_size", numbers["total_size"]
            placement = 1 << numbers["instance"]
        elif found.query is not None and step.request is xe.DRM_IOCTL_XE_GEM_CREATE:
            size: int = step.before.size
            if step.before.placement & placement and size * LEAST >= found.total:
                found.sizes[size] = _parts(size, found.total)
    return found


def _parts(size: int, total: int) -> tuple[int, int]:
    """A size as parts of a whole."""
    for of in range(1, MOST_PARTS):
        for parts in range(1, of + 1):
            if total // of * parts // CHUNK * CHUNK == size:
                return parts, of
    return round(size * MOST_PARTS / total), MOST_PARTS
