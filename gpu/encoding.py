# SPDX-License-Identifier: MIT
"""Definition of a command: its header, its length rule, its fields.

A command is a class. Its fields are descriptors: they read a decoded instruction (``command.address``), and
``encode`` writes with them. So encoder, decoder and executor cannot disagree.

Header layout (xe: instructions/xe_instr_defs.h): bits 31:29 are the type, the rest depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Self, overload

MI, BLT, GFXPIPE, GFX_STATE = 0, 2, 3, 4


class Field:
    """One named value of a command; ``first`` is the dword where it starts."""

    name: str
    first: int

    def __set_name__(self, owner: type[Command], name: str) -> None:
        self.name = name


class Bits(Field):
    """Bits high:low of one dword."""

    def __init__(
        self, dword: int, high: int, low: int | None = None, *, values: Mapping[int, str] | None = None
    ):
        low = high if low is None else low
        self.first = dword
        self.shift = low
        self.mask = (1 << (high - low + 1)) - 1
        self.values = values

    @overload
    def __get__(self, instance: None, owner: type[Command]) -> Self: ...
    @overload
    def __get__(self, instance: Command, owner: type[Command]) -> int: ...
    def __get__(self, instance: Command | None, owner: type[Command]) -> int | Self:
        if instance is None:
            return self
        return (instance.words[self.first] >> self.shift) & self.mask

    def put(self, words: list[int], value: int) -> None:
        if not 0 <= value <= self.mask:
            raise ValueError(f"{self.name}={value:#x} does not fit into {self.mask.bit_length()} bits")
        words[self.first] |= value << self.shift

    def text(self, value: int) -> str:
        if self.values is not None:
            return self.values.get(value, hex(value))
        return str(value) if value < 10 else hex(value)


class Less(Bits):
    """Bits that hold a count less one, as the blitter's widths and pitches do."""

    @overload
    def __get__(self, instance: None, owner: type[Command]) -> Self: ...
    @overload
    def __get__(self, instance: Command, owner: type[Command]) -> int: ...
    def __get__(self, instance: Command | None, owner: type[Command]) -> int | Self:
        if instance is None:
            return self
        return ((instance.words[self.first] >> self.shift) & self.mask) + 1

    def put(self, words: list[int], value: int) -> None:
        if not 1 <= value <= self.mask + 1:
            raise ValueError(f"{self.name}={value} is not in 1..{self.mask + 1}")
        words[self.first] |= (value - 1) << self.shift


class Address(Field):
    """A 64-bit address in two dwords; hardware ignores the bits below ``align``, which other fields may use."""

    def __init__(self, dword: int, align: int = 4):
        self.first = dword
        self.low = ~(align - 1) & 0xFFFF_FFFF

    @overload
    def __get__(self, instance: None, owner: type[Command]) -> Self: ...
    @overload
    def __get__(self, instance: Command, owner: type[Command]) -> int: ...
    def __get__(self, instance: Command | None, owner: type[Command]) -> int | Self:
        if instance is None:
            return self
        words = instance.words
        return (words[self.first] & self.low) | words[self.first + 1] << 32

    def put(self, words: list[int], value: int) -> None:
        if not 0 <= value < 1 << 64:
            raise ValueError(f"{self.name}={value:#x} is not an address")
        if value & ~self.low & 0xFFFF_FFFF:
            raise ValueError(f"{self.name}={value:#x} is not a multiple of {(~self.low & 0xFFFF_FFFF) + 1}")
        words[self.first] |= value & 0xFFFF_FFFF
        words[self.first + 1] |= value >> 32

    def text(self, value: int) -> str:
        return hex(value)


