# SPDX-License-Identifier: MIT
"""VRAM, the bus, and atomic updates."""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path

import pytest

from guest.emulator import atomics
from guest.emulator.__main__ import main
from guest.emulator.memory import PAGE, Bus, Vram

SIZE = 1 << 20


def file_of(byte: int, size: int = SIZE) -> int:
    descriptor = os.memfd_create("ram")
    os.write(descriptor, bytes([byte]) * size)
    return descriptor


@pytest.fixture
def bus() -> Bus:
    bus = Bus()
    bus.map(0x10_0000, SIZE, file_of(1), 0)
    bus.map(0x20_0000, SIZE, file_of(2, 2 * SIZE), SIZE)
    return bus


@pytest.mark.parametrize(
    ("address", "size", "byte"),
    [
        (0x10_0000, 4, 1),
        (0x1F_F000, PAGE, 1),
        (0x20_0000, SIZE, 2),
        (0x1F_F000, 2 * PAGE, None),  # two pieces that are not one
        (0x0F_F000, PAGE, None),
        (0x30_0000, 1, None),
        (1 << 60, 8, None),
    ],
)
def test_bus_address_is_one_piece_of_memory_or_nothing(
    bus: Bus, address: int, size: int, byte: int | None
) -> None:
    span = bus.resolve(address, size)
    if byte is None:
        assert span is None
    else:
        assert span is not None
        assert (len(span.view), span.view[0], span.view[size - 1]) == (size, byte, byte)


def test_unmapping_takes_whole_pieces(bus: Bus) -> None:
    bus.unmap(0x10_0000, SIZE)
    assert bus.resolve(0x10_0000, 4) is None
    assert bus.resolve(0x20_0000, 4) is not None
    bus.unmap(0, 1 << 40)
    assert bus.resolve(0x20_0000, 4) is None


def test_memory_that_was_in_use_while_unmapped_stays_until_dropped(bus: Bus) -> None:
    span = bus.resolve(0x10_0000, PAGE)
    bus.unmap(0x10_0000, SIZE)
    assert span is not None
    assert span.view[0] == 1


def test_peers_memory_is_found_where_its_window_is_now(bus: Bus) -> None:
    vram = Vram("peer", SIZE)
    windows = [(1 << 34, SIZE, vram), None, (1 << 35, SIZE, vram)]
    bus.peers.append(lambda: windows[0])
    assert (span := bus.resolve((1 << 34) + 0x1000, PAGE)) is not None
    assert (span.vram, span.offset) == (vram, 0x1000)
    del windows[0]
    assert bus.resolve((1 << 34) + 0x1000, PAGE) is None
    del windows[0]
    assert bus.resolve((1 << 35) + SIZE - PAGE, PAGE) is not None
    assert bus.resolve((1 << 35) + SIZE - PAGE, 2 * PAGE) is None


def test_clearing_touches_only_what_was_touched() -> None:
    vram = Vram("x", 16 * SIZE)
    vram.view[SIZE : SIZE + 4] = b"abcd"
    vram.clear(0, 16 * SIZE - PAGE)
    assert bytes(vram.view[SIZE : SIZE + 4]) == bytes(4)
    fresh = Vram("y", 16 * SIZE)
    fresh.clear(0, 16 * SIZE)
    assert os.fstat(fresh.descriptor).st_blocks == 0


@pytest.mark.parametrize("size", [4, 8])
def test_update_gives_what_was_there_and_wraps(size: int) -> None:
    memory = memoryview(bytearray(b"\xff" * 16))
    assert atomics.update(memory[8:], size, lambda old: old + 2) == (1 << 8 * size) - 1
    assert int.from_bytes(memory[8 : 8 + size], "little") == 1
    assert bytes(memory[:8]) == b"\xff" * 8


def test_updates_from_two_sides_lose_nothing() -> None:
    memory = memoryview(mmap.mmap(-1, PAGE))
    many = 3000

    def count() -> None:
        for _ in range(many):
            atomics.update(memory[:8], 8, lambda old: old + 1)

    other = threading.Thread(target=count)
    other.start()
    count()
    other.join()
    assert int.from_bytes(memory[:8], "little") == 2 * many


def test_emulator_does_not_start_without_libatomic(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def missing(size: int) -> None:
        raise OSError("libatomic.so.1: cannot open shared object file")

    monkeypatch.setattr(atomics, "_compare_exchange", missing)
    assert main(["--socket", str(tmp_path / "gpu.sock")]) == 2
    assert "apt-get install libatomic1" in capsys.readouterr().err
    assert not (tmp_path / "gpu.sock").exists()
