# SPDX-License-Identifier: MIT
"""The server's side of vfio-user, the protocol between QEMU's vfio-user-pci and a device in another process.

Source: QEMU docs/interop/vfio-user.rst (messages, region and interrupt structures) and linux/vfio.h (flags).
Everything is little endian, sizes are bytes. The transport knows nothing of GPUs: it serves a ``Device``.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import json
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

HEADER = struct.Struct("<HHIII")  # message id, command, size with header, flags, error
VERSION = struct.Struct("<HH")
DMA_MAP = struct.Struct("<IIQQQ")  # argsz, flags, offset in the descriptor, address, size
DMA_UNMAP = struct.Struct("<IIQQ")  # argsz, flags, address, size
DEVICE_INFO = struct.Struct("<IIII")  # argsz, flags, regions, interrupt types
REGION_INFO = struct.Struct("<IIIIQQ")  # argsz, flags, index, capability offset, size, offset
SPARSE_CAPABILITY = struct.Struct("<HHIII")  # id, version, next, areas, reserved
SPARSE_AREA = struct.Struct("<QQ")  # offset, size
IRQ_INFO = struct.Struct("<IIII")  # argsz, flags, index, count
IRQ_SET = struct.Struct("<IIIII")  # argsz, flags, index, start, count
ACCESS = struct.Struct("<QII")  # offset, region, count

TYPE_REPLY = 0x1
NO_REPLY = 0x10
ERROR = 0x20

DEVICE_FLAGS = 0x3  # can be reset, is PCI
REGION_READ, REGION_WRITE, REGION_MMAP, REGION_CAPS = 1, 2, 4, 8
CAP_SPARSE_MMAP = 1
IRQ_EVENTFD, IRQ_NORESIZE = 1, 8
IRQ_DATA_EVENTFD = 4

MAX_MESSAGE = 1 << 20
"""Largest transfer this server announces, bytes."""
MAX_DESCRIPTORS = 16
"""Most file descriptors in a message."""

Reply = tuple[bytes, list[int]]
"""Payload of a reply, and the descriptors that go with it (they stay the sender's)."""
NO_DATA: Reply = (b"", [])


class Command(enum.IntEnum):
    """Message commands."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DEVICE_RESET = 13
    REGION_WRITE_MULTI = 15


@dataclass(frozen=True, slots=True)
class Region:
    """One region of a device: its size, and the part of it a client may map (descriptor, areas as offset and
    size).
    """

    size: int
    descriptor: int = -1
    areas: tuple[tuple[int, int], ...] = ()


class Device(Protocol):
    """Interface of a device: regions, interrupts, and a place for the client's memory."""

    regions: Sequence[Region]
    """By VFIO index: BARs 0 to 5, ROM 6, configuration space 7, VGA 8."""
    interrupt_counts: Sequence[int]
    """Vectors of each VFIO interrupt type: INTx, MSI, MSI-X, error, request."""

    def region_read(self, region: int, offset: int, size: int) -> bytes: ...
    def region_write(self, region: int, offset: int, data: bytes) -> None: ...
    def set_interrupts(self, kind: int, start: int, descriptors: list[int]) -> None: ...
    def dma_map(self, address: int, size: int, descriptor: int, offset: int, writable: bool) -> None: ...
    def dma_unmap(self, address: int, size: int) -> None: ...
    def device_reset(self) -> None: ...


class Disconnected(Exception):  # noqa: N818 - the ordinary end of a client
    """The client closed its end, or sent what is not vfio-user."""


class Connection:
    """One client, from the accepted socket to its end.

    ``serve`` handles the messages that are waiting; it raises ``Disconnected`` when there will be no more.
    """

    def __init__(self, stream: socket.socket, device: Device) -> None:
        self.stream = stream
        self.device = device
        # A client stuck in the middle of a message. Not settimeout(), which makes every call poll first.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 5, 0))
        self._handlers: dict[int, Callable[[bytes, list[int]], Reply]] = {
            Command.VERSION: self._version,
            Command.DMA_MAP: self._dma_map,
            Command.DMA_UNMAP: self._dma_unmap,
            Command.DEVICE_GET_INFO: self._device_info,
            Command.DEVICE_GET_REGION_INFO: self._region_info,
            Command.DEVICE_GET_IRQ_INFO: self._irq_info,
            Command.DEVICE_SET_IRQS: self._set_irqs,
            Command.REGION_READ: self._region_read,
            Command.REGION_WRITE: self._region_write,
            Command.DEVICE_RESET: self._reset,
            Command.REGION_WRITE_MULTI: self._region_write_multi,
        }

    def serve(self) -> None:
        """Read one message, handle it, and reply unless the client wants no reply."""
        head, descriptors = self._receive_header()
        try:
            if len(head) < HEADER.size:
                raise Disconnected("end of stream")
            identifier, command, size, flags, _ = HEADER.unpack(head)
            if not HEADER.size <= size <= MAX_MESSAGE + 4096:
                raise Disconnected(f"message of {size} bytes")
            payload = self._receive_exactly(size - HEADER.size)
            reply, error = self._answer(command, payload, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if not flags & NO_REPLY:
            self._send(identifier, command, reply, error)

    def _answer(self, command: int, payload: bytes, descriptors: list[int]) -> tuple[Reply, int]:
        """Act on a message: the reply, and an error number that is sent in its place if it is not 0."""
        if (handler := self._handlers.get(command)) is None:
            return NO_DATA, errno.ENOSYS
        try:
            return handler(payload, descriptors), 0
        except struct.error:  # shorter than its structure
            return NO_DATA, errno.EINVAL
        except OSError as failure:
            return NO_DATA, failure.errno or errno.EIO

    def waiting(self) -> bool:
        """Whether another message has begun to arrive."""
        try:
            return bool(self.stream.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def _receive_header(self) -> tuple[bytes, list[int]]:
        # Exactly the header: descriptors belong to the message whose first bytes they came with.
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)
        try:
            head, ancillary, _, _ = self.stream.recvmsg(HEADER.size, space, socket.MSG_WAITALL)
        except OSError as failure:
            raise Disconnected(str(failure)) from failure
        descriptors: list[int] = []
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                count = len(data) // 4
                descriptors += struct.unpack(f"={count}i", data[: count * 4])
        return head, descriptors

    def _receive_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                part = self.stream.recv(size - len(data), socket.MSG_WAITALL)
            except OSError as failure:
                raise Disconnected(str(failure)) from failure
            if not part:
                raise Disconnected("end of stream")
            data = data + part if data else part
        return data

    def _send(self, identifier: int, command: int, reply: Reply, error: int) -> None:
        payload, descriptors = reply
        flags = TYPE_REPLY | (ERROR if error else 0)
        message = HEADER.pack(identifier, command, HEADER.size + len(payload), flags, error) + payload
        try:
            if descriptors:
                socket.send_fds(self.stream, [message], descriptors)
            else:
                self.stream.sendall(message)
        except OSError as failure:
            raise Disconnected(str(failure)) from failure

    def _version(self, payload: bytes, _: list[int]) -> Reply:
        major, minor = VERSION.unpack_from(payload)
        if major != 0:
            raise OSError(errno.EPROTONOSUPPORT, "vfio-user major version")
        capabilities = {
            "capabilities": {
                "max_msg_fds": MAX_DESCRIPTORS,
                "max_data_xfer_size": MAX_MESSAGE,
                "write_multiple": True,
            }
        }
        return VERSION.pack(major, min(minor, 1)) + json.dumps(capabilities).encode() + b"\0", []

    def _dma_map(self, payload: bytes, descriptors: list[int]) -> Reply:
        _, flags, offset, address, size = DMA_MAP.unpack_from(payload)
        if descriptors:  # without one it is a device's BAR: peers find those by their configuration space
            self.device.dma_map(address, size, descriptors[0], offset, bool(flags & 2))
        return NO_DATA

    def _dma_unmap(self, payload: bytes, _: list[int]) -> Reply:
        _, _, address, size = DMA_UNMAP.unpack_from(payload)
        self.device.dma_unmap(address, size)
        return payload[: DMA_UNMAP.size], []

    def _device_info(self, _payload: bytes, _: list[int]) -> Reply:
        return (
            DEVICE_INFO.pack(
                DEVICE_INFO.size, DEVICE_FLAGS, len(self.device.regions), len(self.device.interrupt_counts)
            ),
            [],
        )

    def _region_info(self, payload: bytes, _: list[int]) -> Reply:
        argsz, _, index, _, _, _ = REGION_INFO.unpack_from(payload)
        if index >= len(self.device.regions):
            raise OSError(errno.EINVAL, "no such region")
        region = self.device.regions[index]
        flags = (REGION_READ | REGION_WRITE) if region.size else 0
        capability = b""
        if region.descriptor >= 0:
            flags |= REGION_MMAP
            if region.areas != ((0, region.size),):
                flags |= REGION_CAPS
                capability = SPARSE_CAPABILITY.pack(CAP_SPARSE_MMAP, 1, 0, len(region.areas), 0)
                capability += b"".join(SPARSE_AREA.pack(*area) for area in region.areas)
        size = REGION_INFO.size + len(capability)
        info = REGION_INFO.pack(size, flags, index, REGION_INFO.size if capability else 0, region.size, 0)
        if argsz < size:  # the client asks again with room for the capability
            return info, []
        return info + capability, [region.descriptor] if region.descriptor >= 0 else []

    def _irq_info(self, payload: bytes, _: list[int]) -> Reply:
        _, _, index, _ = IRQ_INFO.unpack_from(payload)
        if index >= len(self.device.interrupt_counts):
            raise OSError(errno.EINVAL, "no such interrupt type")
        flags = IRQ_EVENTFD | IRQ_NORESIZE
        return IRQ_INFO.pack(IRQ_INFO.size, flags, index, self.device.interrupt_counts[index]), []

    def _set_irqs(self, payload: bytes, descriptors: list[int]) -> Reply:
        _, flags, index, start, _ = IRQ_SET.unpack_from(payload)
        if flags & IRQ_DATA_EVENTFD and descriptors:
            self.device.set_interrupts(index, start, [os.dup(d) for d in descriptors])
        else:
            self.device.set_interrupts(index, start, [])
        return NO_DATA

    def _region_read(self, payload: bytes, _: list[int]) -> Reply:
        offset, index, count = ACCESS.unpack_from(payload)
        if count > MAX_MESSAGE:
            raise OSError(errno.E2BIG, "read too long")
        return payload[: ACCESS.size] + self.device.region_read(index, offset, count), []

    def _region_write(self, payload: bytes, _: list[int]) -> Reply:
        offset, index, count = ACCESS.unpack_from(payload)
        self.device.region_write(index, offset, payload[ACCESS.size : ACCESS.size + count])
        return payload[: ACCESS.size], []

    def _region_write_multi(self, payload: bytes, _: list[int]) -> Reply:
        (count,) = struct.unpack_from("<Q", payload)
        at = 8
        for _index in range(count):
            offset, index, size = ACCESS.unpack_from(payload, at)
            at += ACCESS.size
            self.device.region_write(index, offset, payload[at : at + size])
            at += 8  # the data field of a coalesced write is always eight bytes
        return payload[:8], []

    def _reset(self, _payload: bytes, _: list[int]) -> Reply:
        self.device.device_reset()
        return NO_DATA

    def close(self) -> None:
        """Forget the client: its interrupts too, its memory is the device's to drop."""
        with contextlib.suppress(OSError):
            self.stream.close()
