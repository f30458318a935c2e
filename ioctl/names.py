# SPDX-License-Identifier: MIT
"""Names of the headers for the values of each field, as the structures define it (``ioctl.about``).

``svmcts abi`` uses the same families to find flags that share a bit, and equal values, in an unknown header.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator

from ioctl import drm, history, xe
from ioctl.about import About, Family, Flexible
from ioctl.encoding import Request
from ioctl.layout import Structure

MODULES = (drm, xe)
# Names with such a prefix that are not values of a field: numbers in the driver's range.
COMMANDS = frozenset(request.name.replace("DRM_IOCTL_", "DRM_", 1) for request in xe.REQUESTS)


def structures() -> list[type[Structure]]:
    """All of them, those inside others included."""
    found = (value for module in MODULES for value in vars(module).values() if isinstance(value, type))
    return [kind for kind in found if issubclass(kind, Structure) and kind is not Structure]


def about(struct: type[ctypes.Structure], request: Request | None = None) -> About:
    """Meaning of the fields of a structure, in a request."""
    own: About = getattr(struct, "_about_", {})
    return {**own, **request.about} if request is not None and request.about else own


def family(struct: type[ctypes.Structure], name: str, request: Request | None = None) -> Family:
    """The names of the values of a field; KeyError if it has none."""
    found = about(struct, request).get(name)
    if not isinstance(found, Family):
        raise KeyError(f"{struct.__name__}.{name} has no names for its values")
    return found


def _families() -> Iterator[Family]:
    for module in MODULES:
        yield from (value for value in vars(module).values() if isinstance(value, Family))
        for value in vars(module).values():
            meanings = value.about if isinstance(value, Request) else getattr(value, "_about_", {})
            for meaning in meanings.values():
                if isinstance(meaning, Family):
                    yield meaning
                elif isinstance(meaning, Flexible) and meaning.index:
                    yield from (meaning.index, *meaning.by_index.values())


FAMILIES = tuple(dict.fromkeys(_families()))


@functools.cache
def family_of(name: str) -> Family | None:
    """The family that a name belongs to, by the longest prefix; None for limits and command numbers."""
    if name in COMMANDS:
        return None
    matches = [(len(p), family) for family in FAMILIES for p in family.prefixes if name.startswith(p)]
    return max(matches, key=lambda match: match[0])[1] if matches else None


@functools.cache
def members(family: Family) -> dict[int, str]:
    """Value to name, as unsigned 64 bits."""
    return {
        value & (2**64 - 1): name
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, int) and family_of(name) == family
    }


def spell(family: Family, value: int, bits: int = 64) -> list[str | int]:
    """``value`` of a field of ``bits`` bits as names; what has no name stays a number, at the end."""
    names = members(family)
    if not family.flags:
        found = names.get(value) or names.get(_sign_extended(value, bits))
        return [found or value]
    parts: list[str | int] = []
    for bit, name in names.items():
        if bit and value & bit == bit:
            parts.append(name)
            value &= ~bit
    return [*parts, value] if value or not parts else parts


def _sign_extended(value: int, bits: int) -> int:
    """How -1 in a u32 field of the structure compares to the -1 of the header."""
    return value | (2**64 - 1) & ~(2**bits - 1) if value >> (bits - 1) & 1 else value


def known(
    struct: type[ctypes.Structure], name: str, kernel: str = "", request: Request | None = None
) -> frozenset[int]:
    """The values, or the single flags, that a field may have; those of a kernel's header, or all.

    KeyError for a field whose values have no names.
    """
    return _known(family(struct, name, request), kernel)


def known_bits(
    struct: type[ctypes.Structure], name: str, kernel: str = "", request: Request | None = None
) -> int:
    """The flags of a field, or-ed."""
    return functools.reduce(int.__or__, known(struct, name, kernel, request), 0)


@functools.cache
def _known(family: Family, kernel: str) -> frozenset[int]:
    return frozenset(value for value, word in members(family).items() if not kernel or _in(word, kernel))


def _in(name: str, kernel: str) -> bool:
    """Whether the header of a kernel has a name; those of drm.h are not recorded and count as old."""
    if hasattr(drm, name):
        return True
    came = history.recorded().since.get(name)
    return came is not None and history.sort_key(came) <= history.sort_key(kernel)
