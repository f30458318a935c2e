# SPDX-License-Identifier: MIT
"""Results of an ioctl, number by number, each with its path in C."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

from ioctl import names
from ioctl.about import Flexible, Pointer, Rows
from ioctl.decode import members
from ioctl.facts import c_type
from ioctl.layout import Structure, Union, char
from reproduce.recorded import Step


def leaves(after: Any, before: Any, path: str = "") -> Iterator[tuple[str, int, int]]:
    """Path, value after and before the call, of each number in a structure."""
    old = {name: member for name, _, member in members(before)}
    for name, kind, member in members(after):
        if kind is bytes:
            continue
        was = old.get(name)
        if isinstance(member, Structure | Union):
            if isinstance(was, type(member)):
                yield from leaves(member, was, f"{path}{name}.")
        elif isinstance(member, int):
            yield path + name, member, was if isinstance(was, int) else 0
        elif not isinstance(member, bytes):
            for index, one in enumerate(member):
                if isinstance(one, int):
                    yield f"{path}{name}[{index}]", one, was[index] if was is not None else 0


def elements(step: Step, head: str, data: bytes) -> Iterator[tuple[str, int]]:
    """Path and value of each number that an ioctl wrote behind a pointer."""
    about = names.about(step.request.struct, step.request)  # type: ignore[arg-type]
    found = about.get(head)
    for pointer in found if isinstance(found, tuple) else (found,):
        if not isinstance(pointer, Pointer) or not pointer.after:
            continue
        kind: Any = pointer.element(step.after)
        if kind is None or kind is char or isinstance(kind, Rows) or len(data) < ctypes.sizeof(kind):
            continue
        width = ctypes.sizeof(kind)
        for index in range(len(data) // width if not pointer.whole else 1):
            element = kind.from_buffer_copy(data, index * width)
            prefix = f"{head}->{kind.__name__ if isinstance(element, Structure) else c_type(kind)}[{index}]"
            if isinstance(element, Structure):
                yield from ((f"{prefix}.{path}", value) for path, value, _ in leaves(element, element))
                if pointer.whole:
                    yield from _flexible(element, data[width:], prefix)
            else:
                yield prefix, element.value


def _flexible(holder: Any, data: bytes, prefix: str) -> Iterator[tuple[str, int]]:
    """The elements of the flexible array at the end of a structure."""
    name, array = type(holder)._fields_[-1][:2]
    about = names.about(type(holder)).get(name)
    if not isinstance(about, Flexible) or not about.count:
        return
    kind = array._type_
    for index in range(min(getattr(holder, about.count), len(data) // ctypes.sizeof(kind))):
        element = kind.from_buffer_copy(data, index * ctypes.sizeof(kind))
        if isinstance(element, Structure):
            yield from (
                (f"{prefix}.{name}[{index}].{path}", value) for path, value, _ in leaves(element, element)
            )
        else:
            yield f"{prefix}.{name}[{index}]", element if isinstance(element, int) else element.value
