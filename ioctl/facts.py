# SPDX-License-Identifier: MIT
"""A uAPI as a flat table with one fact per name, and the table of this package's own structures.

Names are "drm_xe_vm_bind" for a structure, "drm_xe_vm_bind.vm_id" for a field, and those of macros and enumerators.
With a flat table, the difference of two headers is that of two dictionaries, and is recorded with one line per fact.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from ioctl.encoding import Request
from ioctl.layout import Structure, Union


@dataclass(frozen=True, slots=True)
class Size:
    """A structure: bytes without its flexible array."""

    size: int

    def __str__(self) -> str:
        return f"struct {self.size}"


@dataclass(frozen=True, slots=True)
class Field:
    """A field: offset and size in bytes, 0 for a flexible array; C type, "[]" after it for an array."""

    offset: int
    size: int
    type: str

    @property
    def end(self) -> int:
        """The offset of the byte behind it."""
        return self.offset + self.size

    def __str__(self) -> str:
        return f"field {self.offset} {self.size} {self.type}"


@dataclass(frozen=True, slots=True)
class Value:
    """A constant; ``abi`` is False for what the header calls non-ABI, the end mark of an enum for one.

    ``made_of``: the names that its definition or-s, one for an alias. This is its spelling, not its value.
    """

    value: int
    abi: bool = True
    made_of: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"{'value' if self.abi else 'non-abi'} {self.value}"


@dataclass(frozen=True, slots=True)
class Number:
    """A request number."""

    number: int

    def __str__(self) -> str:
        return f"request {self.number:#x}"


@dataclass(frozen=True, slots=True)
class Text:
    """A string in a table of names, or the text of what is not a number: other macros, typedefs."""

    text: str

    def __str__(self) -> str:
        return f"text {self.text}"


Fact = Size | Field | Value | Number | Text
Table = dict[str, Fact]


def parse(text: str) -> Fact:
    """The fact that this is the ``str`` of; ValueError if it is not one."""
    match text.split(" ", 1):
        case ["struct", size]:
            return Size(int(size))
        case ["field", rest]:
            offset, size, kind = rest.split(" ", 2)
            return Field(int(offset), int(size), kind)
        case ["value" | "non-abi" as word, value]:
            return Value(int(value), word == "value")
        case ["request", number]:
            return Number(int(number, 16))
        case ["text", string]:
            return Text(string)
    raise ValueError(f"not a fact of a uAPI: {text!r}")


def digest(module: ModuleType) -> str:
    """Hash of a module of structures and constants: layouts, numbers and values, not their text."""
    table = sorted(f"{name} {fact}" for name, fact in of_module(module).items())
    return "sha256 " + hashlib.sha256("\n".join(table).encode()).hexdigest()[:12]


_SPARE = re.compile(r"(^|\.)(pad|reserved)\d*$")


def spare(name: str) -> bool:
    """Whether a field, by its name, is reserved space that programs must leave zero."""
    return _SPARE.search(name) is not None


def struct_of(name: str) -> str:
    """The structure that a field's name begins with."""
    return name.partition(".")[0]


_C_NAMES: dict[object, str] = {
    ctypes.c_uint8: "__u8",
    ctypes.c_uint16: "__u16",
    ctypes.c_uint32: "__u32",
    ctypes.c_uint64: "__u64",
    ctypes.c_int32: "__s32",
    ctypes.c_int64: "__s64",
    ctypes.c_char: "char",
}


def of_module(module: ModuleType) -> Table:
    """The table of a module of ctypes structures and constants, ``ioctl.xe`` for one."""
    table: Table = {}
    for name, value in vars(module).items():
        if name.startswith("_"):
            continue
        if isinstance(value, Request):
            table[name] = Number(value.number)
        elif isinstance(value, int):
            table[name] = Value(value)
        elif isinstance(value, type) and issubclass(value, Structure) and value.__module__ == module.__name__:
            table[name] = Size(ctypes.sizeof(value))
            table.update((f"{name}.{field}", fact) for field, fact in _fields(value, 0))
        elif isinstance(value, dict) and name.endswith("_NAMES"):
            table.update((f"{name}[{index}]", Text(text)) for index, text in value.items())
    return table


def _fields(struct: Any, start: int) -> Iterator[tuple[str, Field]]:
    for name, kind in struct._fields_:
        at = start + getattr(struct, name).offset
        if name in getattr(struct, "_anonymous_", ()):
            yield from _fields(kind, at)
            continue
        size = ctypes.sizeof(kind)
        if kind.__name__.startswith("_") and issubclass(kind, Structure | Union):
            yield name, Field(at, size, "struct")
            yield from ((f"{name}.{inner}", field) for inner, field in _fields(kind, at))
        elif issubclass(kind, ctypes.Array):
            yield name, Field(at, size, c_type(kind._type_) + "[]")
        else:
            yield name, Field(at, size, c_type(kind))


def c_type(kind: Any) -> str:
    """The C name of a type of ctypes that a header has."""
    return _C_NAMES.get(kind) or f"struct {kind.__name__}"
