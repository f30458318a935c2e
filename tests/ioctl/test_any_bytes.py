# SPDX-License-Identifier: MIT
"""A driver under test may answer anything, and a test may pass anything: printing it must never fail."""

from __future__ import annotations

import ctypes
import random
from ctypes import addressof
from typing import Any

import pytest

from ioctl import call, drm, transcript, xe
from ioctl.layout import Structure
from tests.ioctl.kernel import answering

STRUCTS = [
    struct
    for module in (xe, drm)
    for name, struct in vars(module).items()
    if isinstance(struct, type) and issubclass(struct, Structure) and not name.startswith("_")
    if struct is not Structure
]
REQUESTS = [request for request in (*xe.REQUESTS, *drm.REQUESTS) if request.struct]


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_any_structure_has_a_text(struct: type[Structure]) -> None:
    """Random bytes, all ones, zeros."""
    generator = random.Random(struct.__name__)
    size = ctypes.sizeof(struct)
    for data in (bytes(size), b"\xff" * size, *(generator.randbytes(size) for _ in range(30))):
        assert repr(struct.from_buffer_copy(data)).startswith(struct.__name__ + "{")


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_any_call_can_be_told_and_replayed(request_: xe.Request) -> None:
    """Random arguments that point into random memory, which the answer changes at random."""
    generator = random.Random(request_.name)
    assert request_.struct is not None
    memory = (ctypes.c_uint8 * 8192)()

    def answer(arg: Any) -> int:
        ctypes.memmove(addressof(arg), generator.randbytes(ctypes.sizeof(arg)), ctypes.sizeof(arg))
        memory[:] = generator.randbytes(8192)
        if generator.random() < 0.3:
            raise OSError(generator.choice((1, 14, 22, 512)), "")
        return generator.choice((0, 0, 5))

    for _ in range(30):
        memory[:] = generator.randbytes(8192)
        arg = request_.struct.from_buffer_copy(generator.randbytes(ctypes.sizeof(request_.struct)))
        for name, kind in request_.struct._fields_:  # type: ignore[misc]
            if ctypes.sizeof(kind) == 8 and isinstance(getattr(arg, name), int):
                setattr(arg, name, addressof(memory) + generator.randrange(8192))
            elif isinstance(getattr(arg, name), int):
                setattr(arg, name, generator.choice((0, 1, 2, 3, 40, 2**16 - 1)))
        with answering({request_: answer}), transcript.recording() as kept:
            try:
                call(5, request_, arg)
            except OSError:
                assert kept.total == 1
        assert kept.text().startswith(f"ioctl(5, {request_}")
        compile(kept.replay(), "replay", "exec")
