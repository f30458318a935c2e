# SPDX-License-Identifier: MIT
"""Reading at addresses that may be bad."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

import pytest

from ioctl import memory

PAGE = 4096
READERS = [memory.read, memory.read_proc]


@pytest.fixture
def pages() -> Iterator[int]:
    """Two pages of "x", the second without permissions."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_size_t
    libc.mmap.argtypes = (ctypes.c_size_t, ctypes.c_size_t) + (ctypes.c_int,) * 3 + (ctypes.c_long,)
    libc.mprotect.argtypes = (ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)
    libc.munmap.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
    start = libc.mmap(0, 2 * PAGE, 3, 0x22, -1, 0)
    ctypes.memset(start, ord("x"), 2 * PAGE)
    assert libc.mprotect(start + PAGE, PAGE, 0) == 0
    yield start
    libc.munmap(start, 2 * PAGE)


@pytest.mark.parametrize("read", READERS)
def test_good_memory_is_read(read: Callable[[int, int], bytes | None]) -> None:
    """Any length, any place."""
    data = ctypes.create_string_buffer(bytes(range(256)) * 64, 16384)
    assert read(ctypes.addressof(data) + 1, 16000) == data.raw[1:16001]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("address", [0, 8, 0xDEAD_0000, 1 << 47, 1 << 63, 2**64 - 1, 2**64, -1])
def test_bad_addresses_give_none(read: Callable[[int, int], bytes | None], address: int) -> None:
    """Unmapped, non-canonical, of the kernel, no address at all."""
    assert read(address, 8) is None


def test_reading_ends_where_permission_ends(pages: int) -> None:
    """As copy_from_user would."""
    assert memory.read(pages + PAGE - 10, 100) == b"x" * 10
    assert memory.read(pages + PAGE, 100) is None


def test_without_process_vm_readv_proc_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox may forbid the system call."""

    def forbidden(*_: int) -> int:
        ctypes.set_errno(1)
        return -1

    monkeypatch.setattr(memory, "_readv", forbidden)
    data = ctypes.create_string_buffer(b"hello")
    assert memory.read(ctypes.addressof(data), 5) == b"hello"
    assert memory.read(0, 5) is None
