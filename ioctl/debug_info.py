# SPDX-License-Identifier: MIT
"""Declarations of a header, as the compiler itself describes them: the DWARF debugging information of an object file.

So all of C is understood, including attributes and macros, without a parser of our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ioctl.facts import Field, Size, Table, Text, Value
from ioctl.source import HeaderError

OPTIONS = ("-gdwarf-4", "-fno-eliminate-unused-debug-types")
_ENCODINGS = {0x02: "_Bool", 0x04: "float"}
_SIGNED = (0x05, 0x06)  # DW_ATE_signed, DW_ATE_signed_char
_INTEGERS = (*_SIGNED, 0x07, 0x08)
_RECORDS = {"DW_TAG_structure_type": "struct", "DW_TAG_union_type": "union"}
_QUALIFIERS = ("DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type", "DW_TAG_atomic_type")


@dataclass
class Declared:
    """The structures, fields and typedefs of a header, and its enumerators."""

    table: Table = field(default_factory=dict)
    enumerators: dict[str, Value] = field(default_factory=dict)


def read(path: Path, is_own: Callable[[str], bool], section: str) -> tuple[Declared, list[tuple[int, bool]]]:
    """Declarations in the files for which ``is_own`` holds, and the pairs of numbers in ``section``.

    A pair is a constant's 64 bits and whether it is below 0.
    """
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            declared = _Reader(elf.get_dwarf_info(), is_own).declared
            constants = elf.get_section_by_name(section)
            data = constants.data() if constants else b""
            order = "little" if elf.little_endian else "big"
    except ELFError as error:
        raise HeaderError(f"the compiler's output cannot be read: {error}") from None
    words = [int.from_bytes(data[at : at + 8], order) for at in range(0, len(data), 8)]  # type: ignore[arg-type]
    return declared, [(value, bool(below)) for value, below in zip(words[::2], words[1::2], strict=True)]


class _Reader:
    def __init__(self, information: Any, is_own: Callable[[str], bool]) -> None:
        self.declared = Declared()
        self.named: dict[int, str] = {}  # offset of an unnamed structure -> the typedef that names it
        for unit in information.iter_CUs():
            self.files = _files(information.line_program_for_CU(unit))
            top = list(unit.get_top_DIE().iter_children())
            for die in top:
                self._name_by_typedef(die)
            for die in top:
                if is_own(self._file(die)):
                    self._declaration(die)

    def _file(self, die: Any) -> str:
        index = die.attributes.get("DW_AT_decl_file")
        return self.files.get(index.value, "") if index else ""

    def _name_by_typedef(self, die: Any) -> None:
        if die.tag == "DW_TAG_typedef" and "DW_AT_type" in die.attributes:
            inner = die.get_DIE_from_attribute("DW_AT_type")
            if inner.tag in _RECORDS and "DW_AT_name" not in inner.attributes:
                self.named.setdefault(inner.offset, _name(die))

    def _declaration(self, die: Any) -> None:
        if die.tag in _RECORDS and "DW_AT_declaration" not in die.attributes:
            name = _name(die) or self.named.get(die.offset, "")
            if name:
                self.declared.table[name] = Size(die.attributes["DW_AT_byte_size"].value)
                self.declared.table.update(self._members(die, name + ".", 0))
        elif die.tag == "DW_TAG_enumeration_type":
            for inner in die.iter_children():
                if inner.tag == "DW_TAG_enumerator":
                    value = Value(inner.attributes["DW_AT_const_value"].value)
                    self.declared.enumerators[_name(inner)] = value
        elif die.tag == "DW_TAG_typedef" and _name(die) not in self.named.values():
            self.declared.table[_name(die)] = Text(f"typedef {self._type(die)[0]}")

    def _members(self, struct: Any, prefix: str, start: int) -> Iterator[tuple[str, Field]]:
        """Fields by their paths; those of unnamed structures and unions come as the owner's."""
        for member in struct.iter_children():
            if member.tag != "DW_TAG_member":
                continue
            name = _name(member)
            if {"DW_AT_bit_size", "DW_AT_data_bit_offset"} & set(member.attributes):
                line = member.attributes["DW_AT_decl_line"].value
                raise HeaderError(f"{line}: bit-field {name}: its place depends on the compiler")
            location = member.attributes.get("DW_AT_data_member_location")
            at = start + (location.value if location else 0)
            kind, size, record = self._type(member)
            if not name and record is not None:
                yield from self._members(record, prefix, at)
            elif record is not None and kind == "struct":
                if next(record.iter_children(), None) is not None:  # not the marker of __DECLARE_FLEX_ARRAY()
                    yield prefix + name, Field(at, size, "struct")
                    yield from self._members(record, f"{prefix}{name}.", at)
            else:
                yield prefix + name, Field(at, size, kind)

    def _type(self, die: Any) -> tuple[str, int, Any]:
        """The C type of what ``die`` declares, its size, and its structure or union if it is a whole one."""
        if "DW_AT_type" not in die.attributes:
            return "void", 0, None
        kind = die.get_DIE_from_attribute("DW_AT_type")
        if kind.tag == "DW_TAG_typedef" or kind.tag in _QUALIFIERS:
            return self._type(kind)
        size = kind.attributes["DW_AT_byte_size"].value if "DW_AT_byte_size" in kind.attributes else 0
        if kind.tag in _RECORDS:
            name = _name(kind) or self.named.get(kind.offset)
            return (f"{_RECORDS[kind.tag]} {name}" if name else "struct"), size, kind
        if kind.tag == "DW_TAG_array_type":
            element, width, _ = self._type(kind)
            for dimension in kind.iter_children():
                element += "[]"
                width *= _count(dimension)
            return element, width, None
        if kind.tag == "DW_TAG_enumeration_type":
            return f"enum {_name(kind)}".strip(), size, None
        if kind.tag == "DW_TAG_base_type":
            return _base(kind, size), size, None
        if kind.tag == "DW_TAG_pointer_type":
            return "pointer", kind.cu.header.address_size, None
        return "function", size, None


def _base(die: Any, size: int) -> str:
    encoding = die.attributes["DW_AT_encoding"].value
    if encoding not in _INTEGERS:
        return _ENCODINGS.get(encoding, _name(die))
    if _name(die) == "char":
        return "char"
    return f"__{'s' if encoding in _SIGNED else 'u'}{8 * size}"


def _count(dimension: Any) -> int:
    """The elements of an array, 0 for a flexible one."""
    if "DW_AT_count" in dimension.attributes:
        return int(dimension.attributes["DW_AT_count"].value)
    bound = dimension.attributes.get("DW_AT_upper_bound")
    return int(bound.value) + 1 if bound else 0


def _name(die: Any) -> str:
    return str(die.attributes["DW_AT_name"].value.decode()) if "DW_AT_name" in die.attributes else ""


def _files(program: Any) -> dict[int, str]:
    """The paths of the files of a unit, by their numbers."""
    if program is None:
        return {}
    folders = [b"", *program["include_directory"]]
    return {
        number: str(Path(folders[entry.dir_index].decode()) / entry.name.decode())
        for number, entry in enumerate(program["file_entry"], 1)
    }
