# SPDX-License-Identifier: MIT
"""WAIT_USER_FENCE: what it compares, how long it waits, what ends it (xe_wait_user_fence.c)."""

from __future__ import annotations

import ctypes
import errno
import operator
import os
import random
import signal
import threading
import time

import pytest

from fixtures import acts, behaviour, gpu_fault, needs, refused
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, Sentinel
from fixtures.memory import PAGE
from fixtures.process import Caller
from fixtures.timeouts import scale_timeout
from fixtures.xe.device import Device
from fixtures.xe.sync import SECOND, wait_user_fence
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

ALL = 0xFFFF_FFFF_FFFF_FFFF
ABSTIME = xe.DRM_XE_UFENCE_WAIT_FLAG_ABSTIME
TICK = 10_000_000
"""Nanoseconds that a wait may be longer by for its granularity: a jiffy of the slowest kernel."""
OPERATORS = {
    "EQ": (xe.DRM_XE_UFENCE_WAIT_OP_EQ, operator.eq),
    "NEQ": (xe.DRM_XE_UFENCE_WAIT_OP_NEQ, operator.ne),
    "GT": (xe.DRM_XE_UFENCE_WAIT_OP_GT, operator.gt),
    "GTE": (xe.DRM_XE_UFENCE_WAIT_OP_GTE, operator.ge),
    "LT": (xe.DRM_XE_UFENCE_WAIT_OP_LT, operator.lt),
    "LTE": (xe.DRM_XE_UFENCE_WAIT_OP_LTE, operator.le),
}


class Word:
    """64 bits of process memory that a wait looks at."""

    def __init__(self, value: int) -> None:
        self._memory = ctypes.c_uint64(value)
        self.address = ctypes.addressof(self._memory)

    def set(self, value: int) -> None:
        """Store a value."""
        self._memory.value = value


def met(device: Device, word: Word, value: int, **options: int) -> bool:
    """Whether a wait of no time succeeds. Counts the act "ioctl", or "refusal"."""
    try:
        wait_user_fence(device, word.address, value, timeout=0, **options)
    except OSError as error:
        if error.errno != errno.ETIME:
            raise
        count("refusal")
        return False
    count("ioctl")
    return True


@behaviour("ufence.wait.ops")
@acts("ioctl", "refusal")
@pytest.mark.parametrize("name", OPERATORS)
def test_wait_compares_as_unsigned_64_bits(device: Device, rng: random.Random, name: str) -> None:
    """WAIT_USER_FENCE compares memory with the value as unsigned 64-bit numbers."""
    op, compare = OPERATORS[name]
    numbers = [0, 1, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, ALL - 1, ALL, rng.getrandbits(64)]
    for there in numbers:
        word = Word(there)
        for value in numbers:
            assert met(device, word, value, op=op) == compare(there, value), f"{there:#x} {name} {value:#x}"


@behaviour("ufence.wait.ops")
@acts("ioctl", "refusal")
@pytest.mark.parametrize("mask", [0xFF, 0xFFFF_FFFF, 0xFFFF_FFFF_0000_0000, 1 << 63], ids=hex)
@pytest.mark.parametrize("name", OPERATORS)
def test_wait_masks_both_sides(device: Device, rng: random.Random, name: str, mask: int) -> None:
    """WAIT_USER_FENCE applies the mask to memory and value before comparing them."""
    op, compare = OPERATORS[name]
    numbers = [0, ALL, 0x5A, *(rng.getrandbits(64) for _ in range(4))]
    for there in numbers:
        for value in (*numbers, there ^ ~mask & ALL):
            expected = compare(there & mask, value & mask)
            assert met(device, Word(there), value, op=op, mask=mask) == expected, f"{there:#x}, {value:#x}"


@behaviour("ufence.wait.ops")
@acts("ioctl", "refusal")
def test_empty_mask_makes_all_equal(device: Device, sentinel: Sentinel) -> None:
    """With a mask of 0 any value compares equal."""
    for name, (op, compare) in OPERATORS.items():
        assert met(device, Word(sentinel()), sentinel(), op=op, mask=0) == compare(0, 0), name


