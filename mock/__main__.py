# SPDX-License-Identifier: MIT
"""The mock process, started by mock.attach: python -m mock --channel FD --platform NAME ...

It puts itself in the background (reparented, so that the client's wait(2) never sees it), leaves a keeper, and serves.
Little is imported before the keeper is forked, so that it stays small.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys

from mock.keeper import keep
from mock.unanswered import Unanswered

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mock", description="The mock process; started by mock.attach."
    )
    parser.add_argument("--channel", type=int, required=True, metavar="FD", help="connection to the client")
    parser.add_argument("--platform", required=True)
    parser.add_argument("--level", required=True, help="kernel whose uAPI the mock plays")
    parser.add_argument("--defect", help="break the mock in this way")
    parser.add_argument("--driver", required=True, metavar="MODULE:CLASS")
    parser.add_argument("--verbose", action="store_true", help="log to standard error")
    return parser.parse_args()


def main() -> int:
    """Fork twice: this process ends at once, its child is the keeper, the keeper's is the mock."""
    arguments = _arguments()
    if os.fork():
        return 0
    os.setsid()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper = os.getpid()
    unanswered = Unanswered()
    mock = os.fork()
    if mock:
        theirs.close()
        return keep(mock, ours, arguments.channel, unanswered)
    ours.close()
    return _serve(arguments, theirs, keeper, unanswered)


def _serve(
    arguments: argparse.Namespace, to_keeper: socket.socket, keeper: int, unanswered: Unanswered
) -> int:
    from mock.handover import Channel, HandoverError
    from mock.server import Server

    _keep_freed_memory()
    channel = Channel(socket.socket(fileno=arguments.channel))
    try:
        server = Server(verbose=arguments.verbose)
        server.load(arguments.driver, arguments.platform, arguments.level, arguments.defect)
        server.serve(channel, unanswered, lambda listener: _entrust(to_keeper, listener))
        if os.getppid() == keeper:
            os.kill(keeper, signal.SIGCONT)  # a stopped keeper would not end otherwise
    except (HandoverError, ValueError) as error:
        with contextlib.suppress(HandoverError):
            channel.send({"error": str(error)})
        return 1
    return 0


def _keep_freed_memory() -> None:
    """Use freed buffers of pages again instead of returning them to the kernel, up to 64 MiB: that makes half of all
    page faults of a run. Without effect with C libraries that lack mallopt(3).
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)


def _entrust(to_keeper: socket.socket, listener: int) -> None:
    with contextlib.suppress(OSError):  # it was killed
        socket.send_fds(to_keeper, [b"\0"], [listener])
    to_keeper.close()


if __name__ == "__main__":
    sys.exit(main())
