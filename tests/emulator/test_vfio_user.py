# SPDX-License-Identifier: MIT
"""The protocol to QEMU, with a client over a real socket and the real loop."""

from __future__ import annotations

import errno
import json
import mmap
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from guest.emulator import vfio_user as proto
from guest.emulator.device import Gpu
from guest.emulator.loop import Loop
from guest.emulator.vfio_user import Command
from tests.emulator.driver import VRAM, platform

BAR0, BAR2, CONFIG, MSI = 0, 2, 7, 1


class Client:
    """QEMU's side."""

    def __init__(self, path: Path) -> None:
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.connect(str(path))
        self.stream.settimeout(10)

    def post(self, command: int, payload: bytes = b"", fds: tuple[int, ...] = (), flags: int = 0) -> None:
        head = proto.HEADER.pack(1, command, proto.HEADER.size + len(payload), flags, 0)
        socket.send_fds(self.stream, [head + payload], list(fds))

    def call(
        self, command: int, payload: bytes = b"", fds: tuple[int, ...] = ()
    ) -> tuple[bytes, list[int], int]:
        self.post(command, payload, fds)
        head, received, _, _ = socket.recv_fds(self.stream, proto.HEADER.size, 4, socket.MSG_WAITALL)
        identifier, answered, size, flags, error = proto.HEADER.unpack(head)
        assert (identifier, answered, flags & proto.TYPE_REPLY) == (1, command, 1)
        rest = size - proto.HEADER.size
        data = self.stream.recv(rest, socket.MSG_WAITALL) if rest else b""
        return data, received, error if flags & proto.ERROR else 0

    def read(self, region: int, offset: int, size: int) -> bytes:
        data, _, error = self.call(Command.REGION_READ, proto.ACCESS.pack(offset, region, size))
        assert not error
        return data[proto.ACCESS.size :]

    def write(self, region: int, offset: int, data: bytes, flags: int = 0) -> None:
        payload = proto.ACCESS.pack(offset, region, len(data)) + data
        if flags:
            self.post(Command.REGION_WRITE, payload, flags=flags)
        else:
            self.call(Command.REGION_WRITE, payload)

    def region(self, index: int, room: int = 256) -> tuple[tuple[int, ...], bytes, list[int]]:
        data, fds, _ = self.call(
            Command.DEVICE_GET_REGION_INFO, proto.REGION_INFO.pack(room, 0, index, 0, 0, 0)
        )
        return proto.REGION_INFO.unpack_from(data), data[proto.REGION_INFO.size :], fds


@pytest.fixture
def gpu() -> Gpu:
    return Gpu("gpu0", VRAM, VRAM, platform())


@pytest.fixture
def loop(gpu: Gpu, tmp_path: Path) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=Loop([gpu], [tmp_path / "s"]).run, daemon=True)
    thread.start()
    yield thread
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def client(loop: threading.Thread, tmp_path: Path) -> Iterator[Client]:
    client = Client(tmp_path / "s")
    yield client
    client.stream.close()


def test_version_is_agreed(client: Client) -> None:
    data, _, error = client.call(Command.VERSION, struct.pack("<HH", 0, 3) + b'{"capabilities":{}}\0')
    assert not error
    assert struct.unpack_from("<HH", data) == (0, 1)
    assert json.loads(data[4:].rstrip(b"\0"))["capabilities"]["max_data_xfer_size"] > 0


def test_other_major_version_is_refused(client: Client) -> None:
    assert client.call(Command.VERSION, struct.pack("<HH", 1, 0))[2] == errno.EPROTONOSUPPORT


def test_device_has_regions_and_one_vector(client: Client) -> None:
    data, _, _ = client.call(Command.DEVICE_GET_INFO, proto.DEVICE_INFO.pack(16, 0, 0, 0))
    _, flags, regions, kinds = proto.DEVICE_INFO.unpack(data)
    assert (flags, regions, kinds) == (3, 9, 5)
    counts = [
        proto.IRQ_INFO.unpack(
            client.call(Command.DEVICE_GET_IRQ_INFO, proto.IRQ_INFO.pack(16, 0, kind, 0))[0]
        )[3]
        for kind in range(kinds)
    ]
    assert counts == [0, 1, 0, 0, 0]


