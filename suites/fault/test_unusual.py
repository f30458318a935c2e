# SPDX-License-Identifier: MIT
"""Memory with protection keys, secret memory, and memory whose pages others page out or replace."""

from __future__ import annotations

import ctypes
import errno
import os
import signal

import pytest

from fixtures import acts, behaviour, gpu_sees, in_child, landed, needs, untested
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, READ_WRITE, Buffer, numbered
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.queue import Queue, QueueError
from fixtures.xe.vm import Vm
from ioctl import xe
from ioctl.transcript import cannot

pytestmark = needs("page-faults", "cpu-addr-mirror")

_libc = ctypes.CDLL(None, use_errno=True)

MEMFD_SECRET, PROCESS_MADVISE = 447, 440
"""Numbers of system calls, the same on all architectures (include/uapi/asm-generic/unistd.h)."""
PKEY_DISABLE_ACCESS = 1
MADV_COLD, MADV_PAGEOUT, MADV_SOFT_OFFLINE = 20, 21, 101
"""include/uapi/asm-generic/mman-common.h; Python has no names for them."""


class Iovec(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def system(number: int, *arguments: object) -> int:
    """A system call that libc may have no function for; raises OSError."""
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


@behaviour("fault.secret-memory")
@acts("ioctl")
def test_secret_memory_works_or_fails(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """Memory of memfd_secret(2), which no other process can map or read, works as shared memory, or its faults fail."""
    cannot("it calls memfd_secret(2)")
    try:
        fd = system(MEMFD_SECRET, os.O_CLOEXEC)
    except OSError as error:
        untested("KERNEL:secretmem", f"memfd_secret(2): {error.strerror}")
    try:
        os.ftruncate(fd, SZ_64K)
        buffer, first, second = memory(SZ_64K, shared=True, fd=fd), sentinel(), sentinel()
    finally:
        os.close(fd)
    buffer.set_u32(0, first)
    count("ioctl")
    try:
        queue.store(buffer.address + 4, second)
    except QueueError:
        assert queue.banned
        chose("a GPU access to secret memory fails")
        assert (buffer.u32(0), buffer.u32(4)) == (first, 0)
        return
    chose("a GPU access to secret memory works")
    assert (buffer.u32(0), buffer.u32(4)) == (first, second)
    assert queue.load(buffer.address) == first


@behaviour("fault.protection-keys")
@acts("load", "store")
@pytest.mark.parametrize("touched", [True, False], ids=["touched", "untouched"])
def test_gpu_access_ignores_protection_keys(
    queue: Queue, memory: Memory, sentinel: Sentinel, touched: bool
) -> None:
    """The GPU loads and stores memory that a protection key keeps from the threads of the process."""
    cannot("it calls pkey_mprotect(2)")
    buffer, first, second = memory(SZ_64K, populate=touched), sentinel() if touched else 0, sentinel()
    if touched:
        buffer.set_u32(0, first)
    if (key := _libc.pkey_alloc(0, PKEY_DISABLE_ACCESS)) < 0:
        untested("MACHINE:protection-keys", f"pkey_alloc(2): {os.strerror(ctypes.get_errno())}")

    def guard(key: int) -> None:
        assert not _libc.pkey_mprotect(
            ctypes.c_void_p(buffer.address), ctypes.c_size_t(SZ_64K), READ_WRITE, key
        )

    guard(key)
    try:
        assert in_child(lambda: buffer.u32(0)).signal == signal.SIGSEGV
        gpu_sees(queue, buffer.address, first)
        queue.store(buffer.address + PAGE, second)
    finally:
        guard(0)
        _libc.pkey_free(key)
    landed(buffer, PAGE, second)
    assert buffer.u32(0) == first


def by_another_process(buffer: Buffer, advice: int) -> None:
    """process_madvise(2) of all of it, by a child, which does not share the memory."""
    cannot("it calls process_madvise(2)")
    parent = os.pidfd_open(os.getpid())

    def advise() -> int:
        vector = Iovec(buffer.address, buffer.size)
        return system(PROCESS_MADVISE, parent, ctypes.byref(vector), ctypes.c_size_t(1), advice, 0)

    try:
        ended = in_child(advise, deadline=20)
    finally:
        os.close(parent)
    if ended.error:
        untested("KERNEL:process-madvise", ended.error.splitlines()[-1])
    assert ended.result == buffer.size


@behaviour("fault.process-madvise")
@acts("load", "store")
@pytest.mark.parametrize("place", ["system", pytest.param("vram", marks=needs("svm-vram"))])
@pytest.mark.parametrize("advice", [pytest.param("pageout", marks=needs("swap")), "cold"])
def test_process_madvise_keeps_data(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, place: str, advice: str
) -> None:
    """Memory that another process has paged out, or marked cold, has its data for the GPU and the CPU."""
    buffer, queue = memory(SZ_2M, align=SZ_2M), mirror_vm.queue()
    values = numbered(buffer, sentinel)
    if place == "vram":
        mirror_vm.prefetch(buffer.address, SZ_2M, mirror_vm.device.vram[0])
    else:
        mirror_vm.prefer(buffer, xe.DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM)
    for offset in 0, SZ_2M // 2, SZ_2M - SZ_64K:
        queue.store(buffer.address + offset, value := sentinel())
        values[offset] = value
    in_vram = [not buffer.present(offset) for offset in range(0, SZ_2M, PAGE)]
    assert all(in_vram) if place == "vram" else not any(in_vram)
    by_another_process(buffer, {"pageout": MADV_PAGEOUT, "cold": MADV_COLD}[advice])
    if place == "vram":
        assert not any(buffer.present(offset) for offset in range(0, SZ_2M, PAGE))
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    queue.store(buffer.address + SZ_64K, value := sentinel())
    landed(buffer, SZ_64K, value)
    assert {offset: buffer.u32(offset) for offset in values} == values | {SZ_64K: value}


@behaviour("fault.soft-offline")
@acts("load", "store")
@needs("root", "device-pages")
@pytest.mark.parametrize("place", ["system", pytest.param("vram", marks=needs("svm-vram"))])
def test_replaced_page_keeps_data(mirror_vm: Vm, memory: Memory, sentinel: Sentinel, place: str) -> None:
    """After MADV_SOFT_OFFLINE gave memory that the GPU uses another page, GPU and CPU see its data there."""
    buffer, queue = memory(SZ_64K, align=SZ_64K), mirror_vm.queue()
    values = numbered(buffer, sentinel, range(0, SZ_64K, PAGE))
    if place == "vram":
        mirror_vm.prefetch(buffer.address, SZ_64K, mirror_vm.device.vram[0])
    else:
        mirror_vm.prefer(buffer, xe.DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM)
    gpu_sees(queue, buffer.address, values[0])
    for offset in 0, SZ_64K - PAGE:
        queue.store(buffer.address + offset + 4, value := sentinel())
        values[offset + 4] = value
        try:
            buffer.madvise(MADV_SOFT_OFFLINE, offset, PAGE)
        except OSError as error:
            if error.errno == errno.EINVAL:
                untested("KERNEL:memory-failure", "the kernel lacks CONFIG_MEMORY_FAILURE")
            raise
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    for offset in 0, SZ_64K - PAGE:
        queue.store(buffer.address + offset + 8, value := sentinel())
        landed(buffer, offset + 8, value)
    assert {offset: buffer.u32(offset) for offset in values} == values
