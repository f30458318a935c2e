# SPDX-License-Identifier: MIT
"""svmcts mock: run any program with mock GPUs.

The program and all that it starts see the platform's devices in /dev/dri and in sysfs, and no others. Their
memory can migrate as soon as they have opened one.
"""

from __future__ import annotations

import argparse
import os
import sys

from common.kernels import DEFAULT_KERNEL
from mock.attach import Unavailable, attach
from mock.filter import PROGRAMS

_LIMITS = """\
differences from a GPU:
  the memory of a program that is being traced (gdb, strace) does not migrate; 32-bit and statically filtered programs
  see no devices; sysfs has only the files that name the device; a signal that arrives just as an ioctl begins may end
  it with EINTR.

exit status: that of the program; 2 the mock is not available, 126 the program cannot be run, 127 it does not exist
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="svmcts mock",
        description="Run a program that sees mock GPUs in /dev/dri.",
        epilog=_LIMITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="svmcts mock [--platform NAME] [--level VERSION] [--defect NAME] [--verbose] -- COMMAND...",
    )
    parser.add_argument(
        "--platform",
        default="bmg",
        metavar="NAME",
        help="platform to play; docs/mock.md lists them (default: %(default)s)",
    )
    parser.add_argument(
        "--level",
        default=DEFAULT_KERNEL,
        metavar="VERSION",
        help="kernel whose uAPI the mock plays (default: %(default)s)",
    )
    parser.add_argument(
        "--defect", metavar="NAME", help="break the mock in this way, to see whether a test notices"
    )
    parser.add_argument("--verbose", action="store_true", help="let the mock log to standard error")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str]) -> int:
    """Becomes the program, so its exit status is the program's; 2 if the mock is not available, 126 or 127 as a shell
    without the program.
    """
    options = _parser().parse_args(arguments)
    command: list[str] = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        print("svmcts mock: no command: svmcts mock -- COMMAND...", file=sys.stderr)
        return 2
    try:
        attachment = attach(
            options.platform,
            options.level,
            options.defect,
            rules=PROGRAMS,
            verbose=options.verbose,
            errors=2,
        )
    except Unavailable as error:
        print(f"svmcts mock: {error}", file=sys.stderr)
        return 2
    for line in attachment.ladder:
        print(f"svmcts mock: reduced: {line}", file=sys.stderr)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"svmcts mock: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
