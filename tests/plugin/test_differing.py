# SPDX-License-Identifier: MIT
"""Differences of large memory: the message has the place, and is made quickly."""

from __future__ import annotations

import random

import pytest

from fixtures.plugin.differing import first_run, lines

SIZE = 4 << 20
DATA = random.Random(1).randbytes(SIZE)


def changed(at: int, length: int) -> bytes:
    """DATA with some bytes inverted."""
    run = bytes(byte ^ 0xFF for byte in DATA[at : at + length])
    return DATA[:at] + run + DATA[at + length :]


@pytest.mark.parametrize(
    ("at", "length"), [(0, 1), (0, SIZE), (SIZE - 1, 1), (0x1234, 70), (SIZE - 5, 5), (4095, 4096)]
)
def test_first_run_is_where_bytes_differ(at, length):
    assert first_run(changed(at, length), DATA) == (at, length)


def test_run_goes_on_over_a_few_equal_bytes():
    seen = changed(100, 30)
    assert first_run(seen[:110] + DATA[110:117] + seen[117:], DATA) == (100, 30)
    assert first_run(seen[:110] + DATA[110:118] + seen[118:], DATA) == (100, 10)


def test_lines_of_different_lengths():
    assert lines(DATA[:512], DATA[:500]) == [
        "0x200 bytes == 0x1f4 bytes: the shorter one begins the longer one"
    ]
    assert lines(bytes(300), bytes(299) + b"\1" + bytes(5)) == [
        "0x12c bytes == 0x131 bytes: first difference at offset 0x12b, for 0x1 bytes",
        "",
        "left:  00",
        "right: 01",
    ]


@pytest.mark.parametrize("made", ["bytes({})", "bytearray({})", "memoryview(bytes({}))"])
def test_megabytes_that_differ_are_located(project, monkeypatch, made):
    """Even in CI, and with all that -vv shows: pytest's own comparison would outlast this test's time limit."""
    monkeypatch.setenv("CI", "true")
    project.suite(f"""\
import random
@behaviour("demo.works")
@acts("ioctl")
def test_x():
    expected = random.Random(1).randbytes({SIZE})
    seen = bytearray(expected)
    seen[0x123456:0x123456 + 20] = bytes(20)
    assert {made.format("seen")} == expected
""")
    result = project.run("-vv")
    assert project.outcomes() == {"mock/bmg test_x": "FAIL"}
    expected = DATA[0x123456 : 0x123456 + 16].hex(" ")
    result.stdout.fnmatch_lines(
        [
            f"*{SIZE:#x} bytes == {SIZE:#x} bytes: first difference at offset 0x123456, for 0x14 bytes",
            "*left:  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ...",
            f"*right: {expected} ...",
        ]
    )


def test_short_memory_is_compared_by_pytest(project):
    project.suite(
        '@behaviour("demo.works")\n@acts("ioctl")\ndef test_x():\n    assert bytes(8) == bytes(7) + b"\\1"\n'
    )
    result = project.run()
    assert project.outcomes() == {"mock/bmg test_x": "FAIL"}
    result.stdout.fnmatch_lines(["*At index 7 diff: *"])