class Tail(Field):
    """The dwords from ``dword`` to the end of the command."""

    def __init__(self, dword: int):
        self.first = dword

    @overload
    def __get__(self, instance: None, owner: type[Command]) -> Self: ...
    @overload
    def __get__(self, instance: Command, owner: type[Command]) -> tuple[int, ...]: ...
    def __get__(self, instance: Command | None, owner: type[Command]) -> tuple[int, ...] | Self:
        if instance is None:
            return self
        return tuple(instance.words[self.first :])

    def put(self, words: list[int], value: Iterable[int]) -> None:
        del words[self.first :]
        for word in value:
            if not 0 <= word <= 0xFFFF_FFFF:
                raise ValueError(f"{self.name}: {word:#x} is not a dword")
            words.append(word)

    def text(self, value: Sequence[int]) -> str:
        shown = " ".join(hex(word) for word in value[:8])
        return f"[{shown}{' ...' if len(value) > 8 else ''}]"


class Command:
    """One decoded instruction. Subclasses are the commands; ``words`` are the dwords, the header first."""

    name: ClassVar[str]
    header: ClassVar[int]
    # mask of the header's length field, which holds the number of dwords less two; 0: always one dword
    length_mask: ClassVar[int]
    # the numbers of dwords that the hardware accepts
    lengths: ClassVar[range | tuple[int, ...]]
    # the kinds of engine that have the command ("bcs", "rcs" ...); empty: all have it
    engines: ClassVar[frozenset[str]]
    fields: ClassVar[dict[str, Bits | Address | Tail]]

    __slots__ = ("words",)

    def __init_subclass__(
        cls,
        name: str,
        header: int,
        lengths: range | tuple[int, ...] | int = 1,
        length_bits: int = 8,
        engines: str = "",
    ) -> None:
        cls.name = name
        cls.header = header
        cls.lengths = (lengths,) if isinstance(lengths, int) else lengths
        cls.length_mask = 0 if lengths == 1 else (1 << length_bits) - 1
        cls.engines = frozenset(engines.split())
        cls.fields = {
            key: field for key, field in vars(cls).items() if isinstance(field, Bits | Address | Tail)
        }

    def __init__(self, words: Sequence[int]) -> None:
        self.words = words

    @classmethod
    def size(cls, header: int) -> int:
        """Number of dwords that ``header`` announces, legal or not."""
        mask = cls.length_mask
        return (header & mask) + 2 if mask else 1

    @classmethod
    def encode(cls, dwords: int | None = None, **values: int | Iterable[int]) -> list[int]:
        """The dwords of this command. ``dwords`` chooses among several legal lengths; the default is the first
        of ``lengths``.

        Raises ValueError for a value that does not fit, and for fields that are not in a command of this
        length.
        """
        words = [0] * (cls.lengths[0] if dwords is None else dwords)
        words[0] = cls.header
        for key, value in values.items():
            field = cls.fields.get(key)
            if field is None:
                raise ValueError(f"{cls.name} has no field {key}")
            if field.first >= len(words) and not isinstance(field, Tail):
                raise ValueError(f"{cls.name} of {len(words)} dwords has no field {key}")
            field.put(words, value)  # type: ignore[arg-type]
        if len(words) not in cls.lengths:
            raise ValueError(f"{cls.name} cannot have {len(words)} dwords")
        if cls.length_mask:
            words[0] |= len(words) - 2
        return words

    def values(self) -> dict[str, int | tuple[int, ...]]:
        """Every field of this instruction that its length covers."""
        size = len(self.words)
        return {
            key: getattr(self, key)
            for key, field in self.fields.items()
            if field.first + (1 if isinstance(field, Address) else 0) < size
        }

    def __str__(self) -> str:
        shown = [
            f"{key}={self.fields[key].text(value)}"  # type: ignore[arg-type]
            for key, value in self.values().items()
            if value or isinstance(self.fields[key], Address)
        ]
        return " ".join([self.name, *shown])

    def __repr__(self) -> str:
        return f"<{self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Command):
            return NotImplemented
        return type(self) is type(other) and tuple(self.words) == tuple(other.words)

    def __hash__(self) -> int:
        return hash(tuple(self.words))
