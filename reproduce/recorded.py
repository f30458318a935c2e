# SPDX-License-Identifier: MIT
"""The steps of a test as they were recorded (``ioctl.steps``), in the order in which they were taken."""

from __future__ import annotations

import ctypes
import errno
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.answers import NoAnswerError
from ioctl import drm, xe
from ioctl.about import Id, Pointer, Rows
from ioctl.decode import members
from ioctl.encoding import Request
from ioctl.layout import Structure
from ioctl.names import about
from ioctl.pointers import LIMIT
from ioctl.steps import FORMAT

REQUESTS = {request.name: request for request in (*drm.REQUESTS, *xe.REQUESTS)}
CALLS = ("ioctl", "mmap", "munmap", "mprotect", "mremap", "madvise", "mlock", "munlock")
"""Steps that give an errno."""
LEGS = 64
"""A course of steps has at most that many turns of threads."""

Actor = tuple[int, int]
"""Number of the process, 0 for the first, and of the thread in it."""


@dataclass
class Step:
    """One thing that a test did."""

    do: str
    fields: dict[str, Any]
    actor: Actor = (0, 0)
    at: int = 0
    """Nanoseconds of CLOCK_MONOTONIC."""
    until: int = 0
    """When it was over."""
    condition: list[Step] = field(default_factory=list)
    """The steps of a wait's last round."""

    @property
    def errno(self) -> int:
        """Its errno, 0 for success."""
        return int(self.fields.get("errno", 0))

    @property
    def request(self) -> Request:
        """The request of an ioctl."""
        return REQUESTS[self.fields["request"]]

    @property
    def before(self) -> Any:
        """The argument's structure before the call; a number where the test gave a number."""
        return self._structure("before")

    @property
    def after(self) -> Any:
        """The argument's structure after the call."""
        return self._structure("after" if "after" in self.fields else "before")

    def _structure(self, name: str) -> Any:
        given = self.fields[name]
        struct = self.request.struct
        if isinstance(given, int) or struct is None:
            return given
        return struct.from_buffer_copy(bytes.fromhex(given))

    @property
    def looks(self) -> bool:
        """Whether it reads something that may be as expected or not."""
        if self.do == "ioctl":
            return self.errno == 0 and ("after" in self.fields or bool(self.fields.get("nested")))
        return self.do in ("load", "read", "present", "counters")


@dataclass(frozen=True)
class Course:
    """All steps of a test, and what the check that failed it expected and saw."""

    steps: list[Step]
    check: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    message: str = ""
    """Failure of the test."""
    all_steps: tuple[Step, ...] = ()
    """As they were recorded, where ``steps`` are fewer."""

    @property
    def actors(self) -> list[Actor]:
        """Tasks with steps, the first thread first."""
        return sorted({step.actor for step in self.steps} | {(0, 0)})


def course(
    recorded: Mapping[str, Any], message: str = "", *, header: str = "", own: str = "", cut: str = ""
) -> Course:
    """Read the steps of a result; raises NoAnswerError, one line, if they are not valid.

    ``header`` is the hash of the uAPI header that the run was of, ``own`` that of this suite; ``cut`` is
    what is wrong with the line of the result.
    """
    if cut:
        raise NoAnswerError(f"its steps are not whole: {cut}")
    if not recorded:
        raise NoAnswerError(
            "the result has no steps: the suite that ran it did not record them, or its process died"
        )
    if recorded.get("format") != FORMAT:
        raise NoAnswerError(
            f"its steps have format {recorded.get('format')}, this suite reads {FORMAT}: take the suite that ran it"
        )
    if header and own and header != own:
        raise NoAnswerError(
            f"the run is of a suite with another uAPI header ({header}, here {own}): take the suite that ran it"
        )
    if dropped := recorded.get("dropped"):
        kept = len(recorded["steps"])
        raise NoAnswerError(
            f"the last {dropped} of {kept + dropped} steps are missing, with the one that failed"
        )
    if obstacle := recorded.get("obstacle"):
        raise NoAnswerError(f"it is not a list of steps: {obstacle}")
    check = recorded.get("check")
    if not check:
        raise NoAnswerError("the steps do not say what failed")
    try:
        steps = list(_steps(recorded["steps"][: _end(recorded["steps"], check)], 0))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NoAnswerError(f"its steps cannot be read: {type(error).__name__}: {error}") from None
    ended = {step.fields["child"] for step in steps if step.do == "reap"}
    if any(step.do == "fork" and step.fields["child"] not in ended for step in steps):
        raise NoAnswerError(
            "it failed while a child of it ran, of which it is not known what it would have done"
        )
    steps.sort(key=lambda step: step.at)
    # Signals are not recorded: a call that one interrupted did nothing, and was repeated.
    steps = [step for step in steps if not (step.do == "ioctl" and step.errno == errno.EINTR)]
    legs = sum(one.actor != other.actor for one, other in itertools.pairwise(steps))
    if legs > LEGS:
        raise NoAnswerError(
            f"it is not a list of steps: its threads took turns {legs} times, in no order of its own"
        )
    return Course(steps, check, tuple(recorded.get("needs", ())), message, tuple(steps))


