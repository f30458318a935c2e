# SPDX-License-Identifier: MIT
"""The step that a test's check was about, and the comparison."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ioctl import xe
from ioctl.facts import spare
from reproduce.answers import elements, leaves
from reproduce.complaint import words_of_complaint
from reproduce.recorded import CALLS, Course, Step, makes_named, outputs

NEAR = 12
"""The value of a comparison is searched in that many of the last steps that looked at something."""


@dataclass
class Verdict:
    """The check of a test."""

    kind: str
    """errno, untouched, value, read, counter, wait, complaint, or answer: the test did not accept what was seen."""
    step: Step | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The check as it was recorded."""
    op: str = "=="
    """Relation of the actual value to the ``wanted`` one."""
    wanted: tuple[int, ...] = ()
    seen: int = 0
    """The actual value in the test."""
    path: str = ""
    """The field of an ioctl's answer that was compared."""
    first: Step | None = None
    """The step that read a counter before."""
    why: str = ""
    """The reason if no step fits, otherwise empty."""


def verdict_of(course: Course) -> Verdict:
    """The check that failed the test; its ``step`` is None, with the reason, if no step fits."""
    check, steps = course.check, course.steps
    kind = check["check"]
    if kind == "errno":
        calls = [step for step in steps if step.do in CALLS]
        found = _last(calls, lambda step: step.errno == check.get("seen", step.errno))
        return Verdict(kind, found or _last(calls, lambda _: True), check, why="no call failed")
    if kind == "untouched":
        return Verdict(kind, _last(steps, lambda step: step.do == "ioctl"), check, why="no ioctl failed")
    if kind == "load":
        return _of_load(steps, check)
    if kind == "present":
        found = _last(steps, lambda step: step.do == "present")
        expected = int(check["expected"])
        return Verdict(
            "value", found, check, wanted=(expected,), seen=1 - expected, why="no page was looked at"
        )
    if kind == "read":
        return Verdict(kind, _last(steps, lambda step: step.do == "read"), check, why="nothing was read")
    if kind == "complaint":
        words_of_complaint(check["said"])
        return Verdict(kind, _last(steps, lambda _: True), check, why="it did nothing")
    if kind == "counter":
        return _of_counter(steps, check)
    if kind == "wait":
        found = _last(steps, lambda step: step.do == "wait" and not step.fields.get("met"))
        looked = found is not None and any(step.looks or step.do == "ioctl" for step in found.condition)
        return Verdict(kind, found if looked else None, check, why="it waited for what the steps do not show")
    if kind == "compare" and (compared := _of_comparison(steps, check, course.message)) is not None:
        return compared
    return _of_answer(steps, check)


def _last(steps: list[Step], fits: Any) -> Step | None:
    return next((step for step in reversed(steps) if fits(step)), None)


def _of_load(steps: list[Step], check: Mapping[str, Any]) -> Verdict:
    loads = [step for step in steps if step.do == "load" and step.fields["size"] == check["size"]]
    back = int(check.get("back", 1))
    found = loads[-back] if len(loads) >= back else None
    if found is not None and found.fields["value"] != check["seen"]:
        # Loads of the same place and value in a row are one step.
        found = next((step for step in reversed(loads) if step.fields["value"] == check["seen"]), None)
    return Verdict(
        "value",
        found,
        check,
        wanted=(int(check["expected"]),),
        seen=int(check["seen"]),
        why="no load saw the value",
    )


def _of_counter(steps: list[Step], check: Mapping[str, Any]) -> Verdict:
    reads = [step for step in steps if step.do == "counters" and check["name"] in step.fields["values"]]
    before = [step for step in reads[:-1] if step.fields["values"][check["name"]] == check["since"]]
    if not before:
        return Verdict("counter", None, check, why="the counter was not read before")
    return Verdict("counter", reads[-1], check, first=before[-1])


def _number(value: Any) -> bool:
    return isinstance(value, int)


