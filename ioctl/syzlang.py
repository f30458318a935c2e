# SPDX-License-Identifier: MIT
"""The xe ioctls as syzkaller descriptions (docs/syscall_descriptions_syntax.md of syzkaller), from the structures here.

Objects become resources, flags and values flags, pointers pointers with the length of what they point to. Structures of
drm.h get a name of their own, as syzkaller describes that header elsewhere.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from typing import Any

from ioctl import drm, names, xe
from ioctl.about import Chain, Family, Id, Pointer, Rows, Selected
from ioctl.encoding import Direction, Request
from ioctl.facts import spare
from ioctl.layout import Structure, Union, char

HEAD = """\
# SPDX-License-Identifier: MIT
# The xe driver's ioctls, of Linux {linux}. Written by svmcts abi --syzlang.

include <uapi/drm/drm.h>
include <uapi/drm/xe_drm.h>
include <uapi/asm/fcntl.h>

resource fd_xe[fd]
resource fd_xe_stream[fd]
"""
OPEN = (
    'openat$xe(fd const[AT_FDCWD], file ptr[in, string["/dev/dri/renderD128"]], flags flags[xe_open_flags], '
    "mode const[0]) fd_xe"
)
OPEN_FLAGS = "xe_open_flags = O_RDONLY, O_RDWR, O_CLOEXEC"
RESOURCES = {
    "vm": "xe_vm_id",
    "queue": "xe_exec_queue_id",
    "bo": "xe_bo_handle",
    "syncobj": "xe_syncobj_handle",
}
ALSO = (
    drm.DRM_IOCTL_GEM_CLOSE,
    drm.DRM_IOCTL_SYNCOBJ_CREATE,
    drm.DRM_IOCTL_SYNCOBJ_DESTROY,
    drm.DRM_IOCTL_SYNCOBJ_SIGNAL,
)
"""Requests of drm.h that make, or take, what the driver's own name."""
STREAM = "DRM_XE_OBSERVATION_IOCTL_"
"""Begins the requests of a stream's descriptor, which DRM_IOCTL_XE_OBSERVATION gives."""
SMALL = 3
"""A count that no size of a structure is."""
_DIRECTIONS = {
    (True, False): "in",
    (False, True): "out",
    (True, True): "inout",
}


def descriptions() -> str:
    """All of it, in the order of a file: resources, calls, structures, flags."""
    return _Descriptions().text()


def _told_apart(found: list[str]) -> list[str]:
    """Names of values; the first if all are names of one value, of which syzkaller's compiler takes no list."""
    return found if len({getattr(xe, name) for name in found}) > 1 else found[:1]


