# SPDX-License-Identifier: MIT
"""A xe_drm.h written from ioctl.xe, for tests that need a header to compile or to break."""

from __future__ import annotations

import ctypes
from typing import Any

from ioctl import xe
from ioctl.encoding import Direction, Request
from ioctl.facts import c_type, of_module
from ioctl.layout import Structure, Union

ENUMS = ("DRM_XE_MEM_REGION_CLASS_", "DRM_XE_OBSERVATION_OP_", "DRM_XE_RAS_ERR_SEV_", "DRM_XE_RAS_ERR_COMP_")
MACROS = {Direction.WRITE: "DRM_IOW", Direction.READ: "DRM_IOR", Direction.BOTH: "DRM_IOWR"}


def header() -> str:
    """The header's text: one declaration or member a line."""
    lines = ["#ifndef _XE_DRM_H_", "#define _XE_DRM_H_", '#include "drm.h"']
    for name, value in vars(xe).items():
        if name not in of_module(xe) and not name.endswith("_NAMES"):
            continue
        if isinstance(value, Request):
            lines += _request(value)
        elif isinstance(value, int) and name.startswith(ENUMS):
            comment = " /* non-ABI */" if name.endswith("_MAX") else ""
            lines.append(f"enum {{ {name} = {value} }};{comment}")
        elif isinstance(value, int):
            lines.append(f"#define {name} {f'({value:#x}ull)' if value >> 63 == 1 else value}")
        elif isinstance(value, dict):
            entries = "".join(f' [{_component(name, at)}] = "{text}",' for at, text in value.items())
            lines.append(f"#define {name} {{{entries} }}")
        else:
            lines += [f"struct {name} {{", *_members(value, 1), "};"]
    return "\n".join([*lines, "#endif", ""])


def _request(request: Request) -> list[str]:
    if request.direction == Direction.NONE:
        return [f"enum {{ {request.name} = _IO('{request.kind}', {request.nr:#x}) }};"]
    assert request.struct is not None
    struct = request.struct.__name__
    return [f"#define {request.name} {MACROS[request.direction]}({request.nr:#x}, struct {struct})"]


def _component(table: str, value: int) -> str:
    prefix = "DRM_XE_RAS_ERR_SEV_" if "SEVERITY" in table else "DRM_XE_RAS_ERR_COMP_"
    return next(name for name, number in vars(xe).items() if name.startswith(prefix) and number == value)


def _members(struct: Any, depth: int) -> list[str]:
    margin = "\t" * depth
    lines: list[str] = []
    for name, kind in struct._fields_:
        if kind.__name__.startswith("_") and issubclass(kind, Structure | Union):
            word = "union" if issubclass(kind, Union) else "struct"
            unnamed = name in getattr(struct, "_anonymous_", ())
            end = "}" if unnamed else f"}} {name}"
            lines += [f"{margin}{word} {{", *_members(kind, depth + 1), f"{margin}{end};"]
        elif issubclass(kind, ctypes.Array):
            lines.append(f"{margin}{c_type(kind._type_)} {name}[{kind._length_ or ''}];")
        else:
            lines.append(f"{margin}{c_type(kind)} {name};")
    return lines
