# SPDX-License-Identifier: MIT
"""The steps of a test as a C program: it ends with 1 where the fault is, with 0 where it is not."""

from __future__ import annotations

import ctypes
import errno
import mmap as _mmap
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from common.answers import NoAnswerError
from gpu import decode
from gpu.encoding import Address
from ioctl import drm, names, xe
from ioctl.about import Chain, Family, Id, Pointer, Rows
from ioctl.decode import members
from ioctl.facts import c_type
from ioctl.layout import Structure, Union, char, u64
from ioctl.steps import unpacked
from reproduce.answers import elements, leaves
from reproduce.complaint import words_of_complaint
from reproduce.helpers import helpers, includes
from reproduce.places import PAGE, Places
from reproduce.recorded import Actor, Course, Step, makes_named, outputs
from reproduce.room import baseline, grown, room, threshold, used
from reproduce.structures import definitions
from reproduce.verdict import Verdict, verdict_of

NODE = "/dev/dri/renderD128"
MOST = 1 << 16
"""Bytes of data that a program has in one place."""
_FLAGS = {
    "MAP_SHARED": _mmap.MAP_SHARED,
    "MAP_PRIVATE": _mmap.MAP_PRIVATE,
    "MAP_FIXED": 0x10,
    "MAP_ANONYMOUS": _mmap.MAP_ANONYMOUS,
    "MAP_NORESERVE": 0x4000,
    "MAP_POPULATE": _mmap.MAP_POPULATE,
    "MAP_HUGETLB": 0x40000,
    "MAP_FIXED_NOREPLACE": 0x100000,
}
_PROTECTIONS = {"PROT_READ": 1, "PROT_WRITE": 2, "PROT_EXEC": 4}
_MREMAP = {"MREMAP_MAYMOVE": 1, "MREMAP_FIXED": 2, "MREMAP_DONTUNMAP": 4}
_ADVICE = {
    value: name for name, value in vars(_mmap).items() if name.startswith("MADV_") and isinstance(value, int)
} | {20: "MADV_COLD", 21: "MADV_PAGEOUT", 22: "MADV_POPULATE_READ", 23: "MADV_POPULATE_WRITE"}
_CLAIMS = {
    "vram": "DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM",
    "cpu-addr-mirror": "DRM_XE_QUERY_CONFIG_FLAG_HAS_CPU_ADDR_MIRROR",
}
"""Capabilities of tests that a device's configuration tells."""
_CHECKS = {"small-bar": "small_bar({fd});", "uncleared-memory": "uncleared();"}
"""Capabilities of tests for which helpers.c has a function of their own."""
_ABSOLUTE = {"timeout_nsec", "deadline_nsec"}
"""Fields that have a point of time, not a duration."""
_COUNTS = {"value", "size", "num_mem_ranges", "first_signaled"}
"""Fields of an answer that may be what they were before the call."""
COMPLAINT_NS = 5_000_000_000
"""Time in which a message of the kernel has to come: a worker may be late with it."""
ROOM = 512
"""Words for the answer of a query: that of another device may be longer."""
MOST_PARTS = 64
"""Numbers of an answer that are compared."""
_ASKS = {
    xe.DRM_IOCTL_XE_DEVICE_QUERY,
    xe.DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY,
    xe.DRM_IOCTL_XE_VM_GET_PROPERTY,
    xe.DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS,
}
"""Requests that do nothing but answer."""
_MACROS = {xe.DRM_IOCTL_XE_WAIT_USER_FENCE: "WAIT", xe.DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY: "ASK"}
"""Requests on whose result later steps do not depend, with their macros of helpers.c."""
_UAPI = re.compile(r"\b(?:DRM|drm)_\w+")
"""A name of the uAPI headers."""
_SWAPS = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


@dataclass(frozen=True)
class Words:
    """Comment of the program."""

    title: str
    behaviours: tuple[str, ...] = ()
    """Paragraphs: what is promised, and by whom."""
    seen: str = ""
    """Failure of the test, in one line."""
    where: str = ""
    """Environment and kernel."""


def program(course: Course, words: Words, *, self_contained: bool = False) -> str:
    """The program, with a newline at its end; raises NoAnswerError, one line, for steps that cannot be written."""
    return _Program(course).text(words, self_contained=self_contained)


@dataclass
class _Body:
    """Lines of a function, without their indentation."""

    lines: list[str] = field(default_factory=list)


