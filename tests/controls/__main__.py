# SPDX-License-Identifier: MIT
"""Negative controls by hand: ``python -m tests.controls [--record] [DEFECT ...]``."""

from __future__ import annotations

import argparse
import sys
import time

from mock.defects import defects
from tests.controls.control import Verdict, check, record
from tests.controls.inventory import load


def main() -> int:
    """Run or record controls. Returns 1 if something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.controls",
        description="Run the suite against mocks that are broken on purpose: the tests in claims/ have to notice.",
    )
    parser.add_argument("defects", nargs="*", metavar="DEFECT", help="of mock/defects (default: all)")
    parser.add_argument("--record", action="store_true", help="rewrite claims/, to be reviewed as a diff")
    arguments = parser.parse_args()
    if unknown := set(arguments.defects) - set(defects()):
        parser.error(f"no defect {', '.join(sorted(unknown))}; there are: {', '.join(defects())}")
    tests, failed = load(), False
    for defect in arguments.defects or defects():
        start = time.monotonic()
        verdict = Verdict(record(defect, tests)) if arguments.record else check(defect, tests)
        failed |= bool(verdict.problems)
        state = "FAIL" if verdict.problems else f"not run: {verdict.not_run}" if verdict.not_run else "ok"
        print(f"{defect}: {state} ({time.monotonic() - start:.1f} s)", flush=True)
        for problem in verdict.problems:
            print(f"  {problem}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
