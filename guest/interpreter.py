# SPDX-License-Identifier: MIT
"""The "interpreter" that execnet starts as a pytest-xdist environment: boots a guest and is Python inside it.

``guest/python [MACHINE OPTIONS] -u -c CODE``: standard input and output are execnet's channel, joined to the
interpreter in the guest; the guest ends with it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from guest import cache, run
from guest.options import add_options, machine
from guest.processes import die_with_parent
from guest.vm import Interpreter


def parser() -> argparse.ArgumentParser:
    described = argparse.ArgumentParser(prog="guest/python", description=__doc__)
    add_options(described)
    described.add_argument(
        "--name", help="directory of the logs below reports/out/guest (default: the kernel)"
    )
    return described


def main(arguments: list[str]) -> int:
    # Nothing reads standard input, or notices its end, until the guest has booted.
    die_with_parent(signal.SIGTERM)
    options, rest = parser().parse_known_args(arguments)
    prepared = run.prepare(options.kernel, options.module)
    outcome, files = run.run(
        prepared,
        machine(options),
        command=[sys.executable, *rest],
        interpreter=program(rest),
        name=options.name or prepared.kernel.release,
    )
    if outcome.lost:  # our parent prints the end of it, too (run.evidence)
        cache.say(f"{outcome.lost}; its console is {files.console}")
    return outcome.code


def program(arguments: Sequence[str]) -> Interpreter | None:
    """The code of ``-u -c CODE``, which a waiting interpreter can run; None for any other command line."""
    *flags, option, code = arguments if len(arguments) >= 2 else ("", "")
    if option != "-c" or not set(flags) <= {"-u", "-B"}:
        return None
    return Interpreter(flags, code)
