# SPDX-License-Identifier: MIT
"""``svmcts guest``: run any program in a guest, or list the available kernels.

The guest sees the host's files at the same paths, read-only, with a writable layer that is discarded at the end;
what is written to the scratch directory (``$SVMCTS_SCRATCH`` inside) stays on the host.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

from common import as_json
from common.kernels import Version
from common.near import near
from guest import GuestError, cache, interpreter, kernels, run
from guest.options import add_options, machine

OWN = ("kernels", "python")
"""Words that are not a command to run in a guest."""


def run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="svmcts guest",
        description=__doc__,
        epilog="exit status: that of the program; 2 the guest cannot start, 125 it was lost",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("--scratch", type=Path, metavar="DIRECTORY", help="writable in the guest, and kept")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="end the guest after this time")
    parser.add_argument(
        "command", nargs="+", metavar="-- COMMAND", help="or: kernels (list the available ones)"
    )
    return parser


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if arguments[:1] == ["kernels"]:
            return list_kernels(arguments[1:])
        if arguments[:1] == ["python"]:
            return interpreter.main(arguments[1:])
        if len(arguments) == 1 and not shutil.which(arguments[0]) and (meant := near(arguments[0], OWN)):
            raise GuestError(f"no command {arguments[0]!r}{meant}")
        return run_command(run_parser().parse_args(arguments))
    except GuestError as error:
        print(f"svmcts: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run_command(options: argparse.Namespace) -> int:
    prepared = run.prepare(options.kernel, options.module)
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    if options.scratch:
        options.scratch.mkdir(parents=True, exist_ok=True)
    with raw_terminal() if interactive else contextlib.nullcontext():
        outcome, files = run.run(
            prepared,
            machine(options),
            command=options.command,
            name="command",
            scratch=options.scratch.absolute() if options.scratch else None,
            timeout_s=options.timeout,
            terminal=shutil.get_terminal_size()[::-1] if interactive else None,
        )
    run.report_loss(outcome, files)
    return outcome.code


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Every key goes to the guest's terminal, which has its own line discipline."""
    saved = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)


def list_kernels(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="svmcts guest kernels", description="Available kernels, newest first."
    )
    parser.add_argument(
        "--fetch", action="append", default=[], metavar="KERNEL", help="put a kernel into the cache"
    )
    parser.add_argument("--record", action="append", default=[], metavar="VERSION", help=argparse.SUPPRESS)
    as_json.add_option(parser)
    options = parser.parse_args(arguments)
    for kernel in options.fetch:
        kernels.provide(kernel)
    kernels.record(options.record)
    here = kernels.cached()
    known = {name: sum(package.size for package in found) for name, found in kernels.obtainable().items()}
    versions = sorted({*known, *here}, key=Version.parse, reverse=True)
    if options.json:
        found = [{"version": v, "cached": v in here, "bytes": known.get(v)} for v in versions]
        return as_json.print_answer("guest kernels", 0, {"cache": cache.cache_root(), "kernels": found})
    for version in versions:
        size = known.get(version, 0) / 1e6
        print(f"{version:10} {'cached' if version in here else f'{size:.0f} MB to fetch'}")
    print(f"cache: {cache.cache_root()}", file=sys.stderr)
    return 0
