# SPDX-License-Identifier: MIT
"""The one loop of the process: sockets, and between their messages the GPUs' work."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from guest.emulator.device import Gpu
from guest.emulator.orders import Orders
from guest.emulator.vfio_user import Connection, Disconnected

MESSAGES_AT_ONCE = 64
"""Most messages of one client before the GPUs work again."""


@dataclass
class _Seat:
    """One GPU and its client, if there is one."""

    gpu: Gpu
    listener: socket.socket
    connection: Connection | None = None
    served: bool = field(default=False)


class Loop:
    """Serves each GPU on its socket, until a client has come and none is left."""

    def __init__(self, gpus: Sequence[Gpu], paths: Sequence[Path], orders: Orders | None = None) -> None:
        self._poll = select.epoll()
        self._orders = orders
        if orders is not None:
            self._poll.register(orders, select.EPOLLIN)
        self._seats: dict[int, _Seat] = {}
        self._all: list[_Seat] = []
        self._paths = paths
        for gpu, path in zip(gpus, paths, strict=True):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(path))
            listener.listen(1)
            seat = _Seat(gpu, listener)
            self._all.append(seat)
            self._watch(listener, seat)

    def run(self) -> None:
        """Return when the last client has gone."""
        timeout = -1.0
        try:
            while not self._over():
                for descriptor, _ in self._poll.poll(timeout):
                    self._serve(descriptor)
                wanted = [time for seat in self._all if (time := seat.gpu.turn()) is not None]
                timeout = min(wanted, default=-1.0)
        finally:
            self._close()

    def _over(self) -> bool:
        return any(seat.served for seat in self._all) and not any(seat.connection for seat in self._all)

    def _close(self) -> None:
        for seat in self._all:
            seat.listener.close()
            if seat.connection is not None:
                seat.connection.close()
        self._poll.close()
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _watch(self, stream: socket.socket, seat: _Seat) -> None:
        self._seats[stream.fileno()] = seat
        self._poll.register(stream, select.EPOLLIN)

    def _serve(self, descriptor: int) -> None:
        if self._orders is not None and descriptor == self._orders.fileno():
            if not self._orders.serve():
                self._poll.unregister(self._orders)
            return
        seat = self._seats[descriptor]
        if seat.connection is None:
            stream, _ = seat.listener.accept()
            self._forget(seat.listener)
            seat.listener.close()
            seat.connection = Connection(stream, seat.gpu)
            seat.served = True
            self._watch(stream, seat)
            return
        try:
            for _ in range(MESSAGES_AT_ONCE):
                seat.connection.serve()
                if not seat.connection.waiting():
                    break
        except Disconnected:
            self._forget(seat.connection.stream)
            seat.connection.close()
            seat.connection = None
            seat.gpu.disconnected()

    def _forget(self, stream: socket.socket) -> None:
        del self._seats[stream.fileno()]
        self._poll.unregister(stream)
