# SPDX-License-Identifier: MIT
"""Meaning of the fields of a structure, defined next to it: in ``_about_``, by the name of the field.

A path with dots is a field of a structure inside, as seen from here. Transcripts, replays, the ABI check, negative
tables and the mock's argument checks ask it, through ``ioctl.names`` and ``ioctl.pointers``. A field that is not in
``_about_`` is a number, and one called pad or reserved must be zero (``ioctl.facts.spare``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from ioctl.layout import char

Element = type[Any] | None


@dataclass(frozen=True)
class Family:
    """Values of a field: names that begin with one of ``prefixes`` and not with a longer one of another family.

    ``flags``: bits that are or-ed. ``open``: other numbers are valid, too (a file descriptor, a region instance).
    """

    prefixes: tuple[str, ...]
    flags: bool = False
    open: bool = False


def values(*prefixes: str) -> Family:
    """One of these."""
    return Family(prefixes)


def flags(*prefixes: str) -> Family:
    """Any of these, or-ed."""
    return Family(prefixes, flags=True)


def or_number(*prefixes: str) -> Family:
    """One of these, or a number that means something else."""
    return Family(prefixes, open=True)


@dataclass(frozen=True)
class Id:
    """The id of an object of this sort; ``made``: of one that the call creates."""

    sort: str
    made: bool = False


@dataclass(frozen=True)
class Rows:
    """Elements up to the end of the written bytes, each with its own flexible array."""

    element: type[Any]


@dataclass(frozen=True)
class Pointer:
    """An address of user memory.

    ``size``: bytes there, 0 when the field is not an address in this call. ``element``: the C type of the target, None
    for plain bytes. ``before``: the kernel reads there; ``after``: it writes there. ``single``: one element, not an
    array. ``whole``: one structure with its flexible array, or rows of them. ``sort``: elements are numbers of objects
    of this sort.
    """

    size: Callable[[Any], int]
    element: Callable[[Any], Element | Rows]
    before: bool = True
    after: bool = False
    single: bool = False
    whole: bool = False
    sort: str = ""


@dataclass(frozen=True)
class Chain:
    """The first of a chain of extensions.

    ``link``: their type, None for the type of the structure that has the field; ``following``: the path in it to the
    address of the next. ``families``: what its fields stand for; None when the field does not begin a chain in this
    call.
    """

    families: Callable[[Any], Mapping[str, Family] | None]
    link: type[Any] | None
    following: str


@dataclass(frozen=True)
class Selected:
    """An unnamed union: the member that the rest of the structure selects; None shows the bytes."""

    member: Callable[[Any], str | None]


@dataclass(frozen=True)
class Flexible:
    """A flexible array, by the field that counts its elements, or whose elements are rows.

    ``index``: names of the indices; ``by_index``: what elements mean.
    """

    count: str = ""
    rows: type[Any] | None = None
    index: Family | None = None
    by_index: Mapping[int, Family] = field(default_factory=dict)


Meaning = Family | Id | Pointer | Chain | Selected | Flexible | tuple[Chain, Pointer]
About = Mapping[str, Meaning]


def array(
    element: type[Any], count: str | Callable[[Any], int], *, after: bool = False, sort: str = ""
) -> Pointer:
    """A pointer to ``count`` elements, by the name of the field with their number or computed from the structure."""
    number = attrgetter(count) if isinstance(count, str) else count
    width = ctypes.sizeof(element)
    return Pointer(lambda arg: number(arg) * width, lambda _: element, after=after, sort=sort)


def one(element: type[Any], when: Callable[[Any], bool] = lambda _: True) -> Pointer:
    """A pointer to one element that the kernel reads and writes, where ``when`` holds."""
    width = ctypes.sizeof(element)
    return Pointer(lambda arg: width * when(arg), lambda _: element, after=True, single=True)


def output(size: str, element: type[Any]) -> Pointer:
    """A pointer to ``size`` bytes of elements that the kernel writes."""
    return Pointer(attrgetter(size), lambda _: element, before=False, after=True)


def reply(size: str, element: Callable[[Any], Element | Rows]) -> Pointer:
    """A pointer to a structure, in and out, of the type that the rest of the structure says."""
    return Pointer(attrgetter(size), element, after=True, whole=True)


def text(length: str) -> Pointer:
    """A pointer to a string the kernel writes."""
    return output(length, char)