def _of_comparison(steps: list[Step], check: Mapping[str, Any], message: str) -> Verdict | None:
    """The step that saw one side of a comparison."""
    op, left, right = check["op"], check["left"], check["right"]
    looked = [step for step in _flat(steps) if step.looks][-NEAR:]
    sides = (
        ((left, right, op), (right, left, _MIRRORED.get(op, ""))) if op in _MIRRORED else ((left, right, op),)
    )
    for seen, wanted, how in sides:
        if isinstance(seen, list) and isinstance(wanted, list) and op == "==" and len(seen) == len(wanted):
            loads = [step for step in looked if step.do == "load"][-len(seen) :]
            if seen and [step.fields["value"] for step in loads] == seen:
                at = next((i for i, (s, w) in enumerate(zip(seen, wanted, strict=True)) if s != w), None)
                if at is not None:
                    return Verdict("value", loads[at], check, wanted=(wanted[at],), seen=seen[at])
        if isinstance(seen, dict) and isinstance(wanted, dict) and op == "==" and "hex" in wanted:
            for step in reversed(looked):
                data = step.fields.get("data", {})
                if step.do == "read" and (
                    data == seen or ("hex" not in data and data.get("size") == seen["size"])
                ):
                    return Verdict("read", step, {"expected": wanted})
        values = tuple(wanted) if isinstance(wanted, list) and op in ("in", "not in") else (wanted,)
        if not _number(seen) or not all(map(_number, values)):
            continue
        # Whether something holds is a number of a page only: elsewhere a test worked it out.
        shown = [step for step in looked if step.do == "present" or not isinstance(seen, bool)]
        for step in reversed(shown):
            if (path := _path_of(step, int(seen), message)) is not None:
                return Verdict("value", step, check, op=how, wanted=values, seen=int(seen), path=path)
    return None


_MIRRORED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
"""The relation with both sides exchanged."""


def _flat(steps: list[Step]) -> Iterator[Step]:
    """Steps that can be judged: those that wait are not."""
    yield from (step for step in steps if step.do != "wait")


_WORD = re.compile(r"[a-zA-Z]+")
"""A word of a name: ``vram_used()`` in a message is about ``used``."""


def _path_of(step: Step, value: int, message: str) -> str | None:
    """Where a step has a value: empty if it has only that, the path of a field; None if nowhere."""
    if step.do == "load":
        return "" if step.fields["value"] == value else None
    if step.do == "present":
        return "" if bool(step.fields.get("value")) == bool(value) and value in (0, 1) else None
    if step.do != "ioctl" or isinstance(step.before, int):
        return None
    made = {name for _, _, name in makes_named(step)}
    found = [
        path
        for path, now, before in leaves(step.after, step.before)
        if now == value and (now != before or path in made)
    ]
    behind = {path: now for head, data in outputs(step) for path, now in elements(step, head, data)}
    found += [path for path, now in behind.items() if now == value]
    said = set(_WORD.findall(message))

    def likely(path: str) -> int:
        """Words of the message that a path has; the class of its region is one."""
        kind = behind.get(f"{path.rpartition('.')[0]}.mem_class")
        in_vram = kind == xe.DRM_XE_MEM_REGION_CLASS_VRAM
        return len(said & {*_WORD.findall(path), *(["vram"] if in_vram else [])})

    found = [path for path in found if not spare(re.split(r"\W", path.rstrip("]0123456789["))[-1])]
    return max(found, key=likely, default=None)


def _of_answer(steps: list[Step], check: Mapping[str, Any]) -> Verdict:
    """The last value that was checked: the same result is the fault."""
    found = _last(list(_flat(steps)), lambda step: step.looks or step.do == "ioctl")
    if found is not None and found.do in ("read", "counters"):
        return Verdict("answer", None, check, why="it compares what it worked out itself")
    seen = int(found.fields.get("value", 0)) if found is not None and found.do in ("load", "present") else 0
    return Verdict("answer", found, check, seen=seen, why="it looked at nothing that the steps show")
