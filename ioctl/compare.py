# SPDX-License-Identifier: MIT
"""What a header breaks, and what it adds, against a uAPI that programs were built for.

The rules are the kernel's for uAPI structures: names stay, numbers and values stay, a field stays at its place in its
size, a structure keeps its size. What was ``pad`` or ``reserved`` may get a name: programs had to put zeros there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from ioctl import names
from ioctl.facts import Fact, Field, Number, Size, Table, Text, Value, spare, struct_of


class Kind(Enum):
    """How grave a finding is; only BREAKS fails the check."""

    BREAKS = "breaks"
    WARNS = "warns"
    ADDS = "adds"


@dataclass(frozen=True)
class Finding:
    """One difference, in one line."""

    kind: Kind
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind.value:7} {self.name}: {self.text}"


def compare(old: Table, new: Table, since: dict[str, str]) -> list[Finding]:
    """All findings of ``new`` against ``old``; ``since`` tells the age of names."""
    return [*_lost_or_changed(old, new, since), *_shared(old, new), *_holes(old, new), *_added(old, new)]


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Breakages first, otherwise as they come."""
    return sorted(findings, key=lambda finding: list(Kind).index(finding.kind))


def _lost_or_changed(old: Table, new: Table, since: dict[str, str]) -> Iterator[Finding]:
    for name, fact in old.items():
        now = new.get(name)
        if now == fact or (isinstance(fact, Value) and not fact.abi):
            continue
        if isinstance(fact, Field) and spare(name):
            yield from _spare(name, fact, now, old, new)
            continue
        if isinstance(fact, Field) and struct_of(name) not in new:
            continue  # the structure is reported
        age = f" (in the uAPI since {since[name]})" if name in since else ""
        text = _lost(name, fact, old, new) if now is None else _changed(fact, now)
        yield Finding(Kind.BREAKS, name, text + age)


def _spare(name: str, fact: Field, now: Fact | None, old: Table, new: Table) -> Iterator[Finding]:
    """Reserved room that changed: fine as long as it is still reserved, or named fields took it over."""
    struct = struct_of(name)
    if new.get(struct) != old[struct]:
        return  # the size is reported
    if isinstance(now, Field) and now.offset <= fact.offset and fact.end <= now.end:
        return
    took = [
        key.removeprefix(struct + ".")
        for key, field in new.items()
        if key.startswith(struct + ".")
        and isinstance(field, Field)
        and key not in old
        and field.offset < fact.end
        and fact.offset < field.end
    ]
    if took:
        left = now.size if isinstance(now, Field) else 0
        yield Finding(
            Kind.ADDS, name, f"taken over by {', '.join(took)}; {left} of {fact.size} bytes are left"
        )
    elif isinstance(now, Field):
        yield Finding(Kind.BREAKS, name, _changed(fact, now))
    else:
        yield Finding(Kind.BREAKS, name, f"removed, {fact.size} bytes at {fact.offset} without a name")


def _lost(name: str, fact: Fact, old: Table, new: Table) -> str:
    match fact:
        case Size():
            return "structure removed"
        case Number():
            return "request removed"
        case Text():
            return f'"{fact.text}" removed'
        case Value():
            same = [key for key, value in new.items() if key not in old and value == fact]
            alike = [key for key in same if names.family_of(key) == names.family_of(name) is not None]
            return f"removed, or renamed to {alike[0]}" if alike else "removed"
        case Field():
            prefix = name.rpartition(".")[0] + "."
            for key, field in new.items():
                there = isinstance(field, Field) and (field.offset, field.size) == (fact.offset, fact.size)
                if there and key.startswith(prefix) and key not in old:
                    return f"renamed to {key.removeprefix(prefix)}: programs do not compile any more"
            return f"field removed from offset {fact.offset}"


def _changed(fact: Fact, now: Fact) -> str:
    match fact, now:
        case Size(size=a), Size(size=b):
            hint = "; room for more is in reserved fields and extensions" if b > a else ""
            return f"size {a} -> {b} bytes{hint}"
        case Field(), Field():
            changes = [
                f"{what} {a} -> {b}"
                for what, a, b in (
                    ("offset", fact.offset, now.offset),
                    ("size", fact.size, now.size),
                    ("type", fact.type, now.type),
                )
                if a != b
            ]
            return ", ".join(changes)
        case Number(number=a), Number(number=b):
            parts = [
                f"{what} {x} -> {y}" for what, x, y in zip(PARTS, apart(a), apart(b), strict=True) if x != y
            ]
            return f"request {a:#x} -> {b:#x}: {', '.join(parts)}"
        case Value(value=a), Value(value=b):
            return f"value {plain(a)} -> {plain(b)}" if a != b else "now called non-ABI"
        case Text(text=a), Text(text=b):
            return f'"{a}" -> "{b}"'
    return f"{fact} -> {now}"


