# SPDX-License-Identifier: MIT
"""Negative controls: mocks that are broken on purpose, to show that tests notice.

A defect is a function that is given the server once the driver is made, and breaks what it likes in this
process.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mock.memory.space import AddressSpace

if TYPE_CHECKING:
    from mock.server import Server

Defect = Callable[["Server"], None]


def ioctls_succeed(server: Server) -> None:
    """Every ioctl of a device returns 0 and does nothing."""
    assert server.driver is not None

    def ioctl(*_: object) -> int:
        return 0

    server.driver.ioctl = ioctl  # type: ignore[method-assign, assignment]


def ignore_munmap(server: Server) -> None:
    """The driver never hears that memory was unmapped or its pages removed."""
    del server

    def unmapped(*_: object) -> None:
        pass

    AddressSpace.unmapped = unmapped  # type: ignore[method-assign, assignment]


def ignore_mremap(server: Server) -> None:
    """Isolated pages do not move with their mapping, nobody hears of it."""
    del server

    def moved(*_: object) -> None:
        pass

    AddressSpace.moved = moved  # type: ignore[method-assign, assignment]


def _of_driver(name: str) -> Defect:
    """A defect of the driver, told by function name in mock.driver.defects: it is given the driver."""

    def apply(server: Server) -> None:
        function: Callable[[Any], None] = getattr(importlib.import_module("mock.driver.defects"), name)
        function(server.driver)

    return apply


DEFECTS: dict[str, Defect] = {
    "gpu-idle": _of_driver("gpu_idle"),
    "copies-zero": _of_driver("copies_zero"),
    "ioctls-succeed": ioctls_succeed,
    "ignore-munmap": ignore_munmap,
    "ignore-mremap": ignore_mremap,
}


def find(name: str) -> Defect:
    """The defect of that name. Raises ValueError, one line, when there is none."""
    if name not in DEFECTS:
        raise ValueError(f"no defect {name!r}; there are: {', '.join(DEFECTS)}")
    return DEFECTS[name]
