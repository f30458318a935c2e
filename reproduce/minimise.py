# SPDX-License-Identifier: MIT
"""A program with fewer steps and smaller memory that fails in the same way: tried where the test failed."""

from __future__ import annotations

import contextlib
import ctypes
import math
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from common.answers import NoAnswerError
from ioctl import xe
from ioctl.compiler import Compiler
from reproduce.program import Words, program
from reproduce.recorded import Course, Step, makes, uses
from reproduce.trial import SECONDS, Place, Runner, compiled

MOST = 400
"""Maximum number of trials: each is a compilation and one or two runs."""
TIMES = 5
"""A smaller program may take that many times as long as the whole one, or LEAST_S if that is more."""
LEAST_S = 5.0
"""Seconds."""
PAGE = 4096
KEPT = ("open", "fork", "reap")
"""Steps that are never left out alone."""
LEAST = 1 << 16
"""The lowest address that a process maps."""
SPANS = ("mmap", "munmap", "mprotect", "madvise", "mlock", "munlock", "write", "read", "reserve")


@dataclass
class _Trials:
    words: Words
    compiler: Compiler
    folder: Path
    failing: Runner
    sound: Runner | None
    """The same place without its fault."""
    done: int = 0
    seconds: float = SECONDS
    """A smaller program that takes longer waits for what cannot come."""
    said: str = ""
    until: float = math.inf
    """Time of the monotonic clock after which nothing more is tried."""

    def fails(self, course: Course) -> bool:
        """Whether a course still shows the fault, and, where a sound place is known, not there."""
        if self.done >= MOST or time.monotonic() > self.until or not (_whole(course) and _waits(course)):
            return False
        self.done += 1
        try:
            text = program(course, self.words, self_contained=True)
            binary = compiled(self.compiler, text, self.folder, f"repro{self.done}")
        except NoAnswerError:
            return False
        began = time.monotonic()
        ended, said = self.failing.status(binary, self.seconds)
        if self.done == 1:
            self.seconds = min(max(LEAST_S, TIMES * (time.monotonic() - began)), SECONDS)
        if ended != 1 or (self.said and _kind(said) != _kind(self.said)):
            return False
        if self.sound is not None and self.sound.status(binary, self.seconds)[0] != 0:
            return False
        self.said = self.said or said
        return True


_PLACE = re.compile(r"\b(memory|word)\d+( [+-] 0x[0-9a-f]+)?")


def _kind(said: str) -> str:
    """A program's message about the fault, without the names of places, which are numbered."""
    return _PLACE.sub("memory", said)


def minimised(course: Course, words: Words, place: Place, compiler: Compiler) -> tuple[Course, str]:
    """The smallest course found, and a line about it. Raises NoAnswerError if the program does not fail."""
    with contextlib.ExitStack() as stack:
        failing = stack.enter_context(Runner(place))
        sound = stack.enter_context(Runner(place.sound)) if place.sound is not None else None
        return smallest(course, words, failing, sound, compiler, place.name)


def smallest(
    course: Course,
    words: Words,
    failing: Runner,
    sound: Runner | None,
    compiler: Compiler,
    name: str,
    *,
    budget: float = math.inf,
) -> tuple[Course, str]:
    """The same with runners, which are not closed. Raises NoAnswerError if the program does not fail.

    ``name`` is that of the place in messages; after ``budget`` seconds nothing more is tried.
    """
    with tempfile.TemporaryDirectory(prefix="svmcts-reproduce-") as folder:
        trials = _Trials(words, compiler, Path(folder), failing, sound)
        if not trials.fails(course):
            raise NoAnswerError(f"the program does not show the fault {name}: there is nothing to hold it to")
        trials.until = time.monotonic() + budget
        before = len(course.steps)
        smaller = _fewer(course, trials.fails)
        smaller = _shorter(smaller, trials.fails)
        smaller = _fewer(smaller, trials.fails)
        lines = [program(one, words, self_contained=True).count("\n") for one in (course, smaller)]
    most = f", the most there may be: {MOST}" if trials.done >= MOST else ""
    most += "" if sound is not None else "; none was tried where the fault is not"
    return (
        smaller,
        f"{before} steps became {len(smaller.steps)}, {lines[0]} lines {lines[1]}, in {trials.done} trials{most}",
    )


