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

# Imported while the driver probes, so that the worker has it when the channel opens. Not what brings plugins: pytest
# rewrites these as they are imported.
WARM = "import ctypes, pytest, execnet, yaml"
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
    return [*arguments[:index], f"{WARM};{arguments[index]}", *arguments[index + 1 :]]
