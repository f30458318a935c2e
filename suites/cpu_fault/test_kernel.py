# SPDX-License-Identifier: MIT
"""The kernel accesses memory in VRAM: system calls, other processes, pinning (drm_pagemap.c).

Device pages are not present for the CPU, in user space or in the kernel: get_user_pages and copy_to_user fault as a
load or a store of the program would, and the same handler brings the memory back.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures import FAULTING, Vm, acts, behaviour, gpu_sees, in_child, landed, needs, untested
from fixtures.counting import count
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, Buffer, allocate
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from gpu import Batch

_libc = ctypes.CDLL(None, use_errno=True)
_IO_URING_SETUP, _IO_URING_REGISTER = 425, 427  # the same on every architecture
_IORING_REGISTER_BUFFERS = 0

pytestmark = needs("page-faults", "vram", "svm-vram", "kernel-faults")


@pytest.fixture
def buffer(memory: Memory) -> Buffer:
    """Memory of one chunk."""
    return memory(SZ_2M, align=SZ_2M)


def view(buffer: Buffer, offset: int, size: int) -> memoryview:
    """A part of the buffer, for calls that take one: no byte of it is touched here."""
    return memoryview((ctypes.c_char * size).from_address(buffer.address + offset)).cast("B")


@behaviour("cpu-fault.syscall-buffer")
@acts("cpu-fault", "load")
def test_send_and_recv_of_memory_in_vram(queue: Queue, buffer: Buffer, sentinel: Sentinel) -> None:
    """send(2) of memory in VRAM sends what the GPU stored, and the GPU sees what recv(2) put there."""
    stored, received = sentinel(), sentinel()
    queue.store(buffer.address + PAGE, stored)
    left, right = socket.socketpair()
    with left, right:
        assert not buffer.present(PAGE)
        left.send(view(buffer, PAGE, 4))
        assert right.recv(4) == stored.to_bytes(4, "little")
        count("cpu-fault")
        queue.store(buffer.address, sentinel())
        right.send(received.to_bytes(4, "little"))
        assert left.recv_into(view(buffer, 2 * PAGE, 4)) == 4
    gpu_sees(queue, buffer.address + 2 * PAGE, received)


@behaviour("cpu-fault.syscall-buffer")
@acts("cpu-fault", "load")
def test_write_and_read_of_pages_in_vram(
    queue: Queue, buffer: Buffer, tmp_path: Path, sentinel: Sentinel
) -> None:
    """write(2) and read(2) of whole pages in VRAM work, with O_DIRECT where the file system supports it."""
    values = {offset: sentinel() for offset in range(0, 4 * PAGE, PAGE)}
    queue.store_all({buffer.address + offset: value for offset, value in values.items()})
    path = tmp_path / "file"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    except OSError:  # this file system has no such files
        file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        assert os.pwrite(file, view(buffer, 0, 4 * PAGE), 0) == 4 * PAGE
        written = path.read_bytes()
        assert {offset: int.from_bytes(written[offset : offset + 4], "little") for offset in values} == values
        count("cpu-fault")
        queue.store_all({buffer.address + offset: sentinel() for offset in values})
        assert os.preadv(file, [view(buffer, 0, 4 * PAGE)], 0) == 4 * PAGE
    finally:
        os.close(file)
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@behaviour("cpu-fault.remote-access")
@acts("cpu-fault", "store")
def test_process_vm_readv_of_memory_in_vram(queue: Queue, buffer: Buffer, sentinel: Sentinel) -> None:
    """process_vm_readv(2) of memory in VRAM reads what the GPU stored."""
    value, pid = sentinel(), os.getpid()
    queue.store(buffer.address + PAGE, value)
    assert not buffer.present(PAGE)

    def read() -> int:
        found = ctypes.create_string_buffer(4)
        local, remote = _Iovec(ctypes.addressof(found), 4), _Iovec(buffer.address + PAGE, 4)
        assert _libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) == 4, (
            os.strerror(ctypes.get_errno())
        )
        return int.from_bytes(found.raw, "little")

    ended = in_child(read)
    assert ended.result == value, ended
    count("cpu-fault")
    landed(buffer, PAGE, value)


@behaviour("cpu-fault.remote-access")
@acts("cpu-fault", "store")
@needs("debugger-faults")
def test_proc_mem_access_to_memory_in_vram(queue: Queue, buffer: Buffer, sentinel: Sentinel) -> None:
    """/proc/PID/mem reads what the GPU stored to memory in VRAM, and the GPU sees what is written there."""
    value, poked = sentinel(), sentinel()
    queue.store(buffer.address + PAGE, value)
    file = os.open("/proc/self/mem", os.O_RDWR)
    try:
        assert os.pread(file, 4, buffer.address + PAGE) == value.to_bytes(4, "little")
        count("cpu-fault")
        queue.store(buffer.address, sentinel())
        assert os.pwrite(file, poked.to_bytes(4, "little"), buffer.address + 2 * PAGE) == 4
    finally:
        os.close(file)
    gpu_sees(queue, buffer.address + 2 * PAGE, poked)
    landed(buffer, PAGE, value)


@pytest.fixture
def ring() -> Iterator[int]:
    """The descriptor of an io_uring."""
    parameters = ctypes.create_string_buffer(120)
    fd = _libc.syscall(_IO_URING_SETUP, 4, parameters)
    if fd < 0:
        untested("MACHINE:io_uring", f"io_uring_setup: {os.strerror(ctypes.get_errno())}")
    yield fd
    os.close(fd)


@behaviour("cpu-fault.gup-pin")
@acts("cpu-fault", "store")
@needs("pinning")
def test_pin_of_memory_in_vram_moves_it_to_sysmem(
    queue: Queue, buffer: Buffer, ring: int, sentinel: Sentinel
) -> None:
    """Pinning memory in VRAM by io_uring moves it to system memory, with its data; GPU use does not move it back."""
    value, later = sentinel(), sentinel()
    queue.store(buffer.address + PAGE, value)
    assert not buffer.present(PAGE)
    vector = struct.pack("QQ", buffer.address, 16 * PAGE)
    result = _libc.syscall(_IO_URING_REGISTER, ring, _IORING_REGISTER_BUFFERS, vector, 1)
    if result < 0:
        untested("MACHINE:io_uring", f"io_uring_register: {os.strerror(ctypes.get_errno())}")
    assert all(buffer.present(offset) for offset in range(0, 16 * PAGE, PAGE))
    count("cpu-fault")
    landed(buffer, PAGE, value)
    queue.store(buffer.address + 2 * PAGE, later)
    assert buffer.present(2 * PAGE), "pinned memory has moved"
    landed(buffer, 2 * PAGE, later)


@behaviour("cpu-fault.coredump")
@acts("store")
@needs("core-dumps")
@pytest.mark.timeout(60)
def test_core_dump_contains_memory_in_vram(
    device: Device, queue: Queue, buffer: Buffer, tmp_path: Path, sentinel: Sentinel
) -> None:
    """The core dump of a process whose memory is in VRAM has what the GPU stored."""
    values = [sentinel() for _ in range(16)]

    def crash() -> None:
        vm = Vm(Device(device.path), FAULTING)
        vm.mirror()
        own = allocate(SZ_2M, align=SZ_2M)
        vm.queue().run(Batch().store_dwords(own.address + PAGE, values))
        os.chdir(tmp_path)
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os.kill(os.getpid(), signal.SIGQUIT)

    ended = in_child(crash, deadline=30)
    assert ended.signal == signal.SIGQUIT, ended
    (core,) = tmp_path.glob("core*")
    with core.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as dump:
        assert dump.find(struct.pack("<16I", *values)) >= 0, "the core dump does not have the values"
    core.unlink()
    queue.store(buffer.address, values[0])
    landed(buffer, 0, values[0])
