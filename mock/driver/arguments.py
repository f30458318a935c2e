# SPDX-License-Identifier: MIT
"""What an argument holds that the uAPI of a level has no name for, as its structure says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ioctl import names

if TYPE_CHECKING:
    from ioctl import Request
    from mock.driver.level import Level


def unknown_flags(level: Level, args: Any, field: str = "flags", request: Request | None = None) -> int:
    """The bits of a field that are not its flags. `request`: where requests share the structure and not its flags."""
    value: int = getattr(args, field)
    return value & ~names.known_bits(type(args), field, str(level), request)


def is_unknown(level: Level, args: Any, field: str) -> bool:
    """Whether a field has none of its values."""
    return getattr(args, field) not in names.known(type(args), field, str(level))
