# SPDX-License-Identifier: MIT
"""Sizes and amounts of memory in use are worked out from the answer of the device."""

from __future__ import annotations

from typing import Any

import pytest

from ioctl import xe
from reproduce.program import Words, program
from reproduce.recorded import course
from reproduce.room import CHUNK, room
from tests.reproduce.test_program import mapping, recorded

GIB = 1 << 30
AT = 0x1000_0000_0000
WORDS = Words("suites/demo/test_demo.py::test_demo")


def regions(used: int, total: int) -> bytes:
    """The answer of DEVICE_QUERY_MEM_REGIONS of a device with one region of VRAM."""
    found = [
        xe.drm_xe_mem_region(mem_class=xe.DRM_XE_MEM_REGION_CLASS_SYSMEM, total_size=64 * GIB),
        xe.drm_xe_mem_region(
            mem_class=xe.DRM_XE_MEM_REGION_CLASS_VRAM, instance=1, total_size=total, used=used
        ),
    ]
    head = xe.drm_xe_query_mem_regions(num_mem_regions=len(found))
    return bytes(head) + b"".join(map(bytes, found))


def query(used: int, total: int = GIB) -> dict[str, Any]:
    answer = regions(used, total)
    argument = xe.drm_xe_device_query(
        query=xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS, size=len(answer), data=0x7000_0000
    )
    captured = {"field": "data", "kind": "Pointer", "address": 0x7000_0000, "size": len(answer)}
    return {
        **{"do": "ioctl", "request": "DRM_IOCTL_XE_DEVICE_QUERY", "fd": 5, "before": bytes(argument).hex()},
        "nested": [{**captured, "after": answer.hex()}],
    }


def create(size: int, placement: int = 2) -> dict[str, Any]:
    before, after = (xe.drm_xe_gem_create(size=size, placement=placement, handle=handle) for handle in (0, 1))
    return {
        **{"do": "ioctl", "request": "DRM_IOCTL_XE_GEM_CREATE", "fd": 5, "before": bytes(before).hex()},
        "after": bytes(after).hex(),
    }


OPEN = {"do": "open", "fd": 5, "path": "/dev/dri/renderD128"}
STORE = {"do": "store", "address": AT, "size": 4, "value": 1}


def written(*steps: dict[str, Any], **check: Any) -> str:
    return program(course(recorded(OPEN, *steps, check=check)), WORDS, self_contained=True)


@pytest.mark.parametrize(
    ("size", "total", "parts"),
    [
        (5 * GIB // 8, GIB, (5, 8)),
        (GIB // 4, GIB, (1, 4)),
        (GIB, GIB, (1, 1)),
        (0x1EA00000, 0x31000000, (5, 8)),
    ],
)
def test_size_is_found_as_part_of_vram(size: int, total: int, parts: tuple[int, int]) -> None:
    found = room(
        course(recorded(OPEN, query(0, total), create(size), check={"check": "errno", "expected": 1})).steps
    )
    assert found.sizes == {size: parts}
    assert total // parts[1] * parts[0] // CHUNK * CHUNK == size


@pytest.mark.parametrize("made", [create(CHUNK), create(GIB // 2, placement=1)], ids=["small", "system"])
def test_other_objects_have_sizes_of_their_own(made: dict[str, Any]) -> None:
    text = written(query(0), made, check="errno", expected=22)
    assert "part(" not in text
    assert "vram" not in text


def test_large_object_is_written_as_part_of_vram() -> None:
    text = written(query(0), create(5 * GIB // 8), check="errno", expected=22)
    assert ".size = part(vram, 5, 8)," in text
    assert "vram = ((struct drm_xe_query_mem_regions *)" in text
    assert "if (vram < 0x40000000)\n\t\tend(UNKNOWN, " in text


def test_memory_that_did_not_move_is_seen_by_growth() -> None:
    """The fault is that no more is in use, not that a certain number of bytes is."""
    text = written(
        mapping(AT, CHUNK), query(0x5000), STORE, query(0x7000), check="compare", op="==", left=[], right=[1]
    )
    assert "mem_regions[1].used <= used[1] + 0x100000)" in text
    assert "== 0x7000" not in text


def test_memory_that_moved_is_seen_by_growth() -> None:
    text = written(
        mapping(AT, CHUNK), query(0), STORE, query(CHUNK), check="compare", op="==", left=[1], right=[]
    )
    assert "mem_regions[1].used > used[1] + 0x100000)" in text


def test_use_without_a_query_before_is_compared_as_any_answer() -> None:
    """As where --minimise has left the earlier query out."""
    text = written(mapping(AT, CHUNK), STORE, query(0x7000), check="compare", op="==", left=[], right=[1])
    assert "mem_regions[1].used == 0x7000" in text
    assert "used[1] +" not in text


def test_use_is_compared_with_what_was_in_use_before() -> None:
    text = written(
        mapping(AT, CHUNK), query(0x5000), STORE, query(0x9000),
        check="compare", op="==", left=0x9000, right=0x5000,
    )  # fmt: skip
    assert "if (seen != used[1])" in text


def test_query_takes_the_size_that_the_device_gave() -> None:
    """Another device has more regions, or fewer."""
    asked = query(0)
    argument = xe.drm_xe_device_query(query=xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS)
    reply = xe.drm_xe_device_query(query=xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS, size=len(regions(0, GIB)))
    first = {name: value for name, value in asked.items() if name != "nested"}
    first |= {"before": bytes(argument).hex(), "after": bytes(reply).hex()}
    text = written(first, asked, create(CHUNK), check="errno", expected=22)
    assert "size1 = device_query1.size;" in text
    assert ".size = size1," in text
    assert "if (size1 > sizeof(data1))\n\t\tend(UNKNOWN, " in text
