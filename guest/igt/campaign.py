# SPDX-License-Identifier: MIT
"""Runs subtests in guests until each has a result. If a guest is lost, the running subtest fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guest import GuestError, cache
from guest.igt import results
from guest.igt.results import Result, Subtest, forget_line
from guest.igt.selection import Setting, setting

PLAN = "plan.json"
COMMAND = ("-m", "guest.igt.inside")
NO_START = 3
"""Maximum number of consecutive guests that are lost before a subtest starts."""

Boot = Callable[[Setting, Sequence[str]], str | None]
"""Runs Python with arguments in a guest. Returns why the guest was lost, or None."""


@dataclass(frozen=True)
class Campaign:
    """Subtests to run, by program, and the directory of their results; ``timeout_s`` limits one subtest."""

    tree: Path
    directory: Path
    timeout_s: float
    plan: Mapping[str, Sequence[str]]

    @property
    def stream(self) -> Path:
        return self.directory / results.STREAM

    def remaining(self) -> dict[str, list[str]]:
        """Subtests without a result, by program."""
        done = results.read(self.stream)
        left = {
            program: [name for name in names if (program, name) not in done]
            for program, names in self.plan.items()
        }
        return {program: names for program, names in left.items() if names}

    def forget(self, subtests: Iterable[Subtest]) -> None:
        """Discard the results of subtests, so that they are run again."""
        with self.stream.open("a", encoding="utf-8") as stream:
            stream.writelines(forget_line(*key) for key in subtests)

    def run(self, boot: Boot) -> None:
        """Raises GuestError if guests are lost repeatedly before a subtest runs."""
        self.directory.mkdir(parents=True, exist_ok=True)
        without_progress = 0
        while left := self.remaining():
            machine, programs = next(_by_setting(left))
            count = sum(map(len, programs.values()))
            cache.say(f"{count} subtests of {', '.join(programs)}")
            order = {"tree": str(self.tree), "stream": str(self.stream), "timeout_s": self.timeout_s}
            plan = self.directory / PLAN
            plan.write_text(json.dumps({**order, "programs": programs}))
            lost = boot(machine, [*COMMAND, str(plan)])
            blamed = results.unfinished(self.stream)
            if blamed is not None:
                with self.stream.open("a", encoding="utf-8") as stream:
                    result = Result(*blamed, "lost", message=lost or "the runner ended")
                    stream.write("\n" + result.line())
            progressed = sum(map(len, self.remaining().values())) < sum(map(len, left.values()))
            without_progress = 0 if progressed else without_progress + 1
            if without_progress == NO_START:
                raise GuestError(f"nothing runs in the guest: {lost or 'the runner ended at once'}")


def _by_setting(left: Mapping[str, list[str]]) -> Iterator[tuple[Setting, dict[str, list[str]]]]:
    """Batches for one guest: the remaining programs that need the same machine as the first of them."""
    machines: dict[Setting, dict[str, list[str]]] = {}
    for program, names in left.items():
        machines.setdefault(setting(program), {})[program] = names
    yield from machines.items()
