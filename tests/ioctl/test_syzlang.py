# SPDX-License-Identifier: MIT
"""The descriptions for syzkaller follow its documented grammar, and have only existing names.

The same mistakes are refused as by syzkaller's compiler: unknown or unused types, a resource that nothing makes or
takes, the length of something that is not next to it.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from ioctl import abi, drm, syzlang, xe
from ioctl.encoding import Request

NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
INTS = {"int8": 1, "int16": 2, "int32": 4, "int64": 8}
BUILTIN = {*INTS, "const", "flags", "len", "bytesize", "array", "ptr", "ptr64", "string", "fd"}


@dataclass
class File:
    """Declarations of a file of descriptions, by name."""

    resources: dict[str, str] = field(default_factory=dict)
    calls: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    gives: dict[str, str] = field(default_factory=dict)
    structs: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    unions: set[str] = field(default_factory=set)
    flags: dict[str, list[str]] = field(default_factory=dict)


def split(text: str) -> list[str]:
    """Parts between commas that are not in brackets or quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for at, sign in enumerate(text):
        quoted ^= sign == '"'
        depth += 0 if quoted else (sign == "[") - (sign == "]")
        if sign == "," and not depth and not quoted:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


def parse(text: str) -> File:
    """Read descriptions; raises ValueError with the line for what the grammar does not have."""
    found, block = File(), ""
    for number, line in enumerate(text.splitlines(), 1):
        if block:
            if line in ("}", "]"):
                block = ""
            elif match := re.fullmatch(rf"\t({NAME})\t(.+?)( \((?:in|out|inout)\))?", line):
                found.structs[block].append((match[1], match[2], match[3] or ""))
            else:
                raise ValueError(f"line {number}: {line!r} is not a field")
        elif not line or line.startswith("#") or re.fullmatch(r"include <[\w./]+>", line):
            continue
        elif match := re.fullmatch(rf"resource ({NAME})\[({NAME})\](: .+)?", line):
            found.resources[match[1]] = match[2]
        elif match := re.fullmatch(rf"({NAME}(?:\${NAME})?)\((.*)\)(?: ({NAME}))?", line):
            arguments = [tuple(part.split(" ", 1)) for part in split(match[2])]
            if (
                any(len(one) != 2 or not re.fullmatch(NAME, one[0]) for one in arguments)
                or len(arguments) > 9
            ):
                raise ValueError(f"line {number}: {line!r} is not a call")
            found.calls[match[1]] = arguments  # type: ignore[assignment]
            found.gives[match[1]] = match[3] or ""
        elif match := re.fullmatch(rf"({NAME}) ([{{\[])", line):
            block = match[1]
            if block in found.structs:
                raise ValueError(f"line {number}: {block} is there twice")
            found.structs[block] = []
            if match[2] == "[":
                found.unions.add(block)
        elif match := re.fullmatch(rf"({NAME}) = ({NAME}(?:, {NAME})*)", line):
            found.flags[match[1]] = match[2].split(", ")
        else:
            raise ValueError(f"line {number}: {line!r} is not a statement")
    return found


