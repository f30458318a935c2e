# SPDX-License-Identifier: MIT
"""Structures as text, like strace: field by field, names for numbers, and the targets of pointers.

Everything here works on copies taken earlier and runs when a transcript is read, so it may be slow.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from ioctl import names
from ioctl.about import Chain, Family, Flexible, Rows, Selected
from ioctl.encoding import Request
from ioctl.facts import spare
from ioctl.layout import Structure, Union, char
from ioctl.pointers import Capture
from ioctl.record import Record, outcome

UNREADABLE = "<unreadable>"
WIDE = 10_000  # render: never break
# Fields read in decimal whatever their size; other numbers from 4096 on are addresses, sizes and masks:
# hexadecimal.
DECIMAL = frozenset(
    {"timeout", "timeout_nsec", "deadline_nsec", "reference_clock", "cpu_timestamp", "cpu_delta", "point"}
)


@dataclass
class Group:
    """Items between brackets: on one line where they fit, each on its own where not."""

    opening: str
    items: list[Node] = field(default_factory=list)
    closing: str = "}"


Node = str | Group


def render(node: Node, width: int, indent: int = 0) -> str:
    """``node`` on one line, or broken so that lines stay below ``width`` columns where that is possible."""
    flat = _flat(node)
    if isinstance(node, str) or len(flat) + indent <= width:
        return flat
    margin = " " * (indent + 2)
    lines = [node.opening]
    room = 0  # columns left on the last line, 0 after a broken item
    for item in node.items:
        text = render(item, width - 1, indent + 2) + ","
        if "\n" not in text and len(text) < room:
            lines[-1] += " " + text
            room -= len(text) + 1
        else:
            lines.append(margin + text)
            room = 0 if "\n" in text else width - len(lines[-1])
    return "\n".join([*lines, " " * indent + node.closing])


def _flat(node: Node) -> str:
    if isinstance(node, str):
        return node
    return node.opening + ", ".join(_flat(item) for item in node.items) + node.closing


def prefixed(text: str, node: Node) -> Node:
    """``node`` with ``text`` before it on its first line."""
    return text + node if isinstance(node, str) else Group(text + node.opening, node.items, node.closing)


def number(value: int, name: str = "", family: Family | None = None, bits: int = 64) -> str:
    """A field's value: names of its family, otherwise decimal or hexadecimal."""
    if family is None:
        return str(value) if -4096 < value < 4096 or name in DECIMAL else hex(value)
    parts = names.spell(family, value, bits)
    if isinstance(parts[0], int) and parts[0] and not family.open:
        return f"{parts[0]:#x} /* {family.prefixes[0]}??? */"
    plain = hex if family.flags and value else number
    return "|".join(part if isinstance(part, str) else plain(part) for part in parts)