@behaviour("ufence.wait.timeout", "ufence.wait.timeout-writeback")
@acts("refusal")
@pytest.mark.parametrize("timeout", [0, 1, 20_000_000, SECOND // 5], ids=["0", "1ns", "20ms", "200ms"])
def test_wait_ends_after_its_timeout(device: Device, sentinel: Sentinel, timeout: int) -> None:
    """WAIT_USER_FENCE without a match gives ETIME after its timeout, not before; timeout 0 checks once."""
    word, argument = Word(sentinel()), xe.drm_xe_wait_user_fence(mask=ALL, timeout=timeout)
    argument.addr, argument.value = word.address, 0
    start = time.monotonic_ns()
    with refused(errno.ETIME):
        device.ioctl(xe.DRM_IOCTL_XE_WAIT_USER_FENCE, argument)
    # The driver counts in jiffies: what is left of one when it begins may be missing.
    assert time.monotonic_ns() - start >= timeout - TICK
    assert 0 <= argument.timeout < TICK


@behaviour("ufence.wait.timeout")
@acts("ioctl")
@pytest.mark.parametrize("timeout", [-1, -(1 << 63)], ids=["-1", "least"])
def test_negative_timeout_waits_on(plain_vm: Vm, bo: MakeBo, timeout: int) -> None:
    """A negative timeout waits until the condition is met, here by a batch."""
    made, queue = bo(PAGE), plain_vm.queue()
    at, mapped = 1 << 40, made.map()
    plain_vm.map(made, at)
    job = queue.start(Batch().semaphore_wait(at, 1).store_qword(at + 64, 7))
    letting_go = threading.Timer(0.1, lambda: mapped.set_u32(0, 1))
    letting_go.start()
    try:
        # The driver looks again when a batch of any queue has ended.
        wait_user_fence(plain_vm.device, mapped.address + 64, 7, timeout=timeout)
    finally:
        letting_go.join(scale_timeout(5))
    assert mapped.u64(64) == 7
    job.wait()
    count("ioctl")


@behaviour("ufence.wait.timeout-writeback")
@acts("ioctl")
def test_wait_writes_back_what_is_left(plain_vm: Vm, bo: MakeBo) -> None:
    """A successful wait writes back the rest of a relative timeout: reduced by the time it took."""
    made, queue = bo(PAGE), plain_vm.queue()
    at, mapped = 1 << 40, made.map()
    plain_vm.map(made, at)
    job = queue.start(Batch().semaphore_wait(at, 1).store_qword(at + 64, 7))
    given, held, left = int(scale_timeout(20 * SECOND)), 50_000_000, []
    start = time.monotonic_ns()
    call = Caller(
        lambda: left.append(wait_user_fence(plain_vm.device, mapped.address + 64, 7, timeout=given).timeout),
        xe.DRM_IOCTL_XE_WAIT_USER_FENCE,
    )
    assert call.waits()
    with refused(
        errno.ETIME, may_change={"timeout"}
    ):  # this wait, all of which the first one spans, is the clock
        wait_user_fence(plain_vm.device, Word(0).address, 1, timeout=held)
    mapped.set_u32(0, 1)
    assert call.ends()
    assert call.error == 0
    took = time.monotonic_ns() - start
    assert given - took <= left[0] <= given - held + TICK
    job.wait()
    count("ioctl")


@behaviour("ufence.wait.timeout-writeback", "ufence.wait.abstime")
@acts("refusal", "ioctl")
@pytest.mark.parametrize("ahead", [-SECOND, 0, 50_000_000], ids=["past", "now", "50ms"])
def test_absolute_time_ends_the_wait_and_stays(device: Device, sentinel: Sentinel, ahead: int) -> None:
    """A wait with ABSTIME ends at that time of CLOCK_MONOTONIC, and does not change the timeout."""
    word = Word(sentinel())
    until = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + ahead
    argument = xe.drm_xe_wait_user_fence(
        addr=word.address, mask=ALL, timeout=until, flags=ABSTIME, op=xe.DRM_XE_UFENCE_WAIT_OP_EQ
    )
    with refused(errno.ETIME):
        device.ioctl(xe.DRM_IOCTL_XE_WAIT_USER_FENCE, argument)
    # The driver counts in jiffies from now on: what is left of one may be missing.
    assert time.clock_gettime_ns(time.CLOCK_MONOTONIC) >= until - TICK
    assert argument.timeout == until
    word.set(0)
    device.ioctl(xe.DRM_IOCTL_XE_WAIT_USER_FENCE, argument)
    assert argument.timeout == until


@behaviour("ufence.wait.already-met")
@acts("ioctl", "refusal")
@needs("page-faults")
def test_condition_that_is_met_needs_no_wait(mirror_vm: Vm, sentinel: Sentinel) -> None:
    """A wait whose condition is met returns 0, even with timeout 0 and with a banned queue."""
    value = sentinel()
    word, queue, device = Word(value), mirror_vm.queue(), mirror_vm.device
    with gpu_fault(queue):
        queue.store(1 << 40, sentinel())
    for timeout in (0, -1, SECOND):
        wait_user_fence(device, word.address, value, timeout=timeout, queue=queue.id)
        count("ioctl")


@behaviour("ufence.wait.queue-reset")
@acts("refusal", "ioctl")
@needs("page-faults")
@pytest.mark.parametrize("timeout", [0, 5 * SECOND, -1], ids=["0", "5s", "ever"])
def test_wait_with_a_banned_queue_is_eio(mirror_vm: Vm, sentinel: Sentinel, timeout: int) -> None:
    """A wait with a banned queue gives EIO at once; with another queue of the VM it waits."""
    word, banned, other = Word(sentinel()), mirror_vm.queue(), mirror_vm.queue()
    with gpu_fault(banned):
        banned.store(1 << 40, sentinel())
    with refused(errno.EIO):
        wait_user_fence(mirror_vm.device, word.address, 0, timeout=timeout, queue=banned.id)
    with refused(errno.ETIME):
        wait_user_fence(mirror_vm.device, word.address, 0, timeout=0, queue=other.id)
    count("ioctl")


@behaviour("ufence.wait.signal")
@acts("ioctl")
def test_signal_interrupts_a_wait(device: Device, sentinel: Sentinel) -> None:
    """A signal whose handler runs ends a wait with EINTR, or the wait continues with the remaining time."""
    word, caught = Word(sentinel()), []
    before = signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
    signal.siginterrupt(signal.SIGUSR1, True)
    timeout = int(scale_timeout(SECOND))
    argument = xe.drm_xe_wait_user_fence(addr=word.address, mask=ALL, timeout=timeout)
    start = time.monotonic_ns()
    sender = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    sender.start()
    try:
        with pytest.raises(OSError, match=r"EINTR|ETIME") as raised:
            device.ioctl(xe.DRM_IOCTL_XE_WAIT_USER_FENCE, argument)
    finally:
        sender.join(scale_timeout(5))
        signal.signal(signal.SIGUSR1, before)
    took = time.monotonic_ns() - start
    assert caught
    if raised.value.errno == errno.EINTR:
        assert took < timeout
        assert timeout - took - TICK <= argument.timeout < timeout
        chose("a signal ends WAIT_USER_FENCE with EINTR")
    else:
        assert took >= timeout - TICK
        assert 0 <= argument.timeout < TICK
        chose("WAIT_USER_FENCE continues after a signal")
    count("ioctl")
