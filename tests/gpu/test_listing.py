# SPDX-License-Identifier: MIT
"""A batch with any contents is decoded to instructions and text."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu import Batch, decode, listing


def pack(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


# Linux xe, xe_lrc.c: the state that the kernel puts into a render engine's context, with its length in dwords.
STATE = [
    (0x78150000, 11, "3DSTATE_CONSTANT_VS"),
    (0x78090000, 69, "3DSTATE_VERTEX_ELEMENTS"),
    (0x78550000, 5, "3DSTATE_VF_COMPONENT_PACKING"),
    (0x784A0000, 2, "3DSTATE_VF_SGVS"),
    (0x78560000, 3, "3DSTATE_VF_SGVS_2"),
    (0x78100000, 9, "3DSTATE_VS"),
    (0x781E0000, 5, "3DSTATE_STREAMOUT"),
    (0x78600000, 8, "3DSTATE_SO_BUFFER_INDEX_0"),
    (0x78120000, 4, "3DSTATE_CLIP"),
    (0x786C0000, 6, "3DSTATE_PRIMITIVE_REPLICATION"),
    (0x78770000, 3, "3DSTATE_MESH_CONTROL"),
    (0x78000000, 4, "3DSTATE_DRAWING_RECTANGLE_FAST"),
]


def test_state_that_is_not_carried_out_is_stepped_over_by_its_length() -> None:
    data, expected = b"", []
    for header, size, name in STATE:
        data += pack(header | size - 2, *[0x7A000004] * (size - 1))
        expected.append(f"{name} ({size} dwords)")
    data += pack(0x69040000, 0x7917010A, *[0] * 267, 0x05000000)
    expected += ["PIPELINE_SELECT (1 dwords)", "3DSTATE_SO_DECL_LIST (268 dwords)", "MI_BATCH_BUFFER_END"]
    assert [instruction.text for instruction in decode(data)] == expected


def test_listing_has_one_line_an_instruction_with_address_and_fields() -> None:
    batch = Batch().store_dword(0x7FFF_0000_1000, 0xC0FFEE).noop(3).semaphore_wait(0x2000, 5, ">=").end()
    text = listing(decode(batch.encode(), 0x10000))
    assert text.splitlines() == [
        "0x000000010000  MI_STORE_DATA_IMM address=0x7fff00001000 data=[0xc0ffee]",
        "0x000000010010  MI_NOOP x 3",
        "0x00000001001c  MI_SEMAPHORE_WAIT poll=1 compare=>= data=5 address=0x2000",
        "0x000000010030  MI_BATCH_BUFFER_END",
    ]


def test_unknown_and_truncated_commands_are_illegal_instructions() -> None:
    instructions = decode(pack(0x20000000, 0x05000000, 0x10000002, 1, 2))
    assert [instruction.text for instruction in instructions] == [
        "illegal 0x20000000",
        "MI_BATCH_BUFFER_END",
        "illegal 0x10000002",
        "MI_NOOP",
        "MI_NOOP",
    ]


@pytest.mark.parametrize(
    "header",
    [0x10000000, 0x11000002, 0x0E000000, 0x18800002, 0x56800007, 0x13000000, 0x7A000003, 0x17800002],
)
def test_command_with_a_length_that_it_cannot_have_is_illegal(header: int) -> None:
    assert decode(pack(header, *[0] * 20))[0].name == "illegal"


@given(st.binary(max_size=400))
@settings(deadline=None, derandomize=True)
def test_decoding_covers_every_dword_of_any_bytes(data: bytes) -> None:
    instructions = decode(data, 0x1000)
    assert sum(len(instruction.words) for instruction in instructions) == len(data) // 4
    assert all(instruction.address % 4 == 0 for instruction in instructions)
    listing(instructions)
