# SPDX-License-Identifier: MIT
"""A header as a C compiler sees it: the table of its sizes, offsets, numbers and values.

The compiler translates to an object file, in whose debugging information the structures are (``ioctl.debug_info``), and
in one section of which are the values of the macros. Nothing is linked or run, so a cross compiler works too, and no C
library is needed.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from ioctl import debug_info
from ioctl.compiler import CompileError, Compiler
from ioctl.facts import Number, Table, Text, Value
from ioctl.source import HeaderError, Source

STAND_IN = Path(__file__).with_name("stand_in.h")
# Headers that stand_in.h replaces; a machine without a 32-bit C library lacks gnu/stubs-32.h.
EMPTY = (
    *("drm.h", "drm/drm.h", "uapi/drm/drm.h"),
    *(f"{where}linux/{name}.h" for where in ("", "uapi/") for name in ("types", "ioctl", "stddef")),
    *("linux/compiler.h", "linux/compiler_types.h", "linux/posix_types.h", "asm/types.h", "asm/ioctl.h"),
    *("asm-generic/ioctl.h", "asm-generic/int-ll64.h", "gnu/stubs-32.h"),
)
SECTION = "svmcts"
CONSTANTS = "constants"
_MARK = re.compile(r'# (?P<line>\d+) "(?P<file>(?:[^"\\]|\\.)*)"')
_DEFINE = re.compile(r"#\s*define\s+(?P<name>\w+)(?P<arguments>\([^)]*\))?\s*(?P<body>.*)")
_UNDEF = re.compile(r"#\s*undef\s+(\w+)")
_ENTRY = re.compile(r"\[\s*(\w+)\s*\]\s*=\s*(\"[^\"]*\")")
_LINE = re.compile(r"^[^\S\n]*#[^\S\n]*(?:line\b|\d)[^\n]*", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_]\w*")
_OR = re.compile(r"[\w\s()|]+")


@dataclass
class _Macros:
    """The macros of a header by what can be asked about them: a number, or only their text."""

    numbers: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    entries: dict[str, tuple[str, str]] = field(default_factory=dict)  # key -> index, string
    files: set[str] = field(default_factory=set)


class Probe:
    """A header and a compiler."""

    def __init__(self, source: Source, compiler: Compiler) -> None:
        self.source = source
        self.compiler = compiler

    def table(self, *options: str) -> Table:
        """All facts, with these compiler options; HeaderError when the compiler does not translate the header."""
        with tempfile.TemporaryDirectory(prefix="svmcts-abi-") as name:
            place = Path(name).resolve()
            search = self._lay_out(place)
            try:
                if options:  # the folders of the other width may be missing here, and these are the same
                    search += [f"-idirafter{folder}" for folder in self.compiler.folders(place)]
                return self._table(place, ["-w", "-ffreestanding", *search, *options])
            except CompileError as error:
                said = str(error).removeprefix("./").removeprefix("own/")
                raise HeaderError(f"{self.source.label}: {self.compiler}: {said}") from None

    def _lay_out(self, place: Path) -> list[str]:
        for name in EMPTY:
            path = place / "empty" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (place / STAND_IN.name).write_text(STAND_IN.read_text())
        (place / "own").mkdir()
        # Line markers that name another file although they belong to this one.
        (place / "own" / self.source.name).write_text(_LINE.sub("", self.source.text))
        search = ["-Iempty"]
        if self.source.folder is not None:
            (place / "around" / "uapi").mkdir(parents=True)
            for link in ("drm", "uapi/drm"):  # for <drm/xe_drm.h> in a header that extends it
                (place / "around" / link).symlink_to(self.source.folder)
            search += [f"-I{self.source.folder}", "-Iaround"]
        return search

    def _table(self, place: Path, options: list[str]) -> Table:
        whole = f'#include "{STAND_IN.name}"\n#include "own/{self.source.name}"\n#line 1 "end of {self.source.name}"\n'
        (place / "header.c").write_text(whole)
        self.compiler.run(place, *options, "-E", "-dD", "header.c", "-o", "header.i")
        macros = self._macros(place, (place / "header.i").read_text(errors="replace"))
        refused: set[str] = set()
        while True:
            asked = [name for name in (*macros.numbers, *macros.entries) if name not in refused]
            values = "".join(
                f'# {line} "{CONSTANTS}"\n{{ (unsigned long long)({what}), ({what}) < 0 }},\n'
                for line, what in enumerate((macros.entries.get(name, (name,))[0] for name in asked), 1)
            )
            array = f'__attribute__((used, section("{SECTION}")))\nstatic const unsigned long long values[][2] = {{\n'
            (place / "values.c").write_text(f"{whole}{array}{values}}};\n")
            self.compiler.run(place, *options, "-E", "values.c", "-o", "values.i")
            try:
                self.compiler.run(
                    place,
                    *options,
                    *debug_info.OPTIONS,
                    "-c",
                    "values.i",
                    "-o",
                    "values.o",
                )
                break
            except CompileError as error:
                refused |= {asked[line - 1] for line in _lines_of_constants(error)}
        return self._facts(place, macros, asked)

    def _own(self, place: Path, file: str) -> bool:
        """Whether a file is the header, or one next to it that it includes."""
        if not file or file.startswith("<"):
            return False
        folder = Path(os.path.realpath(place / file)).parent
        return folder in (place / "own", self.source.folder)

    def _macros(self, place: Path, preprocessed: str) -> _Macros:
        """The macros that are there at the end of the header."""
        bodies: dict[str, tuple[str | None, str]] = {}
        files: set[str] = set()
        own = False
        for line in preprocessed.splitlines():
            if mark := _MARK.match(line):
                own = self._own(place, mark["file"])
                files |= {mark["file"]} if own else set()
            elif (define := _DEFINE.match(line)) and own:
                bodies[define["name"]] = define["arguments"], define["body"].strip()
            elif undef := _UNDEF.match(line):
                bodies.pop(undef[1], None)
        macros = _Macros(files=files)
        for name, (arguments, body) in bodies.items():
            if arguments:
                macros.texts[name] = f"{arguments} {body}"
            elif body.startswith("{") and (entries := _ENTRY.findall(body)):
                macros.entries.update((f"{name}[{index}]", (index, text[1:-1])) for index, text in entries)
            elif '"' in body or not _balanced(body):
                macros.texts[name] = body
            elif body:
                macros.numbers[name] = body
        return macros

    def _facts(self, place: Path, macros: _Macros, asked: list[str]) -> Table:
        try:
            declared, pairs = debug_info.read(
                place / "values.o", lambda file: self._own(place, file), SECTION
            )
        except HeaderError as error:
            raise HeaderError(f"{self.source.label}:{error}") from None
        values = {
            name: value - 2**64 if below else value for name, (value, below) in zip(asked, pairs, strict=True)
        }
        text = "\n".join((place / file).read_text(errors="replace") for file in sorted(macros.files))
        table = declared.table
        constants: Table = {}
        for name in (*macros.numbers, *declared.enumerators):
            if name not in values and name not in declared.enumerators:
                constants[name] = Text(macros.numbers[name])
                continue
            value = values[name] if name in values else declared.enumerators[name].value
            if "_IOCTL_" in name:
                constants[name] = Number(value % 2**32)
            else:
                abi = re.search(rf"\b{name}\b[^\n]*non-ABI", text) is None
                constants[name] = Value(value, abi)
        bodies = macros.numbers | _enumerators_given(text, declared.enumerators)
        for name, fact in constants.items():
            if isinstance(fact, Value):
                constants[name] = replace(fact, made_of=_made_of(bodies.get(name, ""), constants))
        table.update(constants)
        table.update((name, Text(text)) for name, text in macros.texts.items())
        for name, (index, text) in macros.entries.items():
            table[f"{name.partition('[')[0]}[{values.get(name, index)}]"] = Text(text)
        if not any(name.startswith("DRM_XE_") for name in table):
            raise HeaderError(f"{self.source.label}: declares no DRM_XE_ names, not a xe_drm.h")
        return table


def _balanced(body: str) -> bool:
    depth = 0
    for sign in body:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            return False
    return depth == 0


def _lines_of_constants(error: CompileError) -> set[int]:
    """The lines of macros that are not constants; any other error stays one."""
    lines: set[int] = set()
    for place, _ in error.errors:
        found = re.match(rf"{CONSTANTS}:(\d+)", place)
        if found is None:
            raise error
        lines.add(int(found[1]))
    return lines


def _enumerators_given(text: str, enumerators: dict[str, Value]) -> dict[str, str]:
    """Values of enumerators in the header's text."""
    given = {name: re.search(rf"\b{name}\s*=([^,}}\n]*)", text) for name in enumerators}
    return {name: found[1] for name, found in given.items() if found}


def _made_of(body: str, constants: Table) -> tuple[str, ...]:
    """The names that are or-ed in a definition, if there is nothing else in it."""
    if not _OR.fullmatch(body):
        return ()
    words = re.findall(r"\w+", body)
    known = all(_NAME.fullmatch(word) and isinstance(constants.get(word), Value) for word in words)
    return tuple(words) if known else ()
