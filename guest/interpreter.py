# SPDX-License-Identifier: MIT
"""The "interpreter" that execnet starts as a pytest-xdist environment: boots a guest and is Python inside it.

``guest/python [MACHINE OPTIONS] -u -c CODE``: standard input and output are execnet's channel, joined to the
interpreter in the guest; the guest ends with it.
"""

import argparse
import sys
from collections.abc import Sequence

from guest import run
from guest.options import add_options, machine

# Run while the driver probes: imports pytest, the installed plugins and the suite's own, in the way that pytest does it
# (their assertions rewritten), so that the worker finds them loaded when the channel opens. A single --version would
# import nothing.
WARM = """
import os
channel = os.dup(1)
null = os.open(os.devnull, os.O_WRONLY)
os.dup2(null, 1)
try:
    import pytest
    pytest.main(["--version", "--version"])
finally:
    os.dup2(channel, 1)
    os.close(channel)
    os.close(null)
"""
CODE = "-c"


def parser() -> argparse.ArgumentParser:
    described = argparse.ArgumentParser(prog="guest/python", description=__doc__)
    add_options(described)
    described.add_argument(
        "--name", help="directory of the logs below reports/out/guest (default: the kernel)"
    )
    return described


def main(arguments: list[str]) -> int:
    options, rest = parser().parse_known_args(arguments)
    prepared = run.prepare(options.kernel, options.module)
    outcome, files = run.run(
        prepared,
        machine(options),
        [sys.executable, *warmed(rest)],
        name=options.name or prepared.kernel.release,
        early=True,
    )
    run.report_loss(outcome, files)
    return outcome.code


def warmed(arguments: Sequence[str]) -> list[str]:
    """Interpreter arguments whose program first imports what every worker imports."""
    if CODE not in arguments:
        return list(arguments)
    index = arguments.index(CODE) + 1
    return [*arguments[:index], f"{WARM}\n{arguments[index]}", *arguments[index + 1 :]]