def test_registers_trap_and_the_table_is_mapped(client: Client, gpu: Gpu) -> None:
    (size, flags, *_), capability, fds = client.region(BAR0)
    assert size == proto.REGION_INFO.size + len(capability)
    assert flags == 0xF
    kind, _, _, areas, _ = proto.SPARSE_CAPABILITY.unpack_from(capability)
    offset, length = proto.SPARSE_AREA.unpack_from(capability, proto.SPARSE_CAPABILITY.size)
    assert (kind, areas, offset, length) == (1, 1, 8 << 20, 8 << 20)
    table = mmap.mmap(fds[0], length, offset=offset)
    table[0x1000:0x1008] = struct.pack("<Q", 0x1234000 | 1)
    assert gpu.ggtt.view.cast("Q")[0x200] == 0x1234000 | 1
    os.close(fds[0])


def test_short_question_for_a_region_tells_the_size(client: Client) -> None:
    (size, *_), capability, fds = client.region(BAR0, room=proto.REGION_INFO.size)
    assert size > proto.REGION_INFO.size
    assert (capability, fds) == (b"", [])


def test_memory_is_mapped_whole(client: Client, gpu: Gpu) -> None:
    (_, flags, _, _, size, _), capability, fds = client.region(BAR2)
    assert (flags, size, capability) == (7, VRAM, b"")
    memory = mmap.mmap(fds[0], size)
    memory[VRAM - 4 : VRAM] = b"abcd"
    assert client.read(BAR2, VRAM - 4, 4) == b"abcd" == bytes(gpu.vram.view[VRAM - 4 :])
    os.close(fds[0])


def test_bars_are_sized_and_placed(client: Client, gpu: Gpu) -> None:
    client.write(CONFIG, 0x18, b"\xff" * 8)
    (mask,) = struct.unpack("<Q", client.read(CONFIG, 0x18, 8))
    assert ~(mask & ~0xF) + 1 & (1 << 64) - 1 == VRAM
    assert mask & 0xF == 0xC  # 64 bits, prefetchable
    client.write(CONFIG, 0x18, struct.pack("<I", 0xC000_0000))
    client.write(CONFIG, 0x1C, struct.pack("<I", 1))
    assert gpu.config.bar_window(2) is None  # memory decoding is off
    client.write(CONFIG, 0x04, struct.pack("<H", 2))
    client.read(CONFIG, 0, 4)
    assert gpu.config.bar_window(2) == (0x1_C000_0000, VRAM)


def test_identity_cannot_be_written(client: Client) -> None:
    before = client.read(CONFIG, 0, 16)
    client.write(CONFIG, 0, b"\xff" * 4)
    assert client.read(CONFIG, 0, 16)[:4] == before[:4] == struct.pack("<HH", 0x8086, 0xE20B)


def test_pipelined_maps_keep_their_own_descriptors(client: Client, gpu: Gpu) -> None:
    files = []
    for index in range(3):
        file = os.memfd_create(f"ram{index}")
        os.truncate(file, 8192)
        os.pwrite(file, bytes([index + 1]) * 8192, 0)
        payload = proto.DMA_MAP.pack(32, 3, 4096, index << 20, 4096)
        client.post(Command.DMA_MAP, payload, (file,), flags=proto.NO_REPLY)
        files.append(file)
    client.post(Command.DMA_MAP, proto.DMA_MAP.pack(32, 3, 0, 9 << 20, 4096), flags=proto.NO_REPLY)
    client.read(CONFIG, 0, 4)
    for index in range(3):
        span = gpu.bus.resolve(index << 20, 4096)
        assert span is not None
        assert span.view[0] == index + 1
    assert gpu.bus.resolve(9 << 20, 4096) is None  # no descriptor: a BAR
    data, _, error = client.call(Command.DMA_UNMAP, proto.DMA_UNMAP.pack(24, 0, 1 << 20, 4096))
    assert (len(data), error) == (proto.DMA_UNMAP.size, 0)
    assert gpu.bus.resolve(1 << 20, 4096) is None
    assert gpu.bus.resolve(0, 4096) is not None


