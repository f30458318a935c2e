# SPDX-License-Identifier: MIT
"""Breaking changes and additions of a header, relative to a uAPI that programs were built for.

The rules are the kernel's for uAPI structures: names stay, numbers and values stay, a field stays at its place in its
size, a structure keeps its size. What was ``pad`` or ``reserved`` may get a name: programs had to put zeros there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from ioctl import names
from ioctl.about import Family
from ioctl.facts import Fact, Field, Number, Size, Table, Text, Value, spare, struct_of
from ioctl.history import History


class Kind(Enum):
    """Severity of a finding; only BREAKS fails the check."""

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


def compare(old: Table, new: Table, past: History) -> list[Finding]:
    """All findings of ``new`` against ``old``, and where its new names are not those of a version of ``past``."""
    return [
        *_lost_or_changed(old, new, past.since),
        *_shared(old, new),
        *_elsewhere(old, new, past),
        *_holes(old, new),
        *_added(old, new),
    ]


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Breakages first, otherwise in the order found."""
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
        if isinstance(now, Value) and isinstance(fact, Value) and _grown_mask(name, fact, now, old, new):
            yield Finding(Kind.WARNS, name, f"covers more bits, {plain(fact.value)} -> {plain(now.value)}")
            continue
        age = f" (in the uAPI since {since[name]})" if name in since else ""
        text = _lost(name, fact, old, new) if now is None else _changed(fact, now)
        yield Finding(Kind.BREAKS, name, text + age)


def _spare(name: str, fact: Field, now: Fact | None, old: Table, new: Table) -> Iterator[Finding]:
    """Reserved space that changed: allowed if it is still reserved, or if named fields took it over."""
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
    """New names that reuse the bit, the value or the number of another name."""
    requests: dict[tuple[str, str], str] = {}
    values: dict[tuple[Family, int], str] = {}
    for name, fact in sorted(new.items(), key=lambda item: item[0] not in old):
        if isinstance(fact, Number):
            *_, kind, nr = apart(fact.number)
            other = requests.setdefault((kind, nr), name)
            if other != name and name not in old:
                yield Finding(Kind.BREAKS, name, f"number {nr} is that of {other}")
        elif isinstance(fact, Value):
            for family, value in _taken(name, fact, new):
                other = values.setdefault((family, value), name)
                if root(other, new) != root(name, new) and name not in old:
                    yield Finding(Kind.BREAKS, name, f"{_what(family, value)} is that of {other}")


def _elsewhere(old: Table, new: Table, past: History) -> Iterator[Finding]:
    """New names that a recorded version has with another meaning, or whose place it uses for something else.

    Programs that were built for that version would find the other meaning here.
    """
    fresh = {name: fact for name, fact in new.items() if name not in old}
    differs: set[str] = set()
    takes: set[str] = set()
    for version in past.names:
        table = past.table(version)
        places = _places(table)
        for name, fact in fresh.items():
            there = table.get(name)
            if there is not None:
                promised = not spare(name) and _promised(there) and _promised(fact)
                if there != fact and promised and name not in differs:
                    differs.add(name)
                    text = f"{_brief(fact)} here, {_brief(there)} in Linux {version}"
                    yield Finding(Kind.BREAKS, name, text)
                continue
            if name in takes or any(key in old and root(key, new) == root(name, new) for key in new):
                continue  # an alias of a name that has its place already takes none
            for what, other in _used(name, fact, new, table, places):
                if other not in new and other not in old:
                    takes.add(name)
                    since = past.since.get(other, version)
                    yield Finding(Kind.BREAKS, name, f"{what} is that of {other} since {since}")
                    break


Places = dict[object, str]


def _places(table: Table) -> Places:
    """Owners of each request number and of each value of a family."""
    places: Places = {}
    for name, fact in table.items():
        if isinstance(fact, Number):
            places[apart(fact.number)[2:]] = name
        elif isinstance(fact, Value):
            places.update((taken, name) for taken in _taken(name, fact, table))
    return places


def _used(name: str, fact: Fact, new: Table, table: Table, places: Places) -> Iterator[tuple[str, str]]:
    """Conflict of a fact with a version that does not have it: the place in words, and the name that it has there."""
    match fact:
        case Number(number=number):
            if other := places.get(apart(number)[2:]):
                yield f"number {apart(number)[3]}", other
        case Value():
            for family, value in _taken(name, fact, new):
                if other := places.get((family, value)):
                    yield _what(family, value), other
        case Field(size=size, type=kind) if size and kind != "struct" and not spare(name):
            for other, field in table.items():
                named = isinstance(field, Field) and field.type != "struct" and not spare(other)
                if not named or struct_of(other) != struct_of(name):
                    continue
                assert isinstance(field, Field)
                if field.offset < fact.end and fact.offset < field.end:
                    yield f"the place at offset {fact.offset}", other


