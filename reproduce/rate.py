# SPDX-License-Identifier: MIT
"""How often a program shows the fault where the test failed."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from ioctl.compiler import Compiler
from reproduce.trial import HANGS, LOST, Place, Runner, compiled

RUNS = 20
FAULT = 1
SAID = {0: "ended without it", 2: "did not get that far", 77: "could not tell", HANGS: "hung"}


def rate(text: str, place: Place, compiler: Compiler, runs: int = RUNS) -> str:
    """A sentence about that many runs of a self-contained program; raises NoAnswerError if there can be none."""
    with tempfile.TemporaryDirectory(prefix="svmcts-rate-") as folder, Runner(place) as runner:
        program = compiled(compiler, text, Path(folder))
        ended: Counter[int] = Counter()
        for done in range(1, runs + 1):
            status, said = runner.status(program)
            ended[status] += 1
            if status == LOST:
                return f"Run {done} of the program ended the guest: {said}"
    others = ", ".join(
        f"{count} {SAID.get(status, f'ended with {status}')}"
        for status, count in sorted(ended.items())
        if status != FAULT
    )
    return f"{ended[FAULT]} of {runs} runs of the program {place.name} show it" + (
        f" ({others})." if others else "."
    )