class _Program:
    def __init__(self, course: Course) -> None:
        self.course = course
        self.places = Places(course.steps)
        self.verdict: Verdict = verdict_of(course)
        self.batches = _batches(course.steps)
        self.used: set[str] = set()
        """Names of the uAPI headers."""
        self.bodies: dict[Actor, _Body] = {actor: _Body() for actor in course.actors}
        self.globals: list[str] = []
        self.numbers: dict[str, int] = {}
        self.ids: dict[tuple[int, str, int], str] = {}
        """A device's variable, a sort of object and its number, to the variable that has the number."""
        self.fds: dict[int, str] = {}
        self.paths: list[str] = []
        self.files: dict[str, str] = {}
        self.offsets: dict[tuple[str, int], str] = {}
        self.replies: dict[tuple[str, int, int], str] = {}
        """A device's variable, a query and the size of its answer, to the variable that has the size."""
        self.body = self.bodies[0, 0]
        self.baseline, self.baseline_of = baseline(course.steps, self.verdict)
        self.room = room(course.steps)

    # Lines

    def line(self, text: str = "") -> None:
        self.body.lines.extend(text.split("\n") if text else [""])

    def new(self, prefix: str) -> str:
        """A name that the program does not have yet."""
        self.numbers[prefix] = number = self.numbers.get(prefix, 0) + 1
        return f"{prefix}{number}"

    def variable(self, kind: str, prefix: str) -> str:
        """A variable of the whole file."""
        name = self.new(prefix)
        self.globals.append(f"static {kind} {name};")
        return name

    def name(self, name: str) -> str:
        """A name of the headers that the program uses."""
        self.used.add(name)
        return name

    # Numbers

    def number(self, value: int, family: Family | None = None, bits: int = 64) -> str:
        """A number as names of the header, as an address of the program, or plain."""
        if family is not None:
            parts = names.spell(family, value, bits)
            return " | ".join(self.name(part) if isinstance(part, str) else _plain(part) for part in parts)
        if value > PAGE and (known := self.places.known(value)):
            return known
        return _plain(value)

    def fd(self, number: int) -> str:
        """The variable of a descriptor."""
        if number not in self.fds:
            self.open(number, NODE)
        return self.fds[number]

    def open(self, number: int, path: str) -> None:
        self.fds[number] = name = self.variable("int", "fd")
        if path not in self.paths:
            self.paths.append(path)
        at = self.paths.index(path) + 1
        self.line(f'{name} = open_device({at}, "{_quoted(path)}");')

    # Steps

    def text(self, words: Words, *, self_contained: bool) -> str:
        for word in self._unknown_words():
            self.places.memory(word)
        self._legs()
        self.body = self.bodies[0, 0]
        return self._assembled(words, self_contained=self_contained)

    def _unknown_words(self) -> Iterator[int]:
        """Addresses of fences and loads that are in no mapping of the test: they get variables before any use."""
        for step in self.course.steps:
            for one in (step, *step.condition):
                if one.do in ("load", "store"):
                    yield one.fields["address"]
                elif one.do == "ioctl":
                    yield from _fences(one)

    def _legs(self) -> None:
        """Write all steps; where another thread's step comes next, both wait for their turns."""
        steps = self.course.steps
        several = len(self.course.actors) > 1
        turn = 0
        for index, step in enumerate(steps):
            self.body = self.bodies[step.actor]
            first = index == 0 or steps[index - 1].actor != step.actor
            last = index + 1 < len(steps) and steps[index + 1].actor != step.actor
            if several and first and index:
                turn += 1
                self.line(f"turn({turn});")
            # The program cannot wait for what is still running when the next thread's step begins.
            early = several and last and step.until > steps[index + 1].at
            if early:
                self.line(f"over({turn});")
            self.step(step)
            if several and last and not early:
                self.line(f"over({turn});")
        if self.verdict.kind == "complaint":
            kind, words = words_of_complaint(self.verdict.facts["said"])
            self.body = self.bodies[0, 0]
            self.line(f'complained("{_quoted(kind)}", "{_quoted(words)}", {COMPLAINT_NS}LL);')
        if self.verdict.step is None:
            raise NoAnswerError(f"its check cannot be written: {self.verdict.why}")

    def step(self, step: Step) -> None:
        """Write a step, and the check if it is the one that failed."""
        if step.do == "ioctl":
            self._ioctl(step)
        elif step.do == "wait":
            self._wait(step)
        else:
            getattr(self, f"_{step.do}")(step, step.fields)

    def judged(self, step: Step) -> bool:
        """Whether a step is the one that failed the test."""
        return step is self.verdict.step and self.verdict.kind != "complaint"

    def _open(self, step: Step, fields: Mapping[str, Any]) -> None:
        self.open(fields["fd"], fields["path"])
        if len(self.fds) > 1:
            return
        fd, needs = self.fds[fields["fd"]], self.course.needs
        if flags := [flag for need, flag in _CLAIMS.items() if need in needs]:
            self.line(f"claims({fd}, {' | '.join(map(self.name, flags))});")
        for need, check in _CHECKS.items():
            if need in needs:
                self.line(check.format(fd=fd))

    def _close(self, step: Step, fields: Mapping[str, Any]) -> None:
        self.line(f"close({self.fd(fields['fd'])});")
        self.fds.pop(fields["fd"])

    def _dup(self, step: Step, fields: Mapping[str, Any]) -> None:
        fd, to = self.fd(fields["fd"]), fields["to"]
        if to in self.fds:
            self.line(f"dup2({fd}, {self.fds[to]});")
        else:
            self.fds[to] = name = self.variable("int", "fd")
            self.line(f"{name} = dup({fd});")

    def _reserve(self, step: Step, fields: Mapping[str, Any]) -> None:
        flags = "MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED"
        self.line(f"map({self._at(fields)}, {_plain(fields['size'])}, PROT_NONE, {flags}, -1, 0);")

    def _at(self, fields: Mapping[str, Any], name: str = "address") -> str:
        return self.number(fields[name])

    def _mmap(self, step: Step, fields: Mapping[str, Any]) -> None:
        descriptor, offset = "-1", _plain(fields.get("offset", 0))
        if fields["fd"] in self.fds:
            descriptor = self.fds[fields["fd"]]
            offset = self.offsets.get((descriptor, fields.get("offset", 0)), offset)
        elif fields["fd"] >= 0:
            descriptor = self._file(fields)
        protection = _flags(_PROTECTIONS, fields["protection"], "PROT_NONE")
        flags = fields["flags"]
        rest = f"{protection}, {{}}, {descriptor}, {offset}"
        if step.errno:
            what = f"mmap((void *)({self._at(fields)}), {_plain(fields['size'])}, {rest}) == MAP_FAILED"
            self._system(step, what.format(_flags(_FLAGS, flags)))
            return
        where = self.number(fields["result"])
        fixed = flags if flags & (0x10 | 0x100000) else flags | 0x10
        self.line(f"map({where}, {_plain(fields['size'])}, {rest.format(_flags(_FLAGS, fixed))});")

    def _file(self, fields: Mapping[str, Any]) -> str:
        """A file like the one that was mapped: in memory, of its size."""
        key = fields.get("file", str(fields["fd"]))
        if key not in self.files:
            size = max(int(key.rpartition(":")[2] or 0), fields["size"] + fields.get("offset", 0))
            if size > 1 << 40:
                raise NoAnswerError("it maps a descriptor of which the steps do not say what it is")
            self.files[key] = name = self.variable("int", "file")
            self.line(f"{name} = file_of({_plain(size)});")
        return self.files[key]

    def _system(self, step: Step, call: str) -> None:
        """A system call that gives 0, or -1 and an errno."""
        if self.judged(step):
            self.line(f"code = ({call}) ? errno : 0;")
            self._judge_errno(step, step.do)
        else:
            self.line(f"CHECK({call}, {_errno(step.errno)});")

    def _munmap(self, step: Step, fields: Mapping[str, Any]) -> None:
        self._system(step, f"munmap((void *)({self._at(fields)}), {_plain(fields['size'])})")

    def _mprotect(self, step: Step, fields: Mapping[str, Any]) -> None:
        protection = _flags(_PROTECTIONS, fields["protection"], "PROT_NONE")
        self._system(step, f"mprotect((void *)({self._at(fields)}), {_plain(fields['size'])}, {protection})")

    def _madvise(self, step: Step, fields: Mapping[str, Any]) -> None:
        advice = _ADVICE.get(fields["advice"], str(fields["advice"]))
        self._system(step, f"madvise((void *)({self._at(fields)}), {_plain(fields['size'])}, {advice})")

    def _mlock(self, step: Step, fields: Mapping[str, Any]) -> None:
        self._system(step, f"{step.do}((void *)({self._at(fields)}), {_plain(fields['size'])})")

    _munlock = _mlock

    def _mremap(self, step: Step, fields: Mapping[str, Any]) -> None:
        flags = fields["flags"]
        to = fields["new_address"] or fields.get("result", 0)
        # Without an address of its own the kernel chose one; here it is to be the variable's.
        moved = not step.errno and fields["result"] != fields["address"]
        fixed = flags | (2 | 1 if moved else 0)
        where = f", (void *)({self.number(to)})" if fixed & 2 else ""
        call = (
            f"mremap((void *)({self._at(fields)}), {_plain(fields['size'])}, {_plain(fields['new_size'])}, "
            f"{_flags(_MREMAP, fixed)}{where}) == MAP_FAILED"
        )
        self._system(step, call)

    def _load(self, step: Step, fields: Mapping[str, Any]) -> None:
        bits = 8 * fields["size"]
        seen = f"load{bits}({self.places.memory(fields['address'])})"
        if self.judged(step):
            self._judge_value(step, seen, f"{bits} bits at {self._short(fields['address'])}")
        else:
            self.line(f"SAW({seen}, {self.number(fields['value'])});")

    def _short(self, address: int) -> str:
        return self.places.memory(address)

    def _store(self, step: Step, fields: Mapping[str, Any]) -> None:
        bits = 8 * fields["size"]
        self.line(
            f"store{bits}({self.places.memory(fields['address'])}, {self.number(fields['value'] % (1 << bits))});"
        )

    def _read(self, step: Step, fields: Mapping[str, Any]) -> None:
        where, size = self._at(fields), _plain(fields["size"])
        if self.judged(step):
            self._judge_read(step, where, size)
        else:
            self.line(f"touch({where}, {size});")

    def _write(self, step: Step, fields: Mapping[str, Any]) -> None:
        data = fields["data"]
        if not data.get("hex"):
            if data["size"]:
                raise NoAnswerError(f"it stores {data['size']} bytes without a pattern")
            return
        where = self._at(fields)
        pattern = bytes.fromhex(data["hex"])
        if id(step) in self.batches and (whole := unpacked(data)) is not None:
            self._batch(where, whole, fields["address"])
        elif len(pattern) < data["size"]:
            self.line(f"fill({where}, {_plain(data['size'])}, {_string(pattern)}, {len(pattern)});")
        elif len(pattern) <= 16:
            self.line(f"memcpy((void *)({where}), {_string(pattern)}, {len(pattern)});")
        else:
            self.line(f"memcpy((void *)({where}), {self._bytes(pattern)}, {len(pattern)});")

    def _bytes(self, data: bytes) -> str:
        """Constant bytes."""
        if len(data) > MOST:
            raise NoAnswerError(f"it stores {len(data)} bytes without a pattern")
        name = self.new("bytes")
        rows = [data[at : at + 16] for at in range(0, len(data), 16)]
        body = "\n".join("\t" + " ".join(f"{byte:#04x}," for byte in row) for row in rows)
        self.globals.append(f"static const unsigned char {name}[] = {{\n{body}\n}};")
        return name

    def _batch(self, where: str, data: bytes, address: int) -> None:
        """A batch, one line a command."""
        name = self.new("batch")
        self.line(f"uint32_t {name}[] = {{")
        for instruction in decode(data, address):
            words = list(instruction.words)
            parts: list[str] = []
            places = _addresses(instruction.command, words)
            at = 0
            while at < len(words):
                value = words[at] | words[at + 1] << 32 if at + 1 < len(words) else 0
                if at in places and value > PAGE and (known := self.places.known(value)):
                    parts.append(f"ADDRESS({known})")
                    at += 2
                else:
                    parts.append(f"{words[at]:#x}")
                    at += 1
            self.line(f"\t/* {instruction.name} */ {', '.join(parts)},")
        self.line("};")
        self.line(f"memcpy((void *)({where}), {name}, sizeof({name}));")

    def _present(self, step: Step, fields: Mapping[str, Any]) -> None:
        seen = f"present({self._at(fields)})"
        if self.judged(step):
            self._judge_value(step, seen, f"{self._at(fields)} in system memory")
        else:
            self.line(f"SAW({seen}, {int(fields.get('value', 0))});")

    def _counters(self, step: Step, fields: Mapping[str, Any]) -> None:
        check = self.verdict
        if check.kind != "counter" or step not in (check.first, check.step):
            return
        fd = next((name for number, name in self.fds.items() if number >= 0), "fd1")
        gt = check.facts.get("gt")
        seen = f'counter({fd}, {-1 if gt is None else gt}, "{check.facts["name"]}")'
        if step is check.first:
            self.globals.append("static long long since;")
            self.line(f"since = {seen};")
        if not self.judged(step):
            return
        by = check.facts.get("by")
        wrong = f"{seen} - since <= 0" if by is None else f"{seen} - since != {by}"
        self.line(f"if ({wrong})")
        how = "did not rise" if by is None else f"did not rise by {by}"
        self.line(f'\tend(FAULT, "{check.facts["name"]} {how}");')

    def _put(self, step: Step, fields: Mapping[str, Any]) -> None:
        self.line(f'put("{_quoted(fields["path"])}", "{_quoted(fields.get("text", ""))}");')

    def _get(self, step: Step, fields: Mapping[str, Any]) -> None:
        self.line(f'get("{_quoted(fields["path"])}");')

    def _fork(self, step: Step, fields: Mapping[str, Any]) -> None:
        name = f"child{fields['child']}"
        self.globals.append(f"static pid_t {name};")
        actor = fields["child"], 0
        self.line(f"{name} = fork();")
        self.line(f"if ({name} < 0)")
        self.line('\tend(OTHERWISE, "fork: %s", strerror(errno));')
        self.line(f"if (!{name}) {{")
        if actor in self.bodies:
            self.line(f"\t{_function(actor)}();")
        self.line("\t_exit(0);")
        self.line("}")

    def _reap(self, step: Step, fields: Mapping[str, Any]) -> None:
        self.line(f"reap(child{fields['child']}, {fields.get('signal', 0)});")

    def _waited(self, step: Step, fields: Mapping[str, Any]) -> None:
        """A wait that began before the steps did."""

    # Waits

    def _wait(self, step: Step) -> None:
        """Repeat what the test looked at until it is as it was in the end, for at most as long as the test did."""
        looked = [one for one in step.condition if one.looks or one.do == "ioctl"]
        nanoseconds = int(step.fields["deadline"] * 1_000_000_000)
        what = step.fields.get("what", "the condition")
        if not looked:
            for one in step.condition:
                self.step(one)
            return
        last, met = looked[-1], step.fields.get("met", False)
        by = self.new("by")
        self.line(f"/* {_comment(what)} */")
        self.line(f"for (long long {by} = deadline({nanoseconds}LL);;) {{")
        outer, self.body = self.body, _Body()
        for one in step.condition:
            if one is not last:
                self.step(one)
        condition = self._condition(last)
        self.line(f"if ({condition if met else f'!({condition})'})")
        self.line("\tbreak;")
        self.line(f"if (now() > {by})")
        ended = "OTHERWISE" if met else "FAULT"
        self.line(f'\tend({ended}, "%s", "timed out waiting for {_quoted(_comment(what))}");')
        self.line("usleep(100);")
        inner, self.body = self.body, outer
        self.line("\n".join(f"\t{text}" for text in inner.lines))
        self.line("}")

    def _condition(self, step: Step) -> str:
        """That what is seen is what was seen in the test."""
        fields = step.fields
        match step.do:
            case "load":
                bits = 8 * fields["size"]
                return (
                    f"load{bits}({self.places.memory(fields['address'])}) == {self.number(fields['value'])}"
                )
            case "present":
                return f"present({self._at(fields)}) == {int(fields.get('value', 0))}"
            case "ioctl":
                argument = self._call(step, tried=bool(step.errno))
                if step.errno:
                    return f"code == {_errno(step.errno)}"
                if step is self.baseline_of:
                    return self._grown(step, argument)
                return self._same_answer(step, argument)
        raise NoAnswerError(f"it waits for something that a program cannot look at: {step.do}")

    # Calls

    def _ioctl(self, step: Step) -> None:
        argument = self._call(step, tried=self.judged(step))
        if self.judged(step):
            self._judge_ioctl(step, argument)
        if step is self.room.query and self.room.sizes:
            self.globals.append("static uint64_t vram;")
            self.line(f"vram = {self._output(step, argument, self.room.path)};")
            self.line(f"if (vram < {self.room.total:#x})")
            self.line('\tend(UNKNOWN, "the device has less VRAM than the one of the test");')
        if step is self.baseline:
            paths = list(used(step))
            self.globals.append(f"static uint64_t used[{len(paths)}];")
            for number, path in enumerate(paths):
                self.line(f"used[{number}] = {self._output(step, argument, path)};")
        self._made(step, argument)

    def _call(self, step: Step, *, tried: bool = False) -> str:
        """Write the structures of a call and the call; the variable of the argument, or empty if it is a number."""
        request, before = step.request, step.before
        fd, name = self.fd(step.fields["fd"]), self.name(step.request.name)
        argument = ""
        if isinstance(before, int):
            known = self.places.known(before) if before > PAGE else ""
            given = f"(void *)({known})" if known else f"(void *){before:#x}"
        elif request.struct is None:
            given = "NULL"
        else:
            pointers = {
                capture["field"]: self._pointer(capture, step, fd)
                for capture in step.fields.get("nested", ())
            }
            argument = self.new(request.name.removeprefix("DRM_IOCTL_").removeprefix("XE_").lower())
            self._declare(argument, before, pointers, names.about(request.struct, request), fd, step)
            given = f"&{argument}"
        if self._guards(step):
            self.line(f"code = try_ioctl({fd}, {name}, {given});")
            self.line("if (code)")
            self.line(f'\tend(GOOD, "{step.request.name} gave errno %d (%s)", code, strerror(code));')
        elif tried:
            if self.verdict.kind == "untouched":
                self.line(f"{c_type(request.struct)} {argument}_before = {argument};")
            self.line(f"code = try_ioctl({fd}, {name}, {given});")
        else:
            self.line(f"{_MACROS.get(request, 'CALL')}({fd}, {name}, {given}, {_errno(step.errno)});")
        return argument

    def _guards(self, step: Step) -> bool:
        """Whether a step is the successful wait for a fence that the check reads: without success no fault."""
        judged = self.verdict.step
        if judged is None or judged.do != "load" or step.errno:
            return False
        waits = (
            one
            for one in reversed(self.course.steps)
            if one.do == "ioctl"
            and one.request is xe.DRM_IOCTL_XE_WAIT_USER_FENCE
            and one.at < judged.at
            and one.before.addr == judged.fields["address"]
        )
        return step is next(waits, None)

    def _declare(
        self,
        name: str,
        value: Any,
        pointers: Mapping[str, str],
        about: Mapping[str, Any],
        fd: str,
        step: Step,
    ) -> None:
        struct = type(value)
        self.name(struct.__name__)
        rows = self._rows(value, pointers, about, fd, step, "")
        if rows is None:
            self.line(f"{c_type(struct)} {name};")
            self.line(f"memcpy(&{name}, {self._bytes(bytes(value))}, sizeof({name}));")
            return
        if not rows:
            self.line(f"{c_type(struct)} {name} = {{ 0 }};")
            return
        self.line(f"{c_type(struct)} {name} = {{")
        for row in rows:
            self.line(f"\t{row}")
        self.line("};")

    def _rows(
        self,
        value: Any,
        pointers: Mapping[str, str],
        about: Mapping[str, Any],
        fd: str,
        step: Step,
        path: str,
    ) -> list[str] | None:
        """A line for each field that is not zero; None if fields do not say all of the structure."""
        rows: list[str] = []
        rebuilt = type(value)()
        listed = list(members(value))
        for name, kind, member in listed:
            if kind is bytes:
                if any(member):
                    return None
                continue
            setattr(rebuilt, name, member)
            dotted = path + name
            if pointers.get(dotted):
                rows.append(f".{name} = {pointers[dotted]},")
            elif isinstance(member, Structure | Union):
                if any(bytes(member)):
                    inside = {**about, **getattr(member, "_about_", {})}
                    inner = self._rows(member, pointers, inside, fd, step, f"{dotted}.")
                    if inner is None:
                        return None
                    rows += [f".{name} = {{", *(f"\t{row}" for row in inner), "},"]
            elif isinstance(member, int):
                if member:
                    rows.append(f".{name} = {self._field(name, member, value, about, kind, fd, step)},")
            elif isinstance(member, bytes):
                if any(member):
                    rows.append(f".{name} = {_string(member)},")
            elif any(member):
                rows.append(f".{name} = {{ {', '.join(_plain(one) for one in member)} }},")
        return rows if bytes(rebuilt) == bytes(value) else None

    def _field(
        self, name: str, value: int, holder: Any, about: Mapping[str, Any], kind: Any, fd: str, step: Step
    ) -> str:
        """The value of a field, as the header or the program spells it."""
        meaning = {**names.about(type(holder)), **about}.get(name)
        bits = 8 * ctypes.sizeof(kind)
        if isinstance(meaning, Id):
            known = self.ids.get((0 if meaning.sort in _SHARED else self._file_of(fd), meaning.sort, value))
            return known or _plain(value)
        if name in ("devmem_fd", "fd") and value in self.fds:
            return self.fds[value]
        if isinstance(meaning, Family):
            return self.number(value, meaning, bits)
        if name in _ABSOLUTE and 0 < value < (1 << 63) - 1:
            return f"deadline({max(value - step.at, 1)}LL)"
        if name == "timeout" and getattr(holder, "flags", 0) & xe.DRM_XE_UFENCE_WAIT_FLAG_ABSTIME:
            return f"deadline({max(value - step.at, 1)}LL)"
        if name == "size" and (reply := self._reply(step, fd)):
            return reply
        if name in ("range", "size") and value in self.room.sizes:
            parts, of = self.room.sizes[value]
            return f"part(vram, {parts}, {of})"
        if name in ("range", "size") and (start := _start_of(holder)) and self.places.area(start):
            whole = start + value
            if whole in (1 << 47, 1 << 48, 1 << 57):
                return f"{whole:#x} - ({self.number(start)})"
        if bits < 64:
            return _plain(value)
        return self.number(value)

    def _reply(self, step: Step, fd: str) -> str:
        """The variable with the size of a query's answer, if the test had asked for it before."""
        if step.request is not xe.DRM_IOCTL_XE_DEVICE_QUERY or isinstance(step.before, int):
            return ""
        return self.replies.get((fd, step.before.query, step.before.size), "")

    def _file_of(self, fd: str) -> int:
        """A number for the open file of a descriptor: ids are its own."""
        return int(fd.removeprefix("fd") or 0)

    def _pointer(self, capture: Mapping[str, Any], step: Step, fd: str) -> str:
        """The value of a pointer field, after the lines that put the same contents there."""
        address, size = capture["address"], capture["size"]
        arg, about = step.before, names.about(step.request.struct, step.request)  # type: ignore[arg-type]
        if self.places.area(address) is not None:
            return self.number(address)
        pointer = _meaning(about, capture)
        data = bytes.fromhex(capture["before"]) if "before" in capture else None
        if isinstance(pointer, Chain):
            return self._chain(data or b"", address, pointer, arg, fd, step)
        if data is not None and len(data) < size:
            return self.number(address) if not data else _plain(address)
        kind: Any = pointer.element(arg) or char
        if isinstance(kind, Rows):
            kind = kind.element
        if pointer.single and kind is u64:
            return self.places.memory(address)
        name = self.new(capture["field"].rpartition(".")[2])
        width = ctypes.sizeof(kind)
        if data is None or not any(data) or size % width or kind is char:
            if data and any(data):
                self.line(f"char {name}[] = {_string(data)};")
            elif reply := self._reply(step, fd):
                self.line(f"uint64_t {name}[{max(-(-size // 8) * 2, ROOM)}] = {{ 0 }};")
                self.line(f"if ({reply} > sizeof({name}))")
                self.line('\tend(UNKNOWN, "the device has more to answer than the one of the test");')
            else:
                self.line(f"uint64_t {name}[{max(-(-size // 8), 1)}] = {{ 0 }};")
            return f"(uintptr_t){name}"
        elements = [kind.from_buffer_copy(data, at) for at in range(0, size, width)]
        self._array(name, kind, elements, pointer.sort, fd, step)
        return f"(uintptr_t){name}"

    def _array(self, name: str, kind: Any, elements: list[Any], sort: str, fd: str, step: Step) -> None:
        if issubclass(kind, Structure):
            self.name(kind.__name__)
        self.line(f"{c_type(kind)} {name}[] = {{")
        for element in elements:
            if isinstance(element, Structure):
                rows = self._rows(element, {}, names.about(kind), fd, step, "")
                if rows is None:
                    raise NoAnswerError(f"a {kind.__name__} has bytes outside of its fields")
                self.line("\t{")
                self.line("\n".join(f"\t\t{row}" for row in rows) if rows else "\t\t0")
                self.line("\t},")
            else:
                shared = 0 if sort in _SHARED else self._file_of(fd)
                known = self.ids.get((shared, sort, element.value)) if sort else None
                self.line(f"\t{known or self.number(element.value)},")
        self.line("};")

    def _chain(self, data: bytes, address: int, chain: Chain, arg: Any, fd: str, step: Step) -> str:
        """The address of the first extension, after lines that make those that were readable."""
        kind: Any = chain.link or type(arg)
        width = ctypes.sizeof(kind)
        links: list[Any] = [kind.from_buffer_copy(data, at) for at in range(0, len(data) - width + 1, width)]
        following = attrgetter(chain.following)(links[-1]) if links else address
        text = self.number(following) if following else ""
        for link in reversed(links):
            name = self.new("extension")
            pointers = {chain.following: text} if text else {}
            self._declare(name, link, pointers, chain.families(arg) or {}, fd, step)
            text = f"(uintptr_t)&{name}"
        return text

    def _asked_before(self, step: Step) -> bool:
        """Whether an earlier step was the same question with the same answer."""
        return step.request in _ASKS and any(
            one is not step
            and one.do == "ioctl"
            and one.at <= step.at
            and all(
                one.fields.get(name) == step.fields.get(name) for name in ("request", "fd", "before", "after")
            )
            for one in self.course.steps
        )

    def _grown_as_seen(self, step: Step, argument: str) -> str:
        """That as many regions of VRAM have memory of the test as in the test."""
        assert self.baseline is not None
        steps, paths = self.course.steps, list(used(self.baseline))
        return " && ".join(
            f"{self._output(step, argument, path)} {'>' if more else '<='} used[{paths.index(path)}] + "
            f"{threshold(steps):#x}"
            for path, more in grown(steps, self.baseline, step).items()
        )

    def _grown(self, step: Step, argument: str) -> str:
        """That more than half of what came into use since the test looked is in use still, where most did.

        The rest may be page tables and caches, which a test allows for.
        """
        assert self.baseline is not None
        now, old = used(step), used(self.baseline)
        most = max(now, key=lambda path: now[path] - old[path])
        index, half = list(old).index(most), (now[most] - old[most]) // 2
        return f"{self._output(step, argument, most)} > used[{index}] + {half:#x}"

    def _made(self, step: Step, argument: str) -> None:
        """Keep the ids of what a call made in variables."""
        if step.errno or not argument or step.fields.get("result", 0) is None:
            return
        after, fd = step.after, self.fd(step.fields["fd"])
        for name, meaning in names.about(type(after), step.request).items():
            if isinstance(meaning, Id) and meaning.made:
                number = getattr(after, name)
                shared = 0 if meaning.sort in _SHARED else self._file_of(fd)
                variable = self.variable("int" if meaning.sort in _SHARED else "uint32_t", meaning.sort)
                self.ids[shared, meaning.sort, number] = variable
                if meaning.sort in _SHARED:
                    self.fds[number] = variable
                self.line(f"{variable} = {argument}.{name};")
        if step.request is xe.DRM_IOCTL_XE_DEVICE_QUERY and not step.before.size:
            # Another device may have more to answer, or less.
            key = fd, after.query, after.size
            self.replies[key] = variable = self.replies.get(key) or self.variable("uint32_t", "size")
            self.line(f"{variable} = {argument}.size;")
        if step.request is xe.DRM_IOCTL_XE_GEM_MMAP_OFFSET:
            self.offsets[fd, after.offset] = variable = self.variable("uint64_t", "offset")
            self.line(f"{variable} = {argument}.offset;")

    # Checks

    def _judge_errno(self, step: Step, what: str) -> None:
        expected = int(self.verdict.facts["expected"])
        self.line(f"/* the test saw {_errno(step.errno)} */")
        self.line(f"if (code != {_errno(expected)})")
        self.line(f'\tend(FAULT, "{what} gave errno %d (%s), not {_errno(expected)}", code, strerror(code));')

    def _judge_ioctl(self, step: Step, argument: str) -> None:
        check = self.verdict
        if check.kind == "errno":
            self._judge_errno(step, step.request.name)
            return
        if check.kind == "untouched":
            self._judge_untouched(step, argument)
            return
        self.line(f"if (code != {_errno(step.errno)})")
        other = "GOOD" if check.kind == "answer" else "OTHERWISE"
        self.line(f'\tend({other}, "{step.request.name} gave errno %d (%s)", code, strerror(code));')
        if step.errno:
            self.line(f'end(FAULT, "{step.request.name} gave {_errno(step.errno)} as in the test");')
            return
        if check.path:
            self._judge_value(step, self._output(step, argument, check.path), check.path)
            return
        self.line("/* the test did not accept this answer */")
        self.line(f"if ({self._same_answer(step, argument)})")
        self.line(f'\tend(FAULT, "{step.request.name} answered as in the test");')

    def _judge_untouched(self, step: Step, argument: str) -> None:
        self.line(f"if (code != {_errno(step.errno)})")
        self.line(f'\tend(OTHERWISE, "{step.request.name} gave errno %d (%s)", code, strerror(code));')
        for name in self.verdict.facts.get("except_", ()):
            if hasattr(step.request.struct, name):
                self.line(f"{argument}.{name} = {argument}_before.{name};")
        self.line(f"if (memcmp(&{argument}, &{argument}_before, sizeof({argument})))")
        self.line(f'\tend(FAULT, "{step.request.name} failed and changed its argument");')

    def _output(self, step: Step, argument: str, path: str) -> str:
        """A field of an answer, as an expression."""
        head, _, rest = path.partition("->")
        if not rest:
            return f"{argument}.{path}"
        match = re.match(r"(\w+)\[(\d+)\]\.?(.*)", rest)
        assert match is not None
        kind, index, inner = match.groups()
        base = f"(({c_type_of(self, kind)} *)(uintptr_t){argument}.{head})[{index}]"
        return f"{base}.{inner}" if inner else base

    def _same_answer(self, step: Step, argument: str) -> str:
        """That an ioctl's answer is what the test saw; ids and addresses left out."""
        if not argument:
            raise NoAnswerError("its check is of an answer whose place the steps do not know")
        if step is self.baseline_of and (compared := self._grown_as_seen(step, argument)):
            return compared
        about = names.about(step.request.struct, step.request)  # type: ignore[arg-type]
        numbers = list(leaves(step.after, step.before))
        seen = [
            (f"{argument}.{path}", value)
            for path, value, old in numbers
            if value != old
            and path != "timeout"
            and not isinstance(about.get(path.rpartition(".")[2]), Id | Pointer | Chain)
        ]
        for head, data in outputs(step):
            seen += [
                (self._output(step, argument, path), value) for path, value in elements(step, head, data)
            ]
        check = self.verdict.facts
        of_numbers = (check.get("left"), check.get("right")) != (None, None)
        if not seen and (of_numbers or not self.judged(step) or not self._asked_before(step)):
            # An answer that is what was there before: a count of 0, for one, or that a wait ended at all. A test that
            # asked the same before, without a complaint, compares more than the last answer.
            seen = [(f"{argument}.{path}", value) for path, value, _ in numbers if path in _COUNTS]
        # An object that is made without an id is an answer, too.
        seen = seen or [(f"{argument}.{path}", 0) for _, value, path in makes_named(step) if not value]
        if not seen:
            raise NoAnswerError("its check is not of anything that the kernel answered")
        parts = [f"{place} == {self.number(value)}" for place, value in seen[:MOST_PARTS]]
        return " && ".join(parts)

    def _judge_value(self, step: Step, seen: str, what: str) -> None:
        """Compare what is seen as the test did."""
        check = self.verdict
        self.globals.append("static uint64_t seen;")
        self.line(f"seen = {seen};")
        if check.kind == "answer":
            self.line("/* the test did not accept this value */")
            self.line(f"if (seen == {self.number(check.seen)})")
            self.line(f'\tend(FAULT, "%s is %#lx", "{_quoted(what)}", (long)seen);')
            return
        wanted = [self._wanted(one) for one in check.wanted]
        if check.op in ("in", "not in"):
            joined = " || ".join(f"seen == {one}" for one in wanted)
            wrong = f"!({joined})" if check.op == "in" else joined
        else:
            wrong = f"seen {_SWAPS[check.op]} {wanted[0]}"
        self.line(f"/* the test saw {_plain(check.seen)} */")
        self.line(f"if ({wrong})")
        said = f"not {check.op} " if check.op != "==" else "not "
        shown = ", ".join(_plain(one) for one in check.wanted)
        self.line(f'\tend(FAULT, "%s: %#lx, {said}{shown}", "{_quoted(what)}", (long)seen);')

    def _wanted(self, value: int) -> str:
        """A value that the test wanted; of memory in use, as a difference to what was in use before."""
        before = used(self.baseline) if self.baseline is not None else {}
        if self.verdict.path not in before:
            return self.number(value & ((1 << 64) - 1))
        more = value - before[self.verdict.path]
        at = f"used[{list(before).index(self.verdict.path)}]"
        return f"{at} {'-' if more < 0 else '+'} {abs(more):#x}" if more else at

    def _judge_read(self, step: Step, where: str, size: str) -> None:
        check = self.verdict
        data = check.facts.get("expected")
        if not isinstance(data, dict) or not data.get("hex"):
            raise NoAnswerError("its check is of bytes without a pattern")
        pattern = bytes.fromhex(data["hex"])
        text = _string(pattern) if len(pattern) <= 16 else self._bytes(pattern)
        self.globals.append("static long differing;")
        size = _plain(min(step.fields["size"], data["size"]))
        self.line(f"differing = differs({where}, {size}, {text}, {len(pattern)});")
        self.line("if (differing >= 0)")
        self.line('\tend(FAULT, "the CPU sees other bytes from offset %#lx on", differing);')

    # The whole

    def _assembled(self, words: Words, *, self_contained: bool) -> str:
        several = len(self.course.actors) > 1
        threads = [actor for actor in self.course.actors if actor[1]]
        functions = [self._function(actor) for actor in self.course.actors if actor != (0, 0)]
        main = list(self.bodies[0, 0].lines)
        start: list[str] = []
        if several:
            start += [
                "turns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);",
                "if (turns == MAP_FAILED)",
                '\tend(OTHERWISE, "mmap: %s", strerror(errno));',
            ]
        if self.verdict.kind == "complaint":
            start.insert(0, "watch_log();")
        own = [actor for actor in threads if actor[0] == 0]
        for number, actor in enumerate(own):
            start.append(f"pthread_create(&threads[{number}], NULL, {_function(actor)}, NULL);")
        finish = [f"pthread_join(threads[{number}], NULL);" for number in range(len(own))]
        code = "\tint code;\n" if any("code = " in line for line in main) else ""
        threading = f"\tpthread_t threads[{len(own)}];\n" if own else ""
        everywhere = [line for body in self.bodies.values() for line in body.lines]
        takes_arguments = any("open_device(" in line for line in everywhere)
        if takes_arguments:
            start[:0] = ["(void)argc;", "nodes = argv;"]
        head = "int main(int argc, char **argv)" if takes_arguments else "int main(void)"
        text = "\n".join(
            [
                head,
                "{",
                *(part.rstrip("\n") for part in (code, threading) if part),
                *([""] if code or threading else []),
                *_indented(start),
                *_indented(main),
                *_indented(finish),
                '\tend(GOOD, "the fault is not there");',
                "}",
            ]
        )
        places = [f"static uint64_t {area.name} = {area.place:#x};" for area in self.places.areas]
        everything = "\n".join([*functions, text])
        places = [place for place in places if re.search(rf"\b{place.split()[2]}\b", everything)]
        memory = [
            f"static uint64_t {word};"
            for word in self.places.words.values()
            if re.search(rf"\b{word}\b", everything)
        ]
        values = [*places, *memory, *dict.fromkeys(self.globals)]
        source, headers = helpers(everything)
        self.used |= {name for name in _UAPI.findall(source) if hasattr(xe, name) or hasattr(drm, name)}
        headers = [
            *headers,
            "stdint.h",
            "stddef.h",
            "string.h",
            "unistd.h",
            "errno.h",
            "sys/mman.h",
            "time.h",
        ]
        if threads:
            headers.append("pthread.h")
        if self_contained:
            uapi = [includes(["linux/types.h", "linux/ioctl.h"]), definitions(self.used)]
        else:
            uapi = [includes(["drm/drm.h", "drm/xe_drm.h"])]
        return "\n".join(
            [
                "// SPDX-License-Identifier: MIT",
                self._comment(words, threads=bool(threads)),
                "#define _GNU_SOURCE",
                includes(headers),
                "",
                "\n\n".join(uapi),
                "",
                source,
                "",
                *values,
                "",
                *([*functions, ""] if functions else []),
                text,
                "",
            ]
        )

    def _function(self, actor: Actor) -> str:
        """Steps of another thread or a child."""
        lines = self.bodies[actor].lines
        code = ["\tint code;", ""] if any("code = " in line for line in lines) else []
        if actor[1]:
            head = f"static void *{_function(actor)}(void *unused)"
            return "\n".join(
                [head, "{", *code, "\t(void)unused;", *_indented(lines), "\treturn NULL;", "}", ""]
            )
        return "\n".join([f"static void {_function(actor)}(void)", "{", *code, *_indented(lines), "}", ""])

    def _comment(self, words: Words, *, threads: bool) -> str:
        nodes = " ".join(f"[{path}]" for path in self.paths or [NODE])
        compiled = f"cc -Wall -Wextra{' -pthread' if threads else ''} -o repro repro.c"
        paragraphs = [
            words.title,
            *words.behaviours,
            f"Seen: {words.seen}" + (f" ({words.where})" if words.where else ""),
            f"{compiled} && ./repro {nodes}",
            "It ends with 1 where the fault is, 0 where it is not, 77 where it cannot tell (no device, no such "
            "capability), 2 where something else went wrong.",
        ]
        wrapped = [
            line.rstrip()
            for paragraph in paragraphs
            for line in (*textwrap.wrap(_comment(paragraph), 100, break_long_words=False), "")
        ]
        return "\n".join(["/*", *(f" * {line}".rstrip() for line in wrapped[:-1]), " */"])


