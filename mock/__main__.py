# SPDX-License-Identifier: MIT
"""The mock process, started by mock.attach: python -m mock --channel FD --platform NAME ...

It puts itself in the background (nobody's child, so that the client's wait(2) never sees it), leaves a
keeper, and serves. Little is imported before the keeper is forked off: it stays small.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys

from mock.keeper import die_with_parent, keep
from mock.unanswered import Unanswered


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mock", description="The mock process; started by mock.attach."
    )
    parser.add_argument("--channel", type=int, required=True, metavar="FD", help="connection to the client")
    parser.add_argument("--platform", required=True)
    parser.add_argument("--level", required=True, help="kernel whose documented behaviour is shown")
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
    die_with_parent(keeper)
    return _serve(arguments, theirs, unanswered)


def _serve(arguments: argparse.Namespace, keeper: socket.socket, unanswered: Unanswered) -> int:
    from mock.handover import Channel, HandoverError
    from mock.server import Server

    channel = Channel(socket.socket(fileno=arguments.channel))
    try:
        server = Server(verbose=arguments.verbose)
        server.load(arguments.driver, arguments.platform, arguments.level, arguments.defect)
        server.serve(channel, unanswered, lambda listener: _entrust(keeper, listener))
        with contextlib.suppress(OSError):
            os.kill(os.getppid(), signal.SIGCONT)  # nothing else would let a stopped keeper end
    except (HandoverError, ValueError) as error:
        with contextlib.suppress(HandoverError):
            channel.send({"error": str(error)})
        return 1
    return 0


def _entrust(keeper: socket.socket, listener: int) -> None:
    socket.send_fds(keeper, [b"\0"], [listener])
    keeper.close()


if __name__ == "__main__":
    sys.exit(main())