def types(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each type in an expression, with its options."""
    match = re.fullmatch(rf"({NAME})(?:\[(.*)\])?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a type")
    options = split(match[2]) if match[2] is not None else []
    yield match[1], options
    inner = {"array": options[:1], "ptr": options[1:2], "ptr64": options[1:2]}.get(match[1], [])
    for one in inner:
        yield from types(one)


def faults(file: File) -> Iterator[str]:
    """Errors that the compiler of descriptions would report."""
    used: set[str] = set()
    made: set[str] = set(file.gives.values())
    taken: set[str] = set()
    places = [(name, "", [(n, t, "") for n, t in arguments]) for name, arguments in file.calls.items()]
    places += [(name, name, fields) for name, fields in file.structs.items()]
    for where, struct, fields in places:
        names = [name for name, *_ in fields]
        if len(set(names)) < len(names) or not names:
            yield f"{where}: fields {names}"
        for name, text, attribute in fields:
            for kind, options in types(text):
                if kind not in BUILTIN and kind not in file.structs and kind not in file.resources:
                    yield f"{where}.{name}: no type {kind}"
                if kind in file.structs and struct == kind and "ptr" not in text:
                    yield f"{where}.{name}: has itself inside"
                used.add(kind)
                if kind in file.resources:
                    (made if "out" in attribute else taken).add(kind)
                if kind == "flags":
                    used.add(options[0])
                    if options[0] not in file.flags:
                        yield f"{where}.{name}: no flags {options[0]}"
                if kind in ("len", "bytesize") and options[0] not in names:
                    yield f"{where}.{name}: the length of {options[0]}, which is not next to it"
                if kind in ("ptr", "ptr64") and options[0] not in ("in", "out", "inout"):
                    yield f"{where}.{name}: a pointer {options[0]}"
                if kind in ("flags", "len", "bytesize") and struct and options[1] not in INTS:
                    yield f"{where}.{name}: {kind} of no size"
    for name, values in file.flags.items():
        known = [getattr(xe, value, getattr(drm, value, value)) for value in values]
        if len(values) > 1 and len(set(known)) == 1:
            yield f"{name}: all values are equal"
    yield from (f"{name}: nothing makes it" for name in file.resources if name not in made)
    yield from (f"{name}: nothing takes it" for name in file.resources if name not in taken)
    yield from (f"{name}: not used" for name in {*file.structs, *file.flags} - used)


def size(file: File, text: str) -> int:
    """Bytes of a type."""
    (kind, options), *_ = types(text)
    match kind:
        case "array":
            return int(options[1]) * size(file, options[0])
        case "ptr64":
            return 8
        case "const" | "flags" | "len" | "bytesize":
            return INTS[options[1]]
    if kind in INTS:
        return INTS[kind]
    if kind in file.resources:
        return INTS[file.resources[kind]]
    sizes = [size(file, inner) for _, inner, _ in file.structs[kind]]
    return max(sizes) if kind in file.unions else sum(sizes)


@pytest.fixture(scope="module")
def file() -> File:
    return parse(syzlang.descriptions())


def test_descriptions_follow_the_grammar(file: File) -> None:
    assert not list(faults(file))


def test_each_request_of_the_driver_is_there(file: File) -> None:
    assert {f"ioctl${request.name}" for request in xe.REQUESTS} <= file.calls.keys()


def test_structures_have_the_sizes_of_the_header(file: File) -> None:
    checked = 0
    for name in file.structs:
        kind = getattr(xe, name, None) or getattr(drm, name.removesuffix("_xe"), None)
        if kind is not None:
            assert size(file, name) == ctypes.sizeof(kind), name
            checked += 1
    assert checked > 25


def test_constants_are_those_of_the_header(file: File) -> None:
    names = {name for flags in file.flags.values() for name in flags} - {"O_RDONLY", "O_RDWR", "O_CLOEXEC"}
    assert len(names) > 80
    missing = [name for name in names if not hasattr(xe, name) and not hasattr(drm, name)]
    assert not missing
    commands = {dict(arguments)["cmd"] for name, arguments in file.calls.items() if name.startswith("ioctl$")}
    assert all(
        isinstance(getattr(xe, one[6:-1], None) or getattr(drm, one[6:-1]), Request) for one in commands
    )


def test_objects_are_resources(file: File) -> None:
    fields = {f"{struct}.{name}": text for struct, rows in file.structs.items() for name, text, _ in rows}
    assert fields["drm_xe_vm_bind.vm_id"] == "xe_vm_id"
    assert fields["drm_xe_vm_bind.num_syncs"] == "len[syncs, int32]"
    assert fields["drm_xe_device_query.size"] == "len[data, int32]"
    assert fields["drm_xe_user_extension.next_extension"] == "ptr64[in, drm_xe_ext_set_property, opt]"
    assert file.gives["ioctl$DRM_IOCTL_XE_OBSERVATION"] == "fd_xe_stream"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a {\n\tb\tint32\n}\nf(x ptr[in, a])\n", ""),
        ("a {\n\tb\tc\n}\nf(x ptr[in, a])\n", "a.b: no type c"),
        ("a {\n\tb\tlen[c, int32]\n}\nf(x ptr[in, a])\n", "a.b: the length of c"),
        ("a {\n\tb\tflags[c, int32]\n}\nf(x ptr[in, a])\n", "a.b: no flags c"),
        ("a {\n\tb\tint32\n}\n", "a: not used"),
        ("resource r[int32]\nf(x r)\n", "r: nothing makes it"),
        ("f(x ptr[to, array[int8]])\n", "f.x: a pointer to"),
        (
            "a = DRM_XE_OA_EXTENSION_SET_PROPERTY, DRM_XE_EXEC_QUEUE_EXTENSION_SET_PROPERTY\nf(x flags[a])\n",
            "a: all values are equal",
        ),
    ],
)
def test_what_the_compiler_refuses_is_found(line: str, says: str) -> None:
    found = list(faults(parse(line)))
    assert found[0].startswith(says) if says else not found


def test_what_is_not_in_the_grammar_is_found() -> None:
    for line in ("a {\n\tb int32\n}", "f(x)", "a = 1b", "struct a {"):
        with pytest.raises(ValueError, match="line"):
            parse(line)


def test_command_writes_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert abi.main(["--syzlang"]) == 0
    assert capsys.readouterr().out.rstrip("\n") == syzlang.descriptions().rstrip("\n")
