# SPDX-License-Identifier: MIT
"""The kernel's log: messages that fail a test, and messages that do not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures import kmsg
from fixtures.kmsg import KernelLog, Record

WARNING = """\
[   18.373980] ------------[ cut here ]------------
[   18.374293] xe 0000:03:00.0: [drm] Did not find MCR register 0x6210 in any MCR steering table
[   18.374546] WARNING: drivers/gpu/drm/xe/xe_gt_mcr.c:662 at xe_gt_mcr_get_nonterminated_steering+0x1ed/0x320 [xe]
[   18.377174] CPU: 0 UID: 0 PID: 130 Comm: init Not tainted 7.0.13+deb13-amd64 #1 PREEMPT(lazy)
[   18.380064] Call Trace:
[   18.381273]  xe_gt_record_default_lrcs+0x644/0x880 [xe]
[   18.390000] ---[ end trace 0000000000000000 ]---
"""
OOPS = """\
[   29.000000] BUG: kernel NULL pointer dereference, address: 0000000000000018
[   29.000100] #PF: supervisor read access in kernel mode
[   29.000200] Oops: Oops: 0000 [#1] SMP NOPTI
[   29.000300] RIP: 0010:xe_svm_copy+0x12/0x20 [xe]
[   29.100000] ---[ end trace 0000000000000000 ]---
"""
ORDINARY = """\
[   20.000000] xe 0000:01:00.0: [drm] *ERROR* Tile0: GT0: Fault response: Unsuccessful -ENOENT
[   20.010000] xe 0000:01:00.0: [drm] Tile0: GT0: Engine memory CAT error: class=bcs, logical_mask: 0x1, guc_id=3
[   20.020000] xe 0000:01:00.0: [drm] Tile0: GT0: Engine reset: engine_class=bcs, logical_mask: 0x1, guc_id=3, state=0x0
[   20.030000] xe 0000:01:00.0: [drm] Tile0: GT0: Timedout job: seqno=1, lrc_seqno=1, guc_id=3, flags=0x0 in python [77]
[   20.040000] xe 0000:01:00.0: [drm] exec queue reset detected
[   20.050000] xe 0000:01:00.0: [drm] Tile0: GT0: Check job timeout: seqno=1, lrc_seqno=1, guc_id=3, timestamp stuck
[   20.060000] xe 0000:01:00.0: [drm] Tile0: GT0: G2H fence 18, action 550c, done
[   20.070000] xe 0000:01:00.0: [drm] VM worker error: -1
[   20.100000] xe 0000:01:00.0: [drm] Xe device coredump has been created
[   20.200000] systemd[1]: WARNING: something in user space
"""


def records(text: str) -> list[Record]:
    found = []
    for line in text.splitlines():
        time, _, message = line[1:].partition("] ")
        found.append(Record(4, float(time), message))
    return found


def test_a_record_is_read_with_its_level_and_time() -> None:
    record = kmsg.parse(
        b"28,339,5140900,-;xe 0000:01:00.0: hello\n SUBSYSTEM=pci\n DEVICE=+pci:0000:01:00.0\n"
    )
    assert record == Record(4, 5.1409, "xe 0000:01:00.0: hello")


def test_a_warning_is_found_with_its_cause_and_its_trace() -> None:
    (splat,) = kmsg.splats(records(ORDINARY + WARNING + ORDINARY))
    assert splat.splitlines()[0].endswith("------------[ cut here ]------------")
    assert "Did not find MCR register" in splat
    assert splat.splitlines()[-1].endswith("---[ end trace 0000000000000000 ]---")


@pytest.mark.parametrize(
    "said",
    [
        "pagealloc: memory corruption",
        "xe 0000:01:00.0: [drm] *ERROR* Tile0: GT0: TLB invalidation fence timeout, seqno=7 recv=6",
        "xe 0000:01:00.0: [drm] Tile0: GT0: PageFault Queue (0) full, shouldn't be possible",
        "xe 0000:01:00.0: [drm] Tile0: GT0: Pending enable/disable failed to respond",
        "xe 0000:01:00.0: [drm] Tile0: GT0: Schedule disable failed to respond, guc_id=3",
        "xe 0000:01:00.0: [drm] *ERROR* Tile0: GT0: SCHED_DONE: Unexpected engine state 0x0001, guc_id=3",
        "xe 0000:01:00.0: [drm] *ERROR* Tile0: GT0: No exec queue found for guc_id 3",
        "xe 0000:01:00.0: [drm] Tile0: GT0: Check job timeout: seqno=1, lrc_seqno=1, guc_id=3, not started",
        "xe 0000:01:00.0: [drm] *ERROR* Tile0: GT0: CT read: non-zero status: 1",
        "xe 0000:01:00.0: [drm] *ERROR* Tile0: GT0: CT dequeue failed: -71",
        "xe 0000:01:00.0: [drm] *ERROR* Tile0: GT0: CTB receive failed (-EPROTO)",
        "xe 0000:01:00.0: [drm] *ERROR* Tile0: GT0: G2H action 0x1002 failed (-EPROTO) len 2 msg 02 10",
        "xe 0000:01:00.0: [drm] *ERROR* Tile0: GT0: FAST_REQ H2G fence 0x12 failed! e=0x30, h=0",
        "xe 0000:01:00.0: [drm] *ERROR* Tile0: GT0: Timed out wait for G2H, fence 18, action 550c, done no",
        "xe 0000:01:00.0: [drm] *ERROR* Tile0: GT0: GuC Crash dump notification",
        "xe 0000:01:00.0: [drm] NOT POSSIBLE",
        "xe 0000:01:00.0: [drm] *ERROR* Tile0: GT0: G2H channel broken on read, type=7, reset required",
        "xe 0000:01:00.0: [drm] Tile0: GT0: G2H fence (18) not found!",
    ],
)
def test_driver_that_lost_track_is_found(said: str) -> None:
    (splat,) = kmsg.splats(records(ORDINARY + f"[   21.000000] {said}\n" + ORDINARY))
    assert said in splat


def test_two_faults_are_two() -> None:
    first, second = kmsg.splats(records(WARNING + OOPS))
    assert "xe_gt_mcr.c" in first
    assert "xe_svm_copy" in second


def test_what_drivers_and_programs_write_is_no_fault_of_the_kernel() -> None:
    assert kmsg.splats(records(ORDINARY)) == []


@pytest.mark.parametrize(
    "line",
    [
        "BUG: KASAN: slab-use-after-free in xe_vm_close+0x1/0x2",
        "BUG: sleeping function called from invalid context at mm/slab.h:1",
        "INFO: task python:77 blocked for more than 60 seconds.",
        "watchdog: BUG: soft lockup - CPU#1 stuck for 67s!",
        "rcu: INFO: rcu_preempt self-detected stall on CPU",
        "general protection fault, probably for non-canonical address 0x6b6b: 0000 [#1]",
        "refcount_t: underflow; use-after-free.",
        "kernel BUG at mm/memory.c:1!",
        "UBSAN: array-index-out-of-bounds in drivers/gpu/drm/xe/xe_svm.c:1:2",
    ],
)
def test_each_kind_of_fault_is_found(line: str) -> None:
    (splat,) = kmsg.splats(records(f"[ 1.0] {line}\n[ 1.01] next\n[ 2.0] later\n"))
    assert line in splat
    assert "next" in splat
    assert "later" not in splat


def test_what_a_test_expects_is_no_complaint() -> None:
    found = kmsg.splats(records(WARNING + OOPS))
    assert kmsg.unexpected(found, [r"xe_gt_mcr\.c:\d+"]) == found[1:]
    assert kmsg.unexpected(found, []) == found


def test_new_taint_is_named() -> None:
    assert kmsg.tainted_by(1 << 9, 1 << 9 | 1 << 7) == ["oops"]
    assert kmsg.tainted_by(0, 1 << 13 | 1 << 12) == []


def device_reads(monkeypatch: pytest.MonkeyPatch, answers: list[bytes | OSError]) -> Callable[[], list[str]]:
    """A log whose device gives these answers, one a read."""

    def read(fd: int, size: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    log = KernelLog(Path("/dev/null"))
    monkeypatch.setattr(os, "read", read)
    return lambda: [record.text for record in log.read()]


def test_records_are_read_until_there_are_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [b"6,1,1,-;one\n", b"6,2,2,-;two\n", BlockingIOError(), b"6,3,3,-;three\n", BlockingIOError()]
    read = device_reads(monkeypatch, answers)
    assert read() == ["one", "two"]
    assert read() == ["three"]


def test_overwritten_records_do_not_stop_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [OSError(errno.EPIPE, "lost"), b"6,9,9,-;kept\n", BlockingIOError()]
    assert device_reads(monkeypatch, answers)() == ["kept"]