_SHARED = frozenset({"dmabuf", "syncfd"})
"""Sorts of ids that are descriptors: those of the process, not of a file of the driver."""


def c_type_of(writer: _Program, name: str) -> str:
    """The C type of an element by its name in a path."""
    if hasattr(xe, name) or hasattr(drm, name):
        writer.name(name)
        return f"struct {name}"
    return name


def _meaning(about: Mapping[str, Any], capture: Mapping[str, Any]) -> Any:
    """The pointer or the chain that a capture is of."""
    found = about[capture["field"]]
    for one in found if isinstance(found, tuple) else (found,):
        if type(one).__name__ == capture["kind"]:
            return one
    raise KeyError(capture["field"])


def _fences(step: Step) -> Iterator[int]:
    """Addresses of user fences in an ioctl of VM_BIND or WAIT_USER_FENCE."""
    before = step.before
    if step.request is xe.DRM_IOCTL_XE_WAIT_USER_FENCE and not isinstance(before, int):
        for capture in step.fields.get("nested", ()):
            if capture["field"] == "addr" and len(capture.get("before", "")) == 16:
                yield before.addr
    if step.request is xe.DRM_IOCTL_XE_VM_BIND and not isinstance(before, int):
        for capture in step.fields.get("nested", ()):
            data = bytes.fromhex(capture.get("before", ""))
            width = ctypes.sizeof(xe.drm_xe_sync)
            if capture["field"] == "syncs" and len(data) == capture["size"]:
                for at in range(0, len(data), width):
                    sync = xe.drm_xe_sync.from_buffer_copy(data, at)
                    if (
                        sync.type == xe.DRM_XE_SYNC_TYPE_USER_FENCE
                        and sync.addr > 1 << 32
                        and not sync.addr % 8
                    ):
                        yield sync.addr


