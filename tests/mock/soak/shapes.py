# SPDX-License-Identifier: MIT
"""Arguments of ioctls that are nearly right: each field gets a value that makes sense for its name, or sometimes
not.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from random import Random
from typing import Any

from ioctl import Request, drm, xe

REQUESTS = [
    value
    for module in (drm, xe)
    for value in vars(module).values()
    if isinstance(value, Request) and value.kind == "d"
]

PLACE, ARENA = 1 << 34, 1 << 20
"""Its address, far from everything else."""
_SYNCS, _BINDS, _ENGINES, _WORDS = 0x10000, 0x20000, 0x30000, 0x40000
_PLACES = {
    "syncs": _SYNCS,
    "vector_of_binds": _BINDS,
    "instances": _ENGINES,
    "fences": _WORDS,
    "handles": _WORDS,
    "points": _WORDS,
}
_NUMBERS = (
    "id",
    "handle",
    "obj",
    "fd",
    "placement",
    "index",
    "instance",
    "class",
    "op",
    "type",
    "query",
    "caching",
)


class Shapes:
    """Fills structures; pointers lead into [arena, arena + ARENA)."""

    def __init__(self, dice: Random, arena: int) -> None:
        self._dice = dice
        self._arena = arena

    def refill(self) -> None:
        """Targets of pointers: arrays of syncs, binds and engines, and words."""
        for place, kind, count in (
            (_SYNCS, xe.drm_xe_sync, 8),
            (_BINDS, xe.drm_xe_vm_bind_op, 8),
            (_ENGINES, xe.drm_xe_engine_class_instance, 8),
        ):
            array = (kind * count).from_address(self._arena + place)
            for one in array:
                self.fill(one)
        words = (ctypes.c_uint32 * 64).from_address(self._arena + _WORDS)
        for index in range(64):
            words[index] = self._dice.choice((0, 1, 2, 3, 4, self._dice.getrandbits(32)))

    def fill(self, structure: Any) -> None:
        """Fill each field, also of nested structures; in one of ten, a bit is flipped afterwards."""
        ctypes.memset(ctypes.addressof(structure), 0, ctypes.sizeof(structure))
        for name, kind, *_ in _fields(type(structure)):
            if issubclass(kind, ctypes.Structure | ctypes.Union):
                self.fill(getattr(structure, name))
            elif issubclass(kind, ctypes.Array):
                if self._dice.random() < 0.03:
                    ctypes.memset(ctypes.addressof(structure) + getattr(type(structure), name).offset, 1, 4)
            else:
                setattr(structure, name, self._value(name))
        if self._dice.random() < 0.1:
            raw = (ctypes.c_uint8 * ctypes.sizeof(structure)).from_buffer(structure)
            raw[self._dice.randrange(len(raw))] ^= 1 << self._dice.randrange(8)

    def touch(self, request: Request, address: int) -> None:
        """Give one field of an argument another value."""
        if request.struct is None:
            return
        structure = request.struct.from_address(address)
        name, kind, *_ = self._dice.choice(_fields(request.struct))
        if not issubclass(kind, ctypes.Structure | ctypes.Union | ctypes.Array):
            setattr(structure, name, self._value(name))

    def _value(self, name: str) -> int:
        dice = self._dice
        chance = dice.random()
        if chance < 0.02:
            return dice.getrandbits(64)
        if chance < 0.04:
            return 1 << dice.randrange(64)
        for part, make in _MAKERS:
            if part in name:
                return make(self)
        if name.endswith(_NUMBERS):
            return dice.choice((0, 1, 1, 1, 2, 2, 3, 4, 5, 8))
        return dice.choice((0, 0, 0, 1, 2, 4096))

    def pointer(self) -> int:
        """Into the arena mostly, page aligned or not."""
        dice = self._dice
        chance = dice.random()
        if chance < 0.03:
            return dice.choice((0, 8, (1 << 47) - 8, (1 << 64) - 256, 1 << 63, dice.getrandbits(47)))
        return self._arena + dice.randrange(0, ARENA - 4096, dice.choice((8, 8, 4096)))

    def place(self, name: str) -> int:
        return self._arena + _PLACES[name] if self._dice.random() < 0.95 else self.pointer()


def _fields(kind: type[Any]) -> list[tuple[str, type[Any]]]:
    return list(kind._fields_)


def _pick(*values: int) -> Callable[[Shapes], int]:
    return lambda shapes: shapes._dice.choice(values)


def _flags(shapes: Shapes) -> int:
    dice = shapes._dice
    return dice.choice((0, 0, 0, 1, 2, 3, 4, 6, 6, 1 << dice.randrange(12)))


_MAKERS: tuple[tuple[str, Callable[[Shapes], int]], ...] = (
    ("pad", _pick(*[0] * 60, 1)),
    ("reserved", _pick(*[0] * 60, 1)),
    ("extensions", lambda shapes: 0 if shapes._dice.random() < 0.9 else shapes.pointer()),
    *((name, lambda shapes, name=name: shapes.place(name)) for name in _PLACES),  # type: ignore[misc]
    ("num_", _pick(0, 1, 1, 1, 1, 2, 3, 8, 65, 1024)),
    ("count", _pick(0, 1, 1, 2, 3, 64)),
    ("width", _pick(1, 1, 1, 2, 0)),
    # Short, from now or from boot: an endless wait would not be a bug of the mock.
    ("timeout", _pick(0, 1, 1000, 1000000)),
    ("deadline", _pick(0, 1)),
    ("flags", _flags),
    ("range", lambda shapes: shapes._dice.choice((4096, 8192, 65536, 1 << 20, 1 << 21, 0, 100))),
    ("size", lambda shapes: shapes._dice.choice((4096, 65536, 65536, 1 << 20, 1 << 21, 0, 5))),
    ("addr", lambda shapes: shapes.pointer()),
    ("userptr", lambda shapes: shapes.pointer() & ~4095),
    ("data", lambda shapes: shapes.pointer()),
    ("ptr", lambda shapes: shapes.pointer()),
    ("start", lambda shapes: shapes.pointer() & ~4095),
    ("vector", lambda shapes: shapes.pointer()),
    ("offset", _pick(0, 0, 0, 4096, 65536)),
)
