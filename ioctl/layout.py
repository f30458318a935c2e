# SPDX-License-Identifier: MIT
"""The C types that uAPI headers are written with, and bases for their structures.

``__slots__`` in the bases and in every structure makes a misspelt field an AttributeError: a plain ctypes.Structure
accepts ``bind.flagz = 1`` silently, and the kernel never sees it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ioctl.about import About

u8 = ctypes.c_uint8
u16 = ctypes.c_uint16
u32 = ctypes.c_uint32
u64 = ctypes.c_uint64
s32 = ctypes.c_int32
s64 = ctypes.c_int64
char = ctypes.c_char
# C pointers and size_t in the oldest DRM structures: the size of the machine's word, read as plain numbers.
word = ctypes.c_size_t


class Structure(ctypes.Structure):
    """A C struct; AttributeError for a field that the header does not have.

    ``_about_`` says what its fields mean (``ioctl.about``).
    """

    __slots__ = ()
    _about_: ClassVar[About] = {}
    _text_: ClassVar[Callable[[Any], str]]
    """The fields as text, set by ``ioctl.decode``, which knows the names of their values."""

    def __repr__(self) -> str:
        return type(self).__name__ + type(self)._text_(self)


class Union(ctypes.Union):
    """A C union; AttributeError for a field that the header does not have."""

    __slots__ = ()