def _batches(steps: list[Step]) -> set[int]:
    """Stores of the CPU that are batches, by ``id``: those that an EXEC, or a batch, names."""
    written: dict[int, Step] = {}
    found: set[int] = set()

    def take(address: int, depth: int = 0) -> None:
        step = written.get(address)
        if step is None or id(step) in found or depth > 8:
            return
        data = unpacked(step.fields["data"])
        if data is None or len(data) % 4:
            return
        found.add(id(step))
        for instruction in decode(data, address):
            if instruction.name == "MI_BATCH_BUFFER_START" and instruction.command is not None:
                take(instruction.command.values()["address"], depth + 1)  # type: ignore[arg-type]

    for step in steps:
        if step.do == "write":
            written[step.fields["address"]] = step
        elif step.do == "ioctl" and step.request is xe.DRM_IOCTL_XE_EXEC and not isinstance(step.before, int):
            if step.before.num_batch_buffer == 1:
                take(step.before.address)
            for capture in step.fields.get("nested", ()):
                data = bytes.fromhex(capture.get("before", ""))
                if capture["field"] == "address" and not len(data) % 8:
                    for at in range(0, len(data), 8):
                        take(int.from_bytes(data[at : at + 8], "little"))
    return found


def _addresses(command: Any, words: list[int]) -> set[int]:
    """Dwords of an instruction at which an address may begin."""
    if command is None:
        return set()
    own = {entry.first for entry in command.fields.values() if isinstance(entry, Address)}
    tail = set(range(3, len(words) - 1)) if command.name == "MI_STORE_DATA_IMM" and len(words) > 4 else set()
    return own | tail


