# SPDX-License-Identifier: MIT
"""Counts of gcov, as the kernel (kernel/gcov/gcc_4_7.c) and programs write them: read, compared, added up, written.

A ``.gcda`` has, for each function, its identity and how often each of its arcs was taken. gcov reads a whole file; here
the counts of one test are taken out of those of all, and those of several guests are added up.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

_MAGIC = int.from_bytes(b"gcda", "big")
_FUNCTION = 0x01000000
_ARCS = 0x01A10000
_OBJECT_SUMMARY = 0xA1000000


class CountsError(Exception):
    """The counts cannot be read, or are of another build; the message is one line."""


@dataclass(frozen=True)
class Counts:
    """The counts of one object file."""

    head: bytes
    """Magic, version, stamp and checksum."""
    functions: dict[bytes, array[int]]
    """Identity and checksums of a function to the counts of its arcs."""

    @classmethod
    def parse(cls, data: bytes) -> Counts:
        """Raises CountsError."""
        functions: dict[bytes, array[int]] = {}
        current = b""
        try:
            if int.from_bytes(data[:4], "little") != _MAGIC:
                raise CountsError("no counts of gcov in the byte order of this machine")
            if (compiler := _compiler(data[4:8])) < _OLDEST:
                raise CountsError(f"counts of GCC {compiler}: they can be read of GCC {_OLDEST} and later")
            for tag, length, body in _records(data):
                if tag == _FUNCTION:
                    current = body
                elif tag == _ARCS and current:
                    # A record of zeros only has a negative length, and no contents.
                    functions[current] = array("Q", body) if length >= 0 else array("Q", bytes(-length))
                elif tag != _OBJECT_SUMMARY:
                    raise CountsError(f"a record of unknown kind {tag:#x}")
        except (struct.error, ValueError):
            raise CountsError("the counts of gcov are cut off") from None
        return cls(data[:_HEAD], functions)

    def encode(self) -> bytes:
        """The counts in the format of .gcda files."""
        parts = [self.head]
        for function, counts in self.functions.items():
            parts += [struct.pack("<II", _FUNCTION, len(function)), function]
            parts += [struct.pack("<II", _ARCS, len(counts) * counts.itemsize), counts.tobytes()]
        return b"".join(parts)

    def since(self, earlier: Counts) -> Counts:
        """The counts after ``earlier``: only functions that were executed. Raises CountsError."""
        self._check(earlier)
        found = {}
        for function, counts in self.functions.items():
            before = earlier.functions.get(function)
            if before is None or counts == before:
                continue
            # Processors that count at the same time may lose a step, so that a count is lower than before.
            found[function] = array("Q", [max(a - b, 0) for a, b in zip(counts, before, strict=True)])
        return Counts(self.head, found)

    def plus(self, other: Counts) -> Counts:
        """Both together. Raises CountsError."""
        self._check(other)
        functions = dict(self.functions)
        for function, counts in other.functions.items():
            mine = functions.get(function)
            functions[function] = (
                counts if mine is None else array("Q", [a + b for a, b in zip(mine, counts, strict=True)])
            )
        return Counts(self.head, functions)

    def nothing(self) -> Counts:
        """All of its functions, with counts of zero."""
        zeros = {name: array("Q", bytes(len(c) * c.itemsize)) for name, c in self.functions.items()}
        return Counts(self.head, zeros)

    def executed(self) -> set[bytes]:
        """Functions of which an arc was taken: each that was called and returned."""
        return {function for function, counts in self.functions.items() if any(counts)}

    def _check(self, other: Counts) -> None:
        if self.head != other.head:
            raise CountsError("counts of two builds cannot be put together")


_HEAD = 16
"""Bytes, with a checksum that the kernel leaves at zero."""
_OLDEST = 12
"""Before it there was no checksum, and lengths were in words."""


def _compiler(version: bytes) -> int:
    """The release of GCC in a head: ``B22*`` is 12.2."""
    tens, units = version[3] - ord("A"), version[2] - ord("0")
    return 10 * tens + units


def _records(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Tag, length in bytes as it is written, and contents of each record."""
    at = _HEAD
    while at < len(data):
        (tag,) = struct.unpack_from("<I", data, at)
        if not tag:
            return  # a program's file ends with this, the kernel's with its last record
        (length,) = struct.unpack_from("<i", data, at + 4)
        at += 8
        end = at + max(length, 0)
        if end > len(data):
            raise CountsError("the counts of gcov are cut off")
        yield tag, length, data[at:end]
        at = end