def _taken(name: str, fact: Value, table: Table) -> Iterator[tuple[Family, int]]:
    """The values of a family that a constant occupies: each bit of a flag; none if it is made of others."""
    family = names.family_of(name)
    if not fact.abi or family is None or f"DRM_IOCTL_{name.removeprefix('DRM_')}" in table:
        return
    if not family.flags:
        yield family, fact.value
    elif len(fact.made_of) < 2 and not _is_mask(name, fact, table):
        for bit in _bits(fact.value):
            yield family, bit


def _what(family: Family, value: int) -> str:
    return f"bit {value:#x}" if family.flags else f"value {plain(value)}"


def root(name: str, table: Table) -> str:
    """The name that a constant is an alias of in the end, itself if it is not one."""
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        fact = table.get(name)
        if isinstance(fact, Value) and len(fact.made_of) == 1:
            name = fact.made_of[0]
    return name


def _is_mask(name: str, fact: Value, table: Table) -> bool:
    """Whether a flag's name says that it is a mask, and it is one of other names of its family."""
    if not name.endswith("_MASK"):
        return False
    family, covered = names.family_of(name), 0
    for other, value in table.items():
        if isinstance(value, Value) and other != name and not other.endswith("_MASK"):
            inside = value.value & ~fact.value == 0 and names.family_of(other) == family
            covered |= value.value if inside else 0
    return covered == fact.value


def _grown_mask(name: str, fact: Value, now: Value, old: Table, new: Table) -> bool:
    grown = fact.value & ~now.value == 0
    return grown and now.abi and _is_mask(name, fact, old) and _is_mask(name, now, new)


def _promised(fact: Fact) -> bool:
    return not isinstance(fact, Value) or fact.abi


def _brief(fact: Fact) -> str:
    """A fact in few words."""
    match fact:
        case Size(size=size):
            return f"{size} bytes"
        case Field():
            return f"{fact.type} at offset {fact.offset}"
        case Number(number=number):
            return f"request {number:#x}"
        case Value(value=value):
            return plain(value)
        case Text(text=text):
            return f'"{text}"'


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
                about = _relation(name, fact, old, new) + ("" if fact.abi else ", non-ABI")
                yield Finding(Kind.ADDS, name, plain(fact.value) + about)
            case Text():
                yield Finding(Kind.ADDS, name, f'"{fact.text}"')


def _relation(name: str, fact: Value, old: Table, new: Table) -> str:
    """The names of which a new one is an alias or a combination."""
    same = [other for other in new if other != name and root(other, new) == root(name, new)]
    known = [other for other in same if other in old] or list(fact.made_of[:1])
    if len(fact.made_of) > 1 or (fact.made_of and name.endswith("_MASK")):
        return f", of {' and '.join(fact.made_of)}"
    return f", an alias of {known[0]}" if known else ""


def _holes(old: Table, new: Table) -> Iterator[Finding]:
    """Bytes that have no name: the kernel cannot check for zeros there, so they cannot be used later."""
    known = _unnamed(old)
    for name, holes in _unnamed(new).items():
        for first, end in holes:
            if not any(start <= first and end <= stop for start, stop in known.get(name, ())):
                text = f"bytes {first} to {end - 1} have no name; call them pad and reject what is not zero"
                yield Finding(Kind.WARNS, name, text)


def _unnamed(table: Table) -> dict[str, list[tuple[int, int]]]:
    """For each structure, its ranges of bytes (half-open) without a field."""
    fields: dict[str, list[Field]] = {name: [] for name, fact in table.items() if isinstance(fact, Size)}
    for name, fact in table.items():
        if isinstance(fact, Field) and fact.type != "struct":
            fields[struct_of(name)].append(fact)
    holes: dict[str, list[tuple[int, int]]] = {}
    for name, members in fields.items():
        size = table[name]
        assert isinstance(size, Size)
        at = 0
        for member in [*sorted(members, key=lambda field: field.offset), Field(size.size, 0, "")]:
            if at < member.offset:
                holes.setdefault(name, []).append((at, member.offset))
            at = max(at, member.end)
    return holes


def _numbering(name: str, nr: str, new: Table) -> Iterator[Finding]:
    """xe_drm.h requires command numbers without gaps."""
    taken = {int(apart(fact.number)[3], 16) for fact in new.values() if isinstance(fact, Number)}
    if int(nr, 16) - 1 not in taken and int(nr, 16):
        yield Finding(Kind.WARNS, name, f"number {nr} leaves a hole below it; the header asks for none")


def differing_layout(table: Table, narrow: Table) -> Iterator[Finding]:
    """Differences between 32-bit and 64-bit programs: xe has no translation between the two."""
    for name, fact in table.items():
        if name not in narrow:
            yield Finding(Kind.BREAKS, name, "is not there for 32-bit programs")
        elif narrow[name] != fact:
            yield Finding(Kind.BREAKS, name, f"differs for 32-bit programs: {_changed(fact, narrow[name])}")
    for name in narrow.keys() - table.keys():
        yield Finding(Kind.BREAKS, name, "is there for 32-bit programs only")
