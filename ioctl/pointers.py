# SPDX-License-Identifier: MIT
"""Targets of the pointers in structures, and copies of them at the time of a call.

Only memory that the kernel itself reads or writes in that call is touched, at most ``LIMIT`` bytes a pointer: reading
anything else could migrate a page back from the GPU where the test wants it. The user fence of an EXEC is an address of
the GPU and never read.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from operator import attrgetter

from ioctl import names
from ioctl.about import Chain, Pointer
from ioctl.memory import read

LIMIT = 4096
MAX_USER_EXTENSIONS = 16  # longer chains are E2BIG (xe_exec_queue.c:exec_queue_user_extensions)

Compiled = tuple[tuple[str, Pointer | Chain, "attrgetter[int]"], ...]


class Capture:
    """Data at one pointer: None if it was not read, empty bytes if it was not readable."""

    __slots__ = ("address", "after", "before", "field", "pointer", "size")

    def __init__(self, field: str, pointer: Pointer | Chain, address: int, size: int) -> None:
        self.field = field
        self.pointer = pointer
        self.address = address
        self.size = size
        self.before: bytes | None = None
        self.after: bytes | None = None


def _compiled(struct: type[ctypes.Structure]) -> Compiled | None:
    """The pointers of a structure. attrgetter knows dots and costs less than getattr."""
    pointers: list[tuple[str, Pointer | Chain, attrgetter[int]]] = []
    for field, meaning in names.about(struct).items():
        for one in meaning if isinstance(meaning, tuple) else (meaning,):
            if isinstance(one, Pointer):
                pointers.append((field, one, attrgetter(field)))
            elif isinstance(one, Chain):
                pointers.append((field, replace(one, link=one.link or struct), attrgetter(field)))
    return tuple(pointers) or None


_COMPILED: dict[type[ctypes.Structure], Compiled] = {
    struct: compiled for struct in names.structures() if (compiled := _compiled(struct))
}


def capture_before(arg: ctypes.Structure) -> list[Capture] | None:
    """Copies of what the kernel is about to read, notes of where it will write; None if there is neither."""
    compiled = _COMPILED.get(type(arg))
    if compiled is None:
        return None
    captures: list[Capture] = []
    for field, pointer, take in compiled:
        address = take(arg)
        if not address:
            continue
        if isinstance(pointer, Chain):
            if pointer.families(arg) is not None:
                capture = Capture(field, pointer, address, 0)
                capture.before = _follow(pointer, address)
                captures.append(capture)
        elif size := pointer.size(arg):
            capture = Capture(field, pointer, address, size)
            if pointer.before:
                capture.before = read(address, min(size, LIMIT)) or b""
            captures.append(capture)
    return captures


def capture_after(captures: list[Capture]) -> None:
    """Copies of what the kernel may have written."""
    for capture in captures:
        if isinstance(capture.pointer, Pointer) and capture.pointer.after:
            capture.after = read(capture.address, min(capture.size, LIMIT)) or b""


def _follow(chain: Chain, address: int) -> bytes:
    """The extensions from ``address`` on, one after the other; ends early at a bad pointer."""
    assert chain.link is not None
    width = ctypes.sizeof(chain.link)
    following = attrgetter(chain.following)
    links = b""
    for _ in range(MAX_USER_EXTENSIONS):
        link = read(address, width) or b""
        links += link
        if len(link) < width:
            break
        address = following(chain.link.from_buffer_copy(link))
        if not address:
            break
    return links
