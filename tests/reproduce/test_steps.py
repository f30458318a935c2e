# SPDX-License-Identifier: MIT
"""Tests are recorded as steps, cheaply and in order; threads and children too."""

from __future__ import annotations

import errno
import json
import mmap
import random
import signal
import threading
from typing import Any

import pytest

from fixtures.checks import wait_until
from fixtures.memory import PAGE, PROT_NONE, allocate
from fixtures.process import in_child
from ioctl import transcript
from ioctl.steps import MOST, WHOLE, Steps, packed, plain, unpacked


def steps(of: transcript.Transcript) -> list[dict[str, Any]]:
    exported = of.steps.export()
    assert exported is not None
    found: list[dict[str, Any]] = json.loads(json.dumps(exported))["steps"]
    return found


def test_memory_operations_are_steps_in_order() -> None:
    with transcript.recording() as recorded:
        buffer = allocate(2 * PAGE)
        buffer.set_u32(4, 0x1234)
        assert buffer.u32(4) == 0x1234
        buffer.fill(b"\x5a", 0, 64)
        assert buffer.bytes(0, 64) == b"\x5a" * 64
        buffer.mprotect(PROT_NONE, PAGE)
        buffer.madvise(mmap.MADV_DONTNEED, 0, PAGE)
        with pytest.raises(OSError, match="EINVAL"):
            buffer.madvise(-1, 0, PAGE)
        buffer.close()
    found = steps(recorded)
    at = buffer.address
    assert [step["do"] for step in found] == [
        *("reserve", "mmap", "store", "load", "write", "read", "mprotect", "madvise", "madvise"),
        *("munmap", "munmap", "munmap"),
    ]
    assert (found[0]["address"], found[0]["size"]) == (at - PAGE, 4 * PAGE)
    assert (found[1]["result"], found[1]["size"]) == (at, 2 * PAGE)
    assert (found[2]["address"], found[2]["size"], found[2]["value"]) == (at + 4, 4, 0x1234)
    assert found[3]["value"] == 0x1234
    assert found[4]["data"] == {"hex": "5a", "size": 64}
    assert found[8]["errno"] == errno.EINVAL


def test_ioctl_is_a_step_with_what_it_was_given_and_gave(tmp_path: Any) -> None:
    from ioctl import call, xe

    with transcript.recording() as recorded, (tmp_path / "file").open("w") as file:
        transcript.current().opened(file.fileno(), "/dev/dri/renderD128")
        argument = xe.drm_xe_vm_create(flags=xe.DRM_XE_VM_CREATE_FLAG_LR_MODE)
        with pytest.raises(OSError, match="ENOTTY"):
            call(file.fileno(), xe.DRM_IOCTL_XE_VM_CREATE, argument)
    opened, called = steps(recorded)
    assert (opened["do"], opened["path"]) == ("open", "/dev/dri/renderD128")
    assert (called["request"], called["errno"]) == ("DRM_IOCTL_XE_VM_CREATE", errno.ENOTTY)
    assert called["before"] == bytes(argument).hex()
    assert "after" not in called


def test_loop_that_waits_is_its_last_round() -> None:
    buffer = allocate(PAGE)
    rounds = []

    def condition() -> bool:
        rounds.append(1)
        if len(rounds) == 5:
            buffer.set_u32(0, 7)
        return buffer.u32(0) == 7

    with transcript.recording() as recorded:
        wait_until(condition, what="the number")
    buffer.close()
    found = steps(recorded)
    assert [step["do"] for step in found] == ["wait", "store", "load", "waited"]
    assert (found[0]["what"], found[2]["value"], found[3]["met"]) == ("the number", 7, True)


def test_threads_are_told_apart() -> None:
    buffer = allocate(PAGE)
    with transcript.recording() as recorded:
        buffer.set_u32(0, 1)
        thread = threading.Thread(target=lambda: buffer.set_u32(0, 2))
        thread.start()
        thread.join()
        buffer.set_u32(0, 3)
    buffer.close()
    found = steps(recorded)
    assert [(step.get("thread", 0), step["value"]) for step in found] == [(0, 1), (1, 2), (0, 3)]
    assert [step["at"] for step in found] == sorted(step["at"] for step in found)


def test_child_that_a_signal_ends_leaves_its_steps() -> None:
    buffer = allocate(2 * PAGE)

    def child() -> None:
        buffer.set_u32(0, 9)
        buffer.mprotect(PROT_NONE, PAGE)
        buffer.set_u32(PAGE, 1)

    with transcript.recording() as recorded:
        assert in_child(child).signal == signal.SIGSEGV
    buffer.close()
    fork, reap = steps(recorded)
    assert (fork["do"], fork["child"], reap["do"], reap["signal"]) == ("fork", 1, "reap", signal.SIGSEGV)
    assert [step["do"] for step in reap["steps"]] == ["store", "mprotect", "store"]


def test_steps_are_bounded_and_say_so() -> None:
    kept = Steps(kept=3)
    for number in range(5):
        kept.add("load", 4096, 4, number)
    exported = kept.export()
    assert exported is not None
    assert (len(exported["steps"]), exported["dropped"]) == (3, 2)


def test_same_load_again_is_one_step() -> None:
    kept = Steps()
    for _ in range(1000):
        kept.add("load", 4096, 4, 0)
    kept.add("load", 4096, 4, 1)
    assert len(kept.items) == 2


@pytest.mark.parametrize(
    ("data", "digits"),
    [
        (b"", ""),
        (b"\x5a" * 4096, "5a"),
        (b"\x01\x02\x03\x04" * 1024, "01020304"),
        (b"ab", "6162"),
        (bytes(range(256)) * 3, bytes(range(256)).hex()),
        (b"abab" + b"a", "6162616261"),
    ],
)
def test_data_is_packed_by_its_pattern(data: bytes, digits: str) -> None:
    assert packed(data) == {"hex": digits, "size": len(data)}
    assert unpacked(packed(data)) == data


def test_long_data_is_not_kept_but_for_its_pattern() -> None:
    """The steps of a test that stores megabytes stay small while it runs."""
    kept = Steps()
    kept.add("write", 4096, 2 * WHOLE, b"abcd" * (WHOLE // 2))
    kept.add("write", 4096, 2 * WHOLE, random.Random(1).randbytes(2 * WHOLE))
    for _ in range(MOST // WHOLE + 1):
        kept.add("read", 4096, WHOLE, bytes(WHOLE))
    exported = kept.export()
    assert exported is not None
    first, second, *reads = (step["data"] for step in exported["steps"])
    assert unpacked(first) == b"abcd" * (WHOLE // 2)
    assert second == {"size": 2 * WHOLE}
    assert unpacked(reads[0]) == bytes(WHOLE)
    assert reads[-1] == {"size": WHOLE}
    assert sum(len(one[3][2]) for one in kept.items if isinstance(one[3][2], bytes)) <= MOST


def test_values_that_a_program_cannot_compare_are_left_out() -> None:
    assert plain([1, 2]) == [1, 2]
    assert plain(object()) is None
    assert plain(["a"]) is None
    assert plain([[1]]) is None