def _whole(course: Course) -> bool:
    """Whether earlier steps create everything that a step uses: ids of objects, offsets of mappings, memory.

    Ids of objects that the test never made are none of these: a broken driver accepts them.
    """
    all_made = {one for step in course.all_steps if step.do == "ioctl" for one in makes(step)}
    made: set[tuple[int, str, int]] = set()
    offsets: set[int] = set()
    mapped: list[tuple[int, int]] = []
    devices: set[int] = set()
    for step in course.steps:
        fields = step.fields
        if step.do == "open":
            devices.add(fields["fd"])
        elif step.do == "ioctl":
            if any(use in all_made and use not in made for use in uses(step)):
                return False
            made |= set(makes(step))
            if step.request is xe.DRM_IOCTL_XE_GEM_MMAP_OFFSET:
                offsets.add(step.after.offset)
        elif step.do == "mmap" and not step.errno:
            if fields["fd"] in devices and fields.get("offset", 0) not in offsets:
                return False
            mapped.append((fields["result"], fields["result"] + fields["size"]))
        elif step.do == "mremap" and not step.errno:
            mapped.append((fields["result"], fields["result"] + fields["new_size"]))
        elif step.do in ("load", "store", "read", "write") and fields["address"] >= LEAST:
            start, end = fields["address"], fields["address"] + fields["size"]
            own = any(low < end and start < high for low, high in mapped)
            if _placed(course, start) and not own:
                return False
    return True


def _waits(course: Course) -> bool:
    """Whether it still waits for every fence that the test waited for: a GPU needs it even if the mock does not."""
    waited = {_fence(step) for step in course.all_steps if _fence(step)}
    still = {_fence(step) for step in course.steps}
    return all(signal in still for step in course.steps for signal in _signals(step) if signal in waited)


def _fence(step: Step) -> tuple[int, int] | None:
    """Address and value of the fence that a step waits for."""
    if (
        step.do != "ioctl"
        or step.request is not xe.DRM_IOCTL_XE_WAIT_USER_FENCE
        or isinstance(step.before, int)
    ):
        return None
    return step.before.addr, step.before.value


def _signals(step: Step) -> Iterator[tuple[int, int]]:
    """Address and value of the fences that a step signals."""
    if step.do != "ioctl":
        return
    for capture in step.fields.get("nested", ()):
        data = bytes.fromhex(capture.get("before", ""))
        if capture["field"] == "syncs" and len(data) == capture["size"]:
            width = ctypes.sizeof(xe.drm_xe_sync)
            for at in range(0, len(data), width):
                sync = xe.drm_xe_sync.from_buffer_copy(data, at)
                yield sync.addr, sync.timeline_value


def _placed(course: Course, address: int) -> bool:
    """Whether an address is ever in a mapping of the test."""
    return any(
        low <= address < low + size
        for step in course.all_steps
        for low, size in [(step.fields.get("result", 0) or 0, step.fields.get("size", 0))]
        if step.do in ("mmap", "mremap")
    )


def _fewer(course: Course, fails: Callable[[Course], bool]) -> Course:
    """Leave out halves, quarters and so on, as long as the program still fails."""
    size = max(len(course.steps) // 2, 1)
    while True:
        at, left_out = len(course.steps), False
        while at > 0:
            start = max(at - size, 0)
            part = [step for step in course.steps[start:at] if step.do not in KEPT]
            if part:
                gone = {id(step) for step in part}
                tried = replace(course, steps=[step for step in course.steps if id(step) not in gone])
                if fails(tried):
                    course, left_out = tried, True
            at = start
        if size == 1 and not left_out:
            return course
        size = max(size // 2, 1)


def _shorter(course: Course, fails: Callable[[Course], bool]) -> Course:
    """Cut mappings, and all operations on them, to a page or to a half, as long as the program still fails."""
    for address, whole in [
        (step.fields["result"], step.fields["size"])
        for step in course.steps
        if step.do == "mmap" and not step.errno and step.fields["size"] > PAGE
    ]:
        size = whole
        for wanted in (PAGE, 1 << 16, *(whole >> shift for shift in range(3, 0, -1))):
            if PAGE <= wanted < size and wanted % PAGE == 0:
                tried = replace(course, steps=[_cut(step, address, size, wanted) for step in course.steps])
                if fails(tried):
                    course, size = tried, wanted
                    break
    return course


def _cut(step: Step, address: int, size: int, wanted: int) -> Step:
    """A step on a mapping of ``size`` bytes with ``wanted`` bytes of it instead; other steps as they are."""
    fields = dict(step.fields)
    if step.do in SPANS and fields.get("address") == address and fields.get("size") == size:
        fields["size"] = wanted
        if isinstance(fields.get("data"), dict) and "hex" in fields["data"]:
            fields["data"] = {**fields["data"], "size": wanted}
        return replace(step, fields=fields)
    if step.do == "ioctl" and isinstance(fields["before"], str):
        # Ranges of binds and of madvise are fields next to the address: cut where both are this mapping's.
        for name in ("before", "after"):
            if name in fields:
                fields[name] = _cut_hex(fields[name], address, size, wanted)
        return replace(step, fields=fields)
    return step


def _cut_hex(text: str, address: int, size: int, wanted: int) -> str:
    old, new = (number.to_bytes(8, "little").hex() for number in (size, wanted))
    where = address.to_bytes(8, "little").hex()
    return text.replace(old + where, new + where).replace(where + old, where + new)