def _start_of(holder: Any) -> int:
    for name in ("addr", "start"):
        if hasattr(holder, name):
            return int(getattr(holder, name))
    return 0


def _function(actor: Actor) -> str:
    process, thread = actor
    return "_".join(
        [*([f"child{process}_steps"] if process else []), *([f"thread{thread}"] if thread else [])]
    )


def _errno(code: int) -> str:
    return errno.errorcode.get(code, str(code)) if code else "0"


def _plain(value: int) -> str:
    if value < 0:
        return str(value)
    return str(value) if value < 10 else f"{value:#x}"


def _flags(known: Mapping[str, int], value: int, none: str = "0") -> str:
    parts = [name for name, bit in known.items() if value & bit]
    rest = value & ~sum(known[name] for name in parts)
    return " | ".join([*parts, *([f"{rest:#x}"] if rest else [])]) or none


def _string(data: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'


def _quoted(text: str) -> str:
    safe = "".join(one if 32 <= ord(one) < 127 else "?" for one in text)
    return safe.replace("\\", "\\\\").replace('"', '\\"').replace("??", "? ?")


def _comment(text: str) -> str:
    return text.replace("*/", "* /").replace("/*", "/ *")


def _indented(lines: list[str]) -> list[str]:
    return [f"\t{line}" if line else "" for line in lines]
