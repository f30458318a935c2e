# SPDX-License-Identifier: MIT
"""Request numbers, built by python-ioctl with its traps closed.

python-ioctl (the PyPI distribution ``ioctl``) has the import name of this package, so ``import ioctl`` can
never reach it from here: its file is found through the installed distribution's metadata and loaded under
another name.

What python-ioctl 0.2.2 lets through and ``encode`` refuses: a size of 2**14 or more spills into the direction
bits, a number above 255 spills into the type, and what it does check are ``assert`` statements, gone with
``python -O``.
"""

from __future__ import annotations

import ctypes
import enum
import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ioctl.about import About


class EncodingError(ValueError):
    """A request whose parts do not fit into an ioctl number."""


class Direction(enum.IntFlag):
    """Direction of data: WRITE is data for the kernel, READ is data from it (asm-generic/ioctl.h)."""

    NONE = 0
    WRITE = 1
    READ = 2
    BOTH = 3


# Their asm/ioctl.h has other direction values and field widths than the generic one that python-ioctl knows.
OTHER_LAYOUTS = ("alpha", "mips", "parisc", "ppc", "sparc")


def _load_python_ioctl() -> ModuleType:
    try:
        distribution = importlib.metadata.distribution("ioctl")
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(
            "python-ioctl is not installed (distribution 'ioctl' on PyPI): run make setup"
        ) from None
    path = distribution.locate_file("ioctl/__init__.py")
    spec = importlib.util.spec_from_file_location("python_ioctl", str(path))
    if spec is None or spec.loader is None:
        raise ImportError(f"python-ioctl {distribution.version} has no {path}: run make setup")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


python_ioctl = _load_python_ioctl()
_IOCTL = python_ioctl.IOCTL
if os.uname().machine.startswith(OTHER_LAYOUTS):
    raise ImportError(f"python-ioctl encodes the generic ioctl layout, {os.uname().machine} has another one")


def encode(direction: Direction, kind: str, nr: int, size: int) -> int:
    """The request number for direction, type character, number in the type and size of the argument in bytes.

    EncodingError when a part does not fit its field (include/uapi/asm-generic/ioctl.h), or when taking the
    number apart does not give the parts back.
    """
    if len(kind) != 1 or ord(kind) > _IOCTL.TYPEMASK:
        raise EncodingError(f"ioctl type {kind!r}: must be one character of 8 bits")
    if not 0 <= nr <= _IOCTL.NRMASK:
        raise EncodingError(f"ioctl number {nr}: must be 0 to {_IOCTL.NRMASK}")
    if not 0 <= size <= _IOCTL.SIZEMASK:
        raise EncodingError(f"ioctl argument of {size} bytes: must be 0 to {_IOCTL.SIZEMASK}")
    if (size == 0) != (direction == Direction.NONE):
        raise EncodingError(f"ioctl argument of {size} bytes does not go with direction {direction.name}")
    match direction:
        case Direction.NONE:
            built = _IOCTL.IO(kind, nr)
        case Direction.WRITE:
            built = _IOCTL.IOW(kind, nr, size)
        case Direction.READ:
            built = _IOCTL.IOR(kind, nr, size)
        case _:
            built = _IOCTL.IORW(kind, nr, size)
    number = int(built.op)
    unpack = (_IOCTL.unpack_dir, _IOCTL.unpack_type, _IOCTL.unpack_nr, _IOCTL.unpack_size)
    parts = tuple(take(number) for take in unpack)
    if parts != (direction, ord(kind), nr, size):
        raise EncodingError(
            f"ioctl number {number:#x} comes apart as {parts}, built from {(direction, kind, nr, size)}"
        )
    return number


@dataclass(frozen=True, slots=True)
class Request:
    """One ioctl request: what ``ioctl.call`` is given next to the file descriptor and the argument.

    ``struct`` is the type of the argument, or None for a request without one. ``size`` is the size that the
    number carries, in bytes: 0 for the requests of observation streams, which still take an argument.
    ``since`` is the kernel that brought the request, "<=6.12" where only an upper bound is known. ``about`` is what
    fields mean in this request and not in others with the same structure.
    """

    name: str
    direction: Direction
    kind: str
    nr: int
    struct: type[ctypes.Structure] | None
    since: str
    about: About = field(default_factory=dict, compare=False)
    size: int = field(init=False)
    number: int = field(init=False)

    def __post_init__(self) -> None:
        size = ctypes.sizeof(self.struct) if self.struct and self.direction else 0
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "number", encode(self.direction, self.kind, self.nr, size))

    def __str__(self) -> str:
        return self.name
