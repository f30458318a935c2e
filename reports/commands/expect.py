# SPDX-License-Identifier: MIT
"""``svmcts expect RUN``: capabilities of the environments of a run, as a file for ``pytest --expect``."""

from __future__ import annotations

import argparse

from reports.commands.inputs import RUN, run_at
from reports.expect import recorded

DESCRIPTION = """\
Prints the capabilities of the environments of a run, as a file to review and to pass to later runs on the machine with
pytest --expect=FILE. A capability that is in the file and missing in a run is then an error; without the file, its
tests are skipped. Record a run that svmcts gate accepts.
"""
STATUS = "exit status: 0 printed, 2 no answer"


def main(arguments: list[str]) -> int:
    """Exit status: 0 printed, 2 no answer."""
    parser = argparse.ArgumentParser("svmcts expect", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("run", metavar="RUN", help=RUN)
    options = parser.parse_args(arguments)
    print(recorded(run_at(options.run)), end="")
    return 0