def _end(steps: list[Mapping[str, Any]], check: Mapping[str, Any]) -> int:
    """Number of steps up to the check; later ones only clean up. A child's end is a step."""
    return int(check["after"]) + ("child" in check)


def _steps(recorded: Iterable[Mapping[str, Any]], process: int) -> Iterator[Step]:
    waiting: dict[Actor, Step] = {}
    for data in recorded:
        fields = {name: value for name, value in data.items() if name not in ("do", "at", "thread", "steps")}
        actor = process, int(data.get("thread", 0))
        step = Step(data["do"], fields, actor, int(data["at"]))
        step.until = step.at + int(fields.get("took", 0))
        if step.do == "ioctl":
            _ = step.request, step.before, step.after
        if step.do == "reap":
            yield from _steps(data.get("steps", ()), fields["child"])
        wait = waiting.get(actor)
        if step.do == "wait":
            waiting[actor] = step
        elif step.do == "waited" and wait is not None:
            wait.until, wait.fields["met"] = step.at, True
            yield waiting.pop(actor)
        elif wait is not None:
            wait.condition.append(step)
            wait.until = step.at
        else:
            yield step
    yield from waiting.values()


def outputs(step: Step) -> Iterator[tuple[str, bytes]]:
    """Data that the kernel wrote behind the pointers of an ioctl, by the field with the pointer."""
    for capture in step.fields.get("nested", ()):
        if "after" in capture and capture["size"] <= LIMIT:
            yield capture["field"], bytes.fromhex(capture["after"])


def makes(step: Step) -> Iterator[tuple[int, str, int]]:
    """Descriptor, sort and number of the objects that an ioctl made."""
    for sort, number, _ in makes_named(step):
        yield step.fields["fd"], sort, number


def makes_named(step: Step) -> Iterator[tuple[str, int, str]]:
    """Sort and number of the objects that an ioctl made, and the field that has it."""
    if step.errno or isinstance(step.before, int) or step.request.struct is None:
        return
    for name, meaning in meanings(step).items():
        if isinstance(meaning, Id) and meaning.made:
            yield meaning.sort, getattr(step.after, name), name


def uses(step: Step) -> Iterator[tuple[int, str, int]]:
    """Descriptor, sort and number of the objects that an ioctl that succeeded names."""
    if step.errno or isinstance(step.before, int) or step.request.struct is None:
        return
    fd = step.fields["fd"]
    structs = [(step.before, meanings(step))]
    for capture in step.fields.get("nested", ()):
        pointer = meanings(step).get(capture["field"])
        data = bytes.fromhex(capture.get("before", ""))
        kind = pointer.element(step.before) if isinstance(pointer, Pointer) else None
        if kind is None or isinstance(kind, Rows) or not isinstance(pointer, Pointer):
            continue
        width = ctypes.sizeof(kind)
        for at in range(0, len(data) - width + 1, width):
            element = kind.from_buffer_copy(data, at)
            if isinstance(element, Structure):
                structs.append((element, about(kind)))
            elif pointer.sort:
                yield fd, pointer.sort, element.value
    for holder, known in structs:
        for name, _, value in members(holder):
            meaning = known.get(name)
            if isinstance(meaning, Id) and not meaning.made and value:
                yield fd, meaning.sort, value
            if isinstance(value, Structure):
                for inner, _, number in members(value):
                    said = about(type(value)).get(inner)
                    if isinstance(said, Id) and number:
                        yield fd, said.sort, number


def meanings(step: Step) -> Mapping[str, Any]:
    """Meaning of the fields of an ioctl's structure."""
    struct = step.request.struct
    return about(struct, step.request) if struct is not None else {}
