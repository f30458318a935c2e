# SPDX-License-Identifier: MIT
"""Parts of the uAPI headers that a program needs, from the suite's definitions: structures, requests, values."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from typing import Any

from ioctl import drm, xe
from ioctl.encoding import Direction, Request
from ioctl.facts import c_type
from ioctl.layout import Structure, Union

_MACROS = {
    Direction.NONE: "_IO",
    Direction.WRITE: "_IOW",
    Direction.READ: "_IOR",
    Direction.BOTH: "_IOWR",
}


def definitions(names: Iterable[str]) -> str:
    """C definitions of these names of the headers, and of what they need."""
    names = sorted(set(names))
    structs: dict[str, type[Structure]] = {}
    values: list[str] = []
    requests: list[str] = []
    for name in names:
        value = getattr(xe, name, None)
        value = getattr(drm, name) if value is None else value
        if isinstance(value, Request):
            if value.struct is not None:
                _need(value.struct, structs)
            requests.append(_request(value))
        elif isinstance(value, int):
            values.append(f"#define {name} {_number(value)}")
        else:
            _need(value, structs)
    blocks = ["\n".join(values), *(_struct(kind) for kind in structs.values()), "\n".join(requests)]
    return "\n\n".join(block for block in blocks if block)


def _need(kind: Any, structs: dict[str, type[Structure]]) -> None:
    """Adds a structure behind those that it has inside."""
    for inner in _inside(kind):
        _need(inner, structs)
    structs.setdefault(kind.__name__, kind)


def _inside(kind: Any) -> Iterator[Any]:
    for _, declared in kind._fields_:
        field = _element(declared)[0]
        if issubclass(field, Structure | Union):
            if field.__name__.startswith("_"):
                yield from _inside(field)
            else:
                yield field


def _element(kind: Any) -> tuple[Any, str]:
    """The type of an array's elements and its dimensions as C writes them; of another type itself."""
    size = ""
    while issubclass(kind, ctypes.Array):
        size += f"[{kind._length_ or ''}]"
        kind = kind._type_
    return kind, size


def _struct(kind: Any) -> str:
    return "\n".join([f"struct {kind.__name__} {{", *_fields(kind, "\t"), "};"])


def _fields(kind: Any, indent: str) -> Iterator[str]:
    unnamed = getattr(kind, "_anonymous_", ())
    for name, declared in kind._fields_:
        field, size = _element(declared)
        if issubclass(field, Structure | Union) and field.__name__.startswith("_"):
            yield f"{indent}{'union' if issubclass(field, Union) else 'struct'} {{"
            yield from _fields(field, indent + "\t")
            yield f"{indent}}}{'' if name in unnamed else ' ' + name + size};"
        else:
            yield f"{indent}{c_type(field)} {name}{size};"


def _request(request: Request) -> str:
    macro = _MACROS[request.direction]
    size = f", struct {request.struct.__name__}" if request.struct and request.direction else ""
    return f"#define {request.name} {macro}({request.kind!r}, {request.nr:#04x}{size})"


def _number(value: int) -> str:
    if value < 0:
        return f"({value})"
    return f"{value:#x}" if value > 9 else str(value)
