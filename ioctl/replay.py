# SPDX-License-Identifier: MIT
"""A transcript as a Python program that makes the same calls and prints where the errno differs.

VMs, exec queues, buffer objects and syncobjs are named by the call that made them, so the program also runs where the
ids come out differently. Addresses of the test's own memory stay the same: notes of the transcript have the lines that
map it.
"""

from __future__ import annotations

import ctypes
import errno
from operator import attrgetter
from typing import Any

from ioctl import names, xe
from ioctl.about import About, Chain, Family, Id, Rows
from ioctl.decode import members, number
from ioctl.layout import Structure, Union, char, u32, u64
from ioctl.pointers import Capture
from ioctl.record import Note, Record

PREAMBLE = """\
import ctypes
import errno
import mmap
import os
from ctypes import addressof

from ioctl import call, drm, xe

libc = ctypes.CDLL(None, use_errno=True)


def step(expected, fd, request, arg):
    code = 0
    try:
        call(fd, request, arg)
    except OSError as error:
        code = error.errno
    if code != expected:
        print(f"{request}: errno {code}, was {expected}")

"""


class _Writer:
    """The program under construction: lines, and which variable holds the id of which object."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ids: dict[tuple[int, str, int], str] = {}
        self.counts: dict[str, int] = {}
        self.fd = -1

    def variable(self, prefix: str, expression: str) -> str:
        """A new variable with this value."""
        self.counts[prefix] = count = self.counts.get(prefix, 0) + 1
        self.lines.append(f"{prefix}{count} = {expression}")
        return f"{prefix}{count}"

    def call(self, record: Record) -> None:
        """The lines of one call."""
        self.fd = record.fd
        request = record.request
        known = errno.errorcode.get(record.errno)
        expected = f"errno.{known}" if known else str(record.errno)
        if isinstance(record.before, int):
            argument = hex(record.before)
        else:
            assert request.struct is not None
            old = request.struct.from_buffer_copy(record.before)
            pointers = {capture.field: self.pointer(capture, old) for capture in record.nested or ()}
            argument = self.variable("arg", self.structure(old, pointers=pointers, about=request.about))
        self.lines.append(f"step({expected}, fd{self.fd}, {_module(request.name)}, {argument})")
        if request.struct is not None and not isinstance(record.before, int) and record.result == 0:
            new: Any = request.struct.from_buffer_copy(record.after)
            for field, meaning in names.about(request.struct, request).items():
                if isinstance(meaning, Id) and meaning.made:
                    self.ids[self.fd, meaning.sort, getattr(new, field)] = f"{argument}.{field}"

    def pointer(self, capture: Capture, arg: Any) -> str:
        """The value of a pointer field, after the lines that put the same contents somewhere.

        Stays the address where the contents are unknown, which is so for a bad pointer, and where the memory
        is the test's own and outlives the call: a user fence.
        """
        pointer, data = capture.pointer, capture.before
        if isinstance(pointer, Chain):
            return self.chain(data or b"", capture.address, pointer, pointer.families(arg))
        kind: Any = pointer.element(arg) or char
        if isinstance(kind, Rows):
            kind = kind.element
        count = capture.size // ctypes.sizeof(kind)
        scalar = kind in (u32, u64)
        if (pointer.single and scalar) or (data is not None and len(data) < capture.size):
            return hex(capture.address)
        if not data or not any(data):
            return self.address("out", f"ctypes.create_string_buffer({capture.size})")
        if kind is char or (pointer.after and not scalar):
            return self.address("data", f"ctypes.create_string_buffer({data!r}, {capture.size})")
        parts = [
            self.element(kind.from_buffer_copy(data, at * ctypes.sizeof(kind)), pointer.sort)
            for at in range(count)
        ]
        return self.address("array", f"({_type(kind)} * {count})({', '.join(parts)})")

    def address(self, prefix: str, expression: str) -> str:
        """The address of a new variable."""
        return f"addressof({self.variable(prefix, expression)})"

    def element(self, value: Any, sort: str) -> str:
        """An element of an array, a number of some sort of object or a structure."""
        if isinstance(value, Structure):
            return self.structure(value)
        return self.ids.get((self.fd, sort, value.value), hex(value.value))

    def chain(self, data: bytes, address: int, chain: Chain, families: About | None) -> str:
        """The address of the first extension, after lines that make those that were readable."""
        kind: Any = chain.link
        width = ctypes.sizeof(kind)
        links: list[Any] = [kind.from_buffer_copy(data, at) for at in range(0, len(data) - width + 1, width)]
        following = attrgetter(chain.following)(links[-1]) if links else address
        text = hex(following) if following else ""
        for link in reversed(links):
            pointers = {chain.following: text} if text else {}
            text = self.address("ext", self.structure(link, pointers=pointers, about=families))
        return text

    def structure(
        self,
        value: Any,
        *,
        pointers: dict[str, str] | None = None,
        about: About | None = None,
        path: str = "",
    ) -> str:
        """``value`` as a constructor with every field that is not zero."""
        struct = type(value)
        parts: list[str] = []
        rebuilt = struct()
        for name, kind, member in members(value):
            if kind is bytes:  # a union that nothing selects a member of
                continue
            setattr(rebuilt, name, member)
            if (pointers or {}).get(path + name):
                parts.append(f"{name}={(pointers or {})[path + name]}")
            elif isinstance(member, Structure | Union):
                if any(bytes(member)):
                    inner = self.structure(member, pointers=pointers, about=about, path=f"{path}{name}.")
                    parts.append(f"{name}={inner}")
            elif isinstance(member, int):
                if member:
                    meaning = {**names.about(struct), **(about or {})}.get(name)
                    parts.append(f"{name}={self.number(name, member, meaning, 8 * ctypes.sizeof(kind))}")
            elif any(member):
                parts.append(f"{name}={_array(member)}")
        if bytes(rebuilt) != bytes(value):
            return f"{_type(struct)}.from_buffer_copy(bytes.fromhex({bytes(value).hex()!r}))"
        return f"{_type(struct)}({', '.join(parts)})"

    def number(self, name: str, value: int, meaning: object, bits: int) -> str:
        """A number: the id of an object made earlier, names of the header, or itself."""
        if isinstance(meaning, Id):
            return self.ids.get((self.fd, meaning.sort, value), str(value))
        if not isinstance(meaning, Family):
            return number(value, name)
        parts = names.spell(meaning, value, bits)
        return " | ".join(_module(part) if isinstance(part, str) else hex(part) for part in parts)


def _module(name: str) -> str:
    return f"xe.{name}" if hasattr(xe, name) else f"drm.{name}"


def _type(kind: type) -> str:
    return _module(kind.__name__) if issubclass(kind, Structure | Union) else f"ctypes.{kind.__name__}"


def _array(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value)
    return f"({_type(value._type_)} * {len(value)})({', '.join(map(str, value))})"


def program(records: list[Record | Note], dropped: int) -> str:
    """The program of a transcript, of which ``dropped`` older records are missing."""
    writer = _Writer()
    opened = {line.split(" ")[0] for line in (r.replay for r in records if isinstance(r, Note)) if line}
    for fd in sorted({record.fd for record in records if isinstance(record, Record)}):
        if f"fd{fd}" not in opened:
            writer.lines.append(
                f'fd{fd} = os.open("/dev/dri/renderD128", os.O_RDWR | os.O_CLOEXEC)  # a guess'
            )
    if dropped:
        writer.lines.append(f"# {dropped} older calls and notes were dropped")
    for record in records:
        if isinstance(record, Record):
            writer.call(record)
        else:
            writer.lines.append(record.replay or f"# {record}".replace("\n", "\n# "))
    return PREAMBLE + "\n".join(writer.lines) + "\n"