def test_interrupt_is_an_event(client: Client, gpu: Gpu) -> None:
    event = os.eventfd(0, os.EFD_NONBLOCK)
    client.call(Command.DEVICE_SET_IRQS, proto.IRQ_SET.pack(20, 4 | 32, MSI, 0, 1), (event,))
    gpu.main.interrupts.status, gpu.main.interrupts.source = 0x2000, 0x1000
    gpu.main.interrupts.guc()
    assert os.eventfd_read(event) == 1
    client.call(Command.DEVICE_SET_IRQS, proto.IRQ_SET.pack(20, 1 | 32, MSI, 0, 0))
    gpu.main.interrupts.guc()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(event)


def test_posted_and_coalesced_writes(client: Client, gpu: Gpu) -> None:
    client.write(BAR0, 0x190244, struct.pack("<I", 5), flags=proto.NO_REPLY)
    several = struct.pack("<Q", 2) + b"".join(
        proto.ACCESS.pack(offset, BAR0, 4) + struct.pack("<II", value, 0)
        for offset, value in ((0x190248, 6), (0x19024C, 7))
    )
    client.post(Command.REGION_WRITE_MULTI, several, flags=proto.NO_REPLY)
    read = [client.read(BAR0, 0x190244 + 4 * index, 4) for index in range(3)]
    assert [int.from_bytes(word, "little") for word in read] == [5, 6, 7]


@pytest.mark.parametrize(
    ("command", "payload", "error"),
    [
        (99, b"", errno.ENOSYS),
        (Command.REGION_READ, b"", errno.EINVAL),
        (Command.REGION_READ, proto.ACCESS.pack(0, 0, 1 << 30), errno.E2BIG),
        (Command.DEVICE_GET_REGION_INFO, proto.REGION_INFO.pack(32, 0, 77, 0, 0, 0), errno.EINVAL),
        (Command.DEVICE_GET_IRQ_INFO, proto.IRQ_INFO.pack(16, 0, 77, 0), errno.EINVAL),
    ],
)
def test_wrong_messages_get_an_error(client: Client, command: int, payload: bytes, error: int) -> None:
    assert client.call(command, payload)[2] == error
    assert client.read(BAR0, 0x1901F8, 4) == b"\1\0\0\0"


@pytest.mark.parametrize("offset", [0, 0x3FFFFF, 0x400000, 0x7FFFFC, 0x800000, 0xFFFFF8, 0xFFFFFF, 1 << 40])
def test_any_offset_can_be_accessed(client: Client, offset: int) -> None:
    for size in (1, 2, 4, 8):
        assert len(client.read(BAR0, offset, size)) == size
        client.write(BAR0, offset, bytes(size))
        client.read(BAR2, offset, size)


def test_end_of_the_client_ends_the_loop_and_the_socket(
    client: Client, gpu: Gpu, loop: threading.Thread, tmp_path: Path
) -> None:
    memory = os.memfd_create("ram")
    os.truncate(memory, 4096)
    client.call(Command.DMA_MAP, proto.DMA_MAP.pack(32, 3, 0, 0, 4096), (memory,))
    assert gpu.bus.resolve(0, 4096) is not None
    client.stream.close()
    loop.join(10)
    assert not loop.is_alive()
    assert gpu.bus.resolve(0, 4096) is None
    assert not (tmp_path / "s").exists()


def test_garbage_ends_the_connection(client: Client, loop: threading.Thread) -> None:
    client.stream.sendall(proto.HEADER.pack(1, 9, 3, 0, 0))
    loop.join(10)
    assert not loop.is_alive()


def test_last_client_of_any_gpu_ends_the_loop(tmp_path: Path) -> None:
    shared = platform()
    gpus = [Gpu(f"gpu{index}", VRAM, VRAM, shared) for index in range(2)]
    thread = threading.Thread(target=Loop(gpus, [tmp_path / "a", tmp_path / "b"]).run, daemon=True)
    thread.start()
    first, second = Client(tmp_path / "a"), Client(tmp_path / "b")
    for client in (first, second):
        client.read(CONFIG, 0, 4)
    first.stream.close()
    assert second.read(CONFIG, 0, 2) == b"\x86\x80"
    second.stream.close()
    thread.join(10)
    assert not thread.is_alive()
