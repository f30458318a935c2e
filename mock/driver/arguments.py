# SPDX-License-Identifier: MIT
"""Flags and values in an ioctl's argument that the uAPI of a level does not define."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ioctl import names

if TYPE_CHECKING:
    from ioctl import Request
    from mock.driver.level import Level


def unknown_flags(level: Level, args: Any, field: str = "flags", request: Request | None = None) -> int:
    """Bits of a field that are not defined flags. ``request``: for a structure whose flags differ between requests."""
    value: int = getattr(args, field)
    return value & ~names.known_bits(type(args), field, str(level), request)


def is_unknown(level: Level, args: Any, field: str) -> bool:
    """Whether the value of a field is not one of those defined for it."""
    return getattr(args, field) not in names.known(type(args), field, str(level))