class _Descriptions:
    def __init__(self) -> None:
        self.structs: dict[str, str] = {}
        self.flags: dict[str, Family] = {}
        self.sorts: list[str] = []
        self.extensions: dict[str, dict[str, None]] = {"name": {}, "property": {}}
        """All names that these fields of extensions can have, whatever they extend."""

    def text(self) -> str:
        requests = [*ALSO, *xe.REQUESTS]
        calls = [self._call(request) for request in requests]
        resources = [f"resource {RESOURCES[sort]}[int32]: 0" for sort in self.sorts]
        lists = [
            f"{name} = {', '.join(names.members(family).values())}" for name, family in self.flags.items()
        ]
        lists += [
            f"{_extension(field)} = {', '.join(_told_apart(list(found)))}"
            for field, found in self.extensions.items()
        ]
        blocks = [
            HEAD.format(linux=xe.LINUX) + "\n".join(resources),
            "\n".join([OPEN, *calls]),
            *self.structs.values(),
            "\n".join([OPEN_FLAGS, *lists]),
        ]
        return "\n\n".join(blocks) + "\n"

    def _call(self, request: Request) -> str:
        variant = request.name + ("" if request in xe.REQUESTS else "_xe")
        fd = "fd_xe_stream" if request.name.startswith(STREAM) else "fd_xe"
        head = f"ioctl${variant}(fd {fd}, cmd const[{request.name}]"
        made = " fd_xe_stream" if request is xe.DRM_IOCTL_XE_OBSERVATION else ""
        if request.struct is None:
            return f"{head})"
        # Requests of streams have no direction in their numbers.
        reads = bool(request.direction & Direction.READ) or not request.direction
        writes = bool(request.direction & Direction.WRITE) or not request.direction
        kind = self._struct(request.struct, request)
        return f"{head}, arg ptr[{_DIRECTIONS[writes, reads]}, {kind}]){made}"

    def _struct(
        self,
        kind: Any,
        request: Request | None = None,
        inherited: Mapping[str, Any] | None = None,
        holder: Any = None,
    ) -> str:
        """The name of a structure or union, which is described when it is met first.

        ``holder`` is the structure around it, whose fields say what it means: ``inherited``.
        """
        name = _name(kind)
        if name in self.structs:
            return name
        self.structs[name] = ""  # one that points to itself ends here
        own = names.about(kind, request) if issubclass(kind, Structure) else {}
        about = {**own, **(inherited or {})}
        counts = _counts(kind, own)
        rows = [f"\t{field}\t{text}" for field, text in self._fields(kind, about, counts, holder or kind)]
        opening, closing = ("[", "]") if issubclass(kind, Union) else ("{", "}")
        self.structs[name] = "\n".join([f"{name} {opening}", *rows, closing])
        return name

    def _fields(
        self, kind: Any, about: Mapping[str, Any], counts: Mapping[str, tuple[str, str]], holder: Any
    ) -> Iterator[tuple[str, str]]:
        unnamed = getattr(kind, "_anonymous_", ())
        for name, declared in kind._fields_:
            field, size = _element(declared)
            shown = f"{name.lstrip('_')}_u" if name in unnamed else name
            if size == 0:
                continue
            inside = {
                key.partition(".")[2]: value for key, value in about.items() if key.startswith(f"{name}.")
            }
            if name in unnamed:
                inside = {**{key: value for key, value in about.items() if not isinstance(value, Selected)}}
            if issubclass(field, Structure | Union):
                text = self._struct(field, inherited=inside, holder=holder)
            elif name in counts:
                what, unit = counts[name]
                text = f"{unit}[{what}, {_int(field)}]"
            else:
                text = self._number(kind, name, field, about.get(name), holder)
            yield shown, f"array[{text}, {size}]" if size else text

    def _number(self, kind: Any, name: str, field: Any, meaning: Any, holder: Any) -> str:
        for one in meaning if isinstance(meaning, tuple) else (meaning,):
            if isinstance(one, Chain):
                for extended, family in (one.families(holder()) or {}).items():
                    self.extensions[extended] |= dict.fromkeys(names.members(family).values())
                return f"ptr64[in, {self._struct(one.link or holder)}, opt]"
            if isinstance(one, Pointer):
                return self._pointer(holder, one)
        if kind in (xe.drm_xe_user_extension, xe.drm_xe_ext_set_property) and name in self.extensions:
            return f"flags[{_extension(name)}, {_int(field)}]"
        if isinstance(meaning, Id) and meaning.sort in RESOURCES:
            if meaning.sort not in self.sorts:
                self.sorts.append(meaning.sort)
            return RESOURCES[meaning.sort] + (" (out)" if meaning.made else "")
        if isinstance(meaning, Family):
            members = names.members(meaning)
            if members:
                return f"flags[{self._list(kind, name, meaning)}, {_int(field)}]"
        if spare(name):
            return f"const[0, {_int(field)}]"
        return _int(field)

    def _list(self, kind: Any, name: str, family: Family) -> str:
        """The name of a list of flags; a family has one, wherever it is used."""
        for known, other in self.flags.items():
            if other == family:
                return known
        new = f"{_name(kind)}_{name}"
        self.flags[new] = family
        return new

    def _pointer(self, kind: Any, pointer: Pointer) -> str:
        element: Any = pointer.element(kind())
        direction = _DIRECTIONS[pointer.before, pointer.after]
        if pointer.whole or isinstance(element, Rows) or element is None or element is char:
            what = "array[int8]"
        else:
            if issubclass(element, Structure):
                what = self._struct(element)
            elif pointer.sort in RESOURCES:
                what = self._number(kind, "", element, Id(pointer.sort), kind)
            else:
                what = _int(element)
            what = what if pointer.single else f"array[{what}]"
        return f"ptr64[{direction}, {what}, opt]"


def _extension(field: str) -> str:
    return f"drm_xe_ext_set_property_{field}s"


def _name(kind: Any) -> str:
    own = kind.__name__.lstrip("_")
    return f"{own}_xe" if kind.__module__ == drm.__name__ else own


def _int(kind: Any) -> str:
    return f"int{8 * ctypes.sizeof(kind)}"


def _element(kind: Any) -> tuple[Any, int | None]:
    """The type of an array's elements and their number, 0 for a flexible array; of another type itself and None."""
    if issubclass(kind, ctypes.Array):
        return kind._type_, kind._length_
    return kind, None


def _counts(kind: Any, about: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Fields that are counts: name to the pointer's name and "len" or "bytesize".

    A structure says how many bytes are behind a pointer, not which field says it: that shows when the field changes.
    """
    found: dict[str, tuple[str, str]] = {}
    if not issubclass(kind, Structure):
        return found
    unions = getattr(kind, "_anonymous_", ())
    placed = {name for name, _ in kind._fields_ if name not in unions}
    for pointer_name, meaning in about.items():
        if not isinstance(meaning, Pointer) or pointer_name not in placed:
            continue
        for name, field in kind._fields_:
            if not issubclass(field, ctypes._SimpleCData) or name == pointer_name or name in found:
                continue
            value = kind(**{name: SMALL})
            bytes_there = meaning.size(value)
            if bytes_there and bytes_there != meaning.size(kind()):
                element: Any = meaning.element(value)
                one_byte = meaning.whole or element is None or isinstance(element, Rows) or element is char
                unit = "bytesize" if bytes_there == SMALL and not one_byte else "len"
                found[name] = pointer_name, unit
    return found
