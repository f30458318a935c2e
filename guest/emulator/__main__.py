# SPDX-License-Identifier: MIT
"""``python -m guest.emulator``: serve one or two GPUs until their clients have gone."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from guest.emulator import atomics
from guest.emulator.adversary import MODES, USUAL, Adversary
from guest.emulator.checks import NAMES, Checks
from guest.emulator.device import Gpu, Platform, connect_peers
from guest.emulator.kinds import MODELS
from guest.emulator.kinds import USUAL as USUAL_MODEL
from guest.emulator.loop import Loop
from guest.emulator.memory import Clock
from guest.emulator.orders import Orders
from guest.emulator.trace import KINDS, Trace

SMALLEST, LARGEST = 256 << 20, 8 << 30
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class ListChecks(argparse.Action):
    """Prints each check and what it means."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        for name, meaning in NAMES.items():
            print(f"{name:22} {meaning}")
        parser.exit()


def size(text: str) -> int:
    """A number of bytes: 268435456, 256M, 256MiB, 8G."""
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 256M or 8G")
    return int(match[1]) * UNITS[match[2]]


def memory_size(text: str) -> int:
    """VRAM that the model offers."""
    value = size(text)
    if not SMALLEST <= value <= LARGEST or value % (2 << 20):
        raise argparse.ArgumentTypeError(f"{text} is not a multiple of 2M between 256M and 8G")
    return value


def bar_size(text: str) -> int:
    """A BAR's size."""
    value = size(text)
    if value < 2 << 20 or value & value - 1:
        raise argparse.ArgumentTypeError(f"{text} is not a power of two from 2M")
    return value


def descriptor(text: str) -> int:
    """An open file descriptor: fd:3."""
    match = re.fullmatch(r"fd:(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a descriptor; write fd:3")
    return int(match[1])


def power_of_two(value: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << (value - 1).bit_length()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m guest.emulator", description="Emulated GPUs for QEMU's vfio-user-pci."
    )
    parser.add_argument(
        "--socket", type=Path, action="append", required=True, metavar="PATH",
        help="serve a GPU here; give it twice for two GPUs that reach each other",
    )  # fmt: skip
    parser.add_argument(
        "--platform", choices=tuple(MODELS), default=USUAL_MODEL,
        help="bmg: Battlemage, with VRAM; ptl: Panther Lake, integrated, without (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--vram", type=memory_size, help="memory of each discrete GPU (512M)")
    parser.add_argument("--media", action="store_true", help="with a media GT: two decoders, two enhancers")
    parser.add_argument("--bar", type=bar_size, help="size of the memory BAR (all of the memory)")
    parser.add_argument(
        "--reports", metavar="PATH",
        help="append the checkers' reports, one JSON line each; fd:N is an open descriptor (standard error)",
    )  # fmt: skip
    parser.add_argument(
        "--adversary", choices=tuple(MODES), default=USUAL,
        help="amount of delay of TLB invalidations and changes of contexts (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--occupied", action="store_true",
        help="a page fault stops all engines of its group until it is answered, or its context is disabled",
    )  # fmt: skip
    parser.add_argument("--orders", type=descriptor, metavar="fd:N", help="open socket for orders from tests")
    parser.add_argument(
        "--trace",
        default="",
        metavar="KINDS",
        help=f"debug trace of these kinds, separated by commas: {', '.join(KINDS)}, all",
    )
    parser.add_argument(
        "--trace-file", type=Path, metavar="PATH", help="file for the trace (default: standard error)"
    )
    parser.add_argument("--list-checks", action=ListChecks, nargs=0, help="list the checks, and exit")
    options = parser.parse_args(arguments)
    if MODELS[options.platform].discrete:
        options.vram = options.vram or 512 << 20
    elif options.vram or options.bar:
        parser.error(f"--{'vram' if options.vram else 'bar'}: {options.platform} has no VRAM")
    else:
        options.vram = 0
    options.bar = options.bar or (power_of_two(options.vram) if options.vram else 0)
    return options


def model_of(arguments: Sequence[str]) -> str:
    """The GPU that further options of the emulator choose."""
    return str(parse(["--socket", "unused", *arguments]).platform)


def open_reports(target: str | None, stack: contextlib.ExitStack) -> TextIO:
    """The stream for reports."""
    if target is None:
        return sys.stderr
    if target.startswith("fd:"):
        return stack.enter_context(os.fdopen(int(target[3:]), "a"))
    return stack.enter_context(Path(target).open("a", encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the clients have gone."""
    options = parse(arguments)
    try:
        atomics.check()
    except OSError as missing:
        print(f"guest.emulator: {missing}", file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        trace_sink: TextIO = sys.stderr
        if options.trace_file is not None:
            trace_sink = stack.enter_context(options.trace_file.open("w", encoding="utf-8"))
        try:
            trace = Trace(filter(None, options.trace.split(",")), trace_sink)
        except ValueError as wrong:
            print(f"guest.emulator: {wrong}", file=sys.stderr)
            return 2
        checks = Checks(open_reports(options.reports, stack))
        adversary = Adversary(MODES[options.adversary], trace)
        orders = Orders(options.orders, adversary, checks) if options.orders is not None else None
        platform = Platform(checks, trace, Clock(), {}, adversary, options.occupied)
        model = MODELS[options.platform]
        gpus = [
            Gpu(f"gpu{n}", options.vram, options.bar, platform, media=options.media, model=model)
            for n in range(len(options.socket))
        ]
        connect_peers(gpus)
        Loop(gpus, options.socket, orders).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