PARTS = ("direction", "size", "type", "number")
DIRECTIONS = ("_IO", "_IOW", "_IOR", "_IOWR")


def apart(number: int) -> tuple[str, int, str, str]:
    """Direction, size in bytes, type and number of a request (include/uapi/asm-generic/ioctl.h)."""
    return DIRECTIONS[number >> 30], number >> 16 & 0x3FFF, repr(chr(number >> 8 & 0xFF)), hex(number & 0xFF)


def plain(value: int) -> str:
    """A constant: small ones in decimal, others in hexadecimal."""
    return str(value) if -1 <= value < 10 else hex(value)


def _shared(old: Table, new: Table) -> Iterator[Finding]:
    """New names that take the bit, the value or the number of another name."""
    requests: dict[tuple[str, str], str] = {}
    values: dict[tuple[names.Family, int], str] = {}
    for name, fact in sorted(new.items(), key=lambda item: item[0] not in old):
        if isinstance(fact, Number):
            *_, kind, nr = apart(fact.number)
            other = requests.setdefault((kind, nr), name)
            if other != name and name not in old:
                yield Finding(Kind.BREAKS, name, f"number {nr} is that of {other}")
        family = names.family_of(name)
        command = f"DRM_IOCTL_{name.removeprefix('DRM_')}" in new
        if isinstance(fact, Value) and fact.abi and family is not None and not command:
            for bit in _bits(fact.value) if family.flags else [fact.value]:
                other = values.setdefault((family, bit), name)
                if other != name and name not in old:
                    what = f"bit {bit:#x}" if family.flags else f"value {plain(bit)}"
                    yield Finding(Kind.BREAKS, name, f"{what} is that of {other}")


def _bits(value: int) -> list[int]:
    return [1 << at for at in range(64) if value >> at & 1]


def _added(old: Table, new: Table) -> Iterator[Finding]:
    for name, fact in new.items():
        if name in old:
            continue
        match fact:
            case Size():
                fields = [key.removeprefix(name + ".") for key in new if struct_of(key) == name != key]
                yield Finding(Kind.ADDS, name, f"structure of {fact.size} bytes: {', '.join(fields)}")
            case Field() if struct_of(name) in old:
                size = f"{fact.size} bytes" if fact.size else "flexible"
                yield Finding(Kind.ADDS, name, f"{fact.type} at offset {fact.offset}, {size}")
            case Number():
                direction, width, kind, nr = apart(fact.number)
                yield Finding(Kind.ADDS, name, f"{direction}({kind}, {nr}, {width} bytes) = {fact.number:#x}")
                yield from _numbering(name, nr, new)
            case Value():
                yield Finding(Kind.ADDS, name, plain(fact.value) + ("" if fact.abi else ", non-ABI"))
            case Text():
                yield Finding(Kind.ADDS, name, f'"{fact.text}"')


def _holes(old: Table, new: Table) -> Iterator[Finding]:
    """Bytes that have no name: the kernel cannot ask for zeros there, so nobody can use them later."""
    known = _unnamed(old)
    for name, holes in _unnamed(new).items():
        fresh = sorted(holes - known.get(name, set()))
        if fresh:
            text = f"bytes {fresh[0]} to {fresh[-1]} have no name; call them pad and reject what is not zero"
            yield Finding(Kind.WARNS, name, text)


def _unnamed(table: Table) -> dict[str, set[int]]:
    bytes_of = {name: set(range(fact.size)) for name, fact in table.items() if isinstance(fact, Size)}
    for name, fact in table.items():
        if isinstance(fact, Field) and fact.type != "struct":
            bytes_of[struct_of(name)].difference_update(range(fact.offset, fact.end))
    return {name: rest for name, rest in bytes_of.items() if rest}


def _numbering(name: str, nr: str, new: Table) -> Iterator[Finding]:
    """xe_drm.h asks for command numbers without holes."""
    taken = {int(apart(fact.number)[3], 16) for fact in new.values() if isinstance(fact, Number)}
    if int(nr, 16) - 1 not in taken and int(nr, 16):
        yield Finding(Kind.WARNS, name, f"number {nr} leaves a hole below it; the header asks for none")


def differing_layout(table: Table, narrow: Table) -> list[Finding]:
    """Where 32-bit programs see other places than 64-bit ones: xe has no translation between the two."""
    return [
        Finding(Kind.BREAKS, name, f"differs for 32-bit programs: {_changed(fact, narrow[name])}")
        for name, fact in table.items()
        if isinstance(fact, Size | Field | Number) and narrow[name] != fact
    ]
