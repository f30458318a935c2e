# SPDX-License-Identifier: MIT
"""svmcts mock: run any program with mock GPUs in /dev/dri as it sees it."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys

from mock.attach import Unavailable, attach

DESCRIPTION = """\
Run COMMAND, and all that it starts, with mock GPUs: it opens /dev/dri/renderD128, reads
/sys/kernel/debug/dri/128/gt0/stats, and uses the xe uAPI as on a machine with such GPUs.
What exists by name only, as stat(2) on a node or its directory in /sys, is that of this machine."""


def main(arguments: list[str]) -> int:
    """Run the command; its exit status, or 128 and the number of the signal that ended it."""
    parser = argparse.ArgumentParser(
        prog="svmcts mock",
        usage="svmcts mock [--platform NAME] [--level KERNEL] [--verbose] -- COMMAND...",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--platform", default="bmg", metavar="NAME", help="lnl, bmg, bmg2, bmg2-far, pvc (bmg)"
    )
    parser.add_argument("--level", default="7.3", metavar="KERNEL", help="kernel whose uAPI it shows (7.3)")
    parser.add_argument("--verbose", action="store_true", help="say what the driver refused, and why")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND...")
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("no command: svmcts mock -- COMMAND...")
    try:
        attachment = attach(options.platform, options.level, verbose=options.verbose)
    except Unavailable as why:
        print(f"svmcts mock: {why}", file=sys.stderr)
        return 1
    for line in attachment.ladder:
        print(f"svmcts mock: reduced: {line}", file=sys.stderr)
    try:
        # Ctrl-C is for the program; this process only waits for it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = subprocess.run(
            command, check=False, restore_signals=True, preexec_fn=_default_interrupt
        ).returncode
    except OSError as error:
        print(f"svmcts mock: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    if said := attachment.errors():
        print(said, end="", file=sys.stderr)
    return 128 - status if status < 0 else status


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