def members(value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, C type and value of each field, those of unnamed unions by the member that is selected."""
    struct = type(value)
    unnamed = getattr(struct, "_anonymous_", ())
    for name, kind, *_ in struct._fields_:
        if name not in unnamed:
            yield name, kind, getattr(value, name)
            continue
        union = getattr(value, name)
        selected = names.about(struct).get(name)
        chosen = selected.member(value) if isinstance(selected, Selected) else kind._fields_[0][0]
        if chosen is None:
            yield "union", bytes, bytes(union)
        else:
            yield chosen, dict(kind._fields_)[chosen], getattr(union, chosen)


def structure(
    value: Any,
    *,
    new: Any = None,
    request: Request | None = None,
    targets: dict[str, Node] | None = None,
    path: str = "",
    families: Mapping[str, Family] | None = None,
) -> Group:
    """``value`` field by field; ``new`` is the same structure after the call, shown where it differs.

    ``targets`` are texts of what the fields of these dotted names point at; ``families`` go before the usual
    ones.
    """
    known = {**names.about(type(value), request), **(families or {})}
    items: list[Node] = []
    fresh = {name: later for name, _, later in members(new)} if new is not None else {}
    for name, kind, old in members(value):
        later = fresh.get(name)
        dotted = path + name
        if isinstance(old, Structure | Union):
            inner = structure(old, new=later, targets=targets, path=dotted + ".", families=families)
            items.append(prefixed(name + "=", inner))
            continue
        changed = later is not None and _bytes(later) != _bytes(old)
        if (spare(name) or name == "extensions") and not changed and not any(_bytes(old)):
            continue
        meaning = known.get(name)
        family = meaning if isinstance(meaning, Family) else None
        text = _value(old, name, kind, family)
        if changed:
            text += " => " + _value(later, name, kind, family)
        if targets and dotted in targets:
            items.append(prefixed(f"{name}={text} -> ", targets[dotted]))
        else:
            items.append(f"{name}={text}")
    return Group("{", items)


def _bytes(value: Any) -> bytes:
    return value.to_bytes(9, "little", signed=True) if isinstance(value, int) else bytes(value)


def _value(value: Any, name: str, kind: Any, family: Family | None) -> str:
    if isinstance(value, int):
        return number(value, name, family, 8 * ctypes.sizeof(kind))
    if isinstance(value, bytes):
        return quoted(value.rstrip(b"\0")) if kind is not bytes else "0x" + value.hex()
    return "[" + ", ".join(number(element, name) for element in value) + "]"


def quoted(data: bytes) -> str:
    """Bytes as a C string."""
    return '"' + data.decode("latin-1").encode("unicode_escape").decode().replace('"', '\\"') + '"'


def elements(data: bytes, kind: Any, count: int, families: Mapping[str, Family] | None = None) -> Group:
    """An array: as many of ``count`` elements as ``data`` holds, and how many it does not."""
    width = ctypes.sizeof(kind)
    shown = min(count, len(data) // width)
    items: list[Node] = []
    for index in range(shown):
        element = kind.from_buffer_copy(data, index * width)
        plain = not isinstance(element, Structure)
        items.append(number(element.value) if plain else structure(element, families=families))
    if count > shown:
        items.append(f"... {count - shown} more")
    return Group("[", items, "]")


def _flexible(kind: Any) -> Flexible | None:
    """The flexible array at the end of a structure, if it has one."""
    found = names.about(kind).get(kind._fields_[-1][0])
    return found if isinstance(found, Flexible) else None


def flexible(data: bytes, kind: Any) -> tuple[Group, int]:
    """A structure that ends in a flexible array, and the bytes it takes."""
    head = kind.from_buffer_copy(data)
    group = structure(head)
    name, array = kind._fields_[-1]
    start = ctypes.sizeof(kind)
    about = _flexible(kind)
    assert about is not None
    group.items.pop()
    if about.rows is not None:
        group.items.append(prefixed(name + "=", rows(data[start:], about.rows)))
        return group, len(data)
    count = getattr(head, about.count)
    indexed = _indexed if about.index else _plain
    group.items.append(prefixed(name + "=", indexed(data[start:], array._type_, count, about)))
    return group, start + count * ctypes.sizeof(array._type_)


def _plain(data: bytes, kind: Any, count: int, _: Flexible) -> Group:
    return elements(data, kind, count)


def _indexed(data: bytes, kind: Any, count: int, about: Flexible) -> Group:
    """An array whose indices have names."""
    width = ctypes.sizeof(kind)
    items: list[Node] = []
    for index in range(min(count, -(-len(data) // width))):
        value = int.from_bytes(data[index * width : (index + 1) * width], "little")
        items.append(
            f"[{number(index, family=about.index)}]={number(value, family=about.by_index.get(index))}"
        )
    return Group("[", items, "]")


def rows(data: bytes, kind: Any) -> Group:
    """Elements of different sizes, one after the other."""
    items: list[Node] = []
    at = 0
    while len(data) - at >= ctypes.sizeof(kind):
        group, size = flexible(data[at:], kind)
        items.append(group)
        at += size
    return Group("[", items, "]")


def whole(data: bytes, kind: Any) -> Node:
    """The reply of a query: one structure, a structure with a flexible array, or an array of structures."""
    if len(data) < ctypes.sizeof(kind.element if isinstance(kind, Rows) else kind):
        return "0x" + data.hex()
    if isinstance(kind, Rows):
        return rows(data, kind.element)
    return flexible(data, kind)[0] if _flexible(kind) else structure(kind.from_buffer_copy(data))


def extensions(data: bytes, chain: Chain, families: Mapping[str, Family] | None) -> Group:
    """A captured chain, its links in order."""
    assert chain.link is not None
    width = ctypes.sizeof(chain.link)
    items: list[Node] = []
    for at in range(0, len(data), width):
        link = data[at : at + width]
        if len(link) == width:
            items.append(structure(chain.link.from_buffer_copy(link), families=families))
        else:
            items.append("0x" + link.hex())
    if len(data) % width == 0 and attrgetter(chain.following)(chain.link.from_buffer_copy(data[-width:])):
        items.append("...")
    return Group("[", items, "]")


def target(capture: Capture, arg: Any, data: bytes) -> Node:
    """Meaning of ``data``, read by ``capture``; ``arg`` is the structure with the pointer at that moment."""
    if not data:
        return UNREADABLE
    pointer = capture.pointer
    if isinstance(pointer, Chain):
        return extensions(data, pointer, pointer.families(arg))
    kind = pointer.element(arg)
    size = pointer.size(arg)
    data = data[:size]
    if pointer.whole and isinstance(kind, Rows):
        return whole(data, kind)
    if kind is None or isinstance(kind, Rows) or len(data) < ctypes.sizeof(kind):
        return "0x" + data.hex()
    if kind is char:
        return quoted(data.rstrip(b"\0")) + ("..." if len(data) < size else "")
    if pointer.whole and issubclass(kind, Structure):
        return whole(data, kind)
    array = elements(data, kind, size // ctypes.sizeof(kind))
    return array.items[0] if pointer.single else array


def text(value: Structure, width: int = 110) -> str:
    """A structure in braces, field by field, for messages."""
    return render(structure(value), width)


Structure._text_ = staticmethod(text)


def record_text(record: Record, width: int = 110) -> str:
    """One call as strace would print it, on several lines if it is long."""
    request = record.request
    head = f"ioctl({record.fd}, {request}, "
    tail = f") = {outcome(record)}"
    if request.struct is None or isinstance(record.before, int):
        argument: Node = number(record.before) if isinstance(record.before, int) else "0"
    else:
        old = request.struct.from_buffer_copy(record.before)
        new = request.struct.from_buffer_copy(record.after) if record.after else None
        argument = structure(old, new=new, request=request, targets=targets(record, old, new or old))
    text = render(prefixed(head, argument), width)
    if "\n" not in text and len(text) + len(tail) > width:
        text = render(prefixed(head, argument), len(text) - 1)
    return text + tail


def targets(record: Record, old: Any, new: Any) -> dict[str, Node]:
    """Texts of everything that was captured, by the name of the field that points at it."""
    texts: dict[str, Node] = {}
    for capture in record.nested or ():
        before = None if capture.before is None else target(capture, old, capture.before)
        after = None if capture.after is None else target(capture, new, capture.after)
        if after is None:
            node = before
        elif before is None or capture.before == capture.after or not (_simple(before) and _simple(after)):
            node = after
        else:
            node = f"{render(before, WIDE)} => {render(after, WIDE)}"
        if node is not None:
            texts[capture.field] = node
    return texts


def _simple(node: Node) -> bool:
    """A number, a string or an array of numbers."""
    return isinstance(node, str) or (
        node.opening == "[" and all(isinstance(item, str) for item in node.items)
    )
