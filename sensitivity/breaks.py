# SPDX-License-Identifier: MIT
"""Tests to run first for a fault: those of the behaviours that it breaks, in the order of ``--affected``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from common.answers import NoAnswerError
from reports.affected import BY_FILE, BY_SYMBOL, ranks
from reports.ledger import Ledger
from sensitivity.catalogue import Fault
from sensitivity.generate import FILES, functions
from sensitivity.source import body

LISTED = BY_SYMBOL - 1
"""Rank of a behaviour that the catalogue lists for the fault: before all others."""
_NAME = re.compile(r"[A-Za-z_]\w*")


class Breaks:
    """Behaviours that faults break, by the ledger's sources."""

    def __init__(self, ledger: Ledger, text: Callable[[str], str]) -> None:
        """``text`` reads a file of the kernel's source."""
        self._ledger = ledger
        self._callers = _callers(text)

    def ranks(self, fault: Fault) -> dict[str, int]:
        """Behaviour to rank: of what the fault breaks, then of its files.

        A function that no behaviour names, such as a helper, counts for the nearest callers that one names.
        """
        found = dict.fromkeys(fault.breaks, LISTED)
        for edit in fault.edits:
            by_file = ranks({edit.file: {edit.function}}, self._ledger)
            if not fault.breaks and BY_SYMBOL not in by_file.values():
                found |= self._of_callers(edit.function)
            found = {**by_file, **found} if fault.breaks else {**found, **_nearer(by_file, found)}
        return found

    def _of_callers(self, function: str) -> dict[str, int]:
        seen, level = {function}, {function}
        while level := {pair for one in level for pair in self._callers.get(_name(one), ())} - seen:
            seen |= level
            near: dict[str, int] = {}
            for pair in level:
                file, _, name = pair.rpartition(":")
                near |= {
                    id: BY_SYMBOL
                    for id, rank in ranks({file: {name}}, self._ledger).items()
                    if rank == BY_SYMBOL
                }
            if near:
                return near
        return {}


def files_of(ranks: Mapping[str, int], tests: Mapping[str, Sequence[str]], first: int) -> list[str]:
    """Files of the ``first`` tests of ranked behaviours and of ranked tests; ``tests`` is reports.marks.proofs."""
    near = sorted(ranks, key=ranks.__getitem__)
    ordered = dict.fromkeys(test for name in near for test in tests.get(name, [name] if "::" in name else []))
    return sorted({test.partition(":")[0] for test in list(ordered)[:first]})


def _name(pair: str) -> str:
    return pair.rpartition(":")[2]


def _nearer(ranked: Mapping[str, int], found: Mapping[str, int]) -> dict[str, int]:
    return {name: min(rank, found.get(name, BY_FILE)) for name, rank in ranked.items()}


def _callers(text: Callable[[str], str]) -> dict[str, list[str]]:
    """Function to those of the files of SVM that name it, each as ``file:function``."""
    found: dict[str, list[str]] = {}
    for file in FILES:
        source = text(file)
        for function in functions(source):
            try:
                start, end = body(source, function)
            except NoAnswerError:
                continue
            for name in {*_NAME.findall(source[start:end])} - {function}:
                found.setdefault(name, []).append(f"{file}:{function}")
    return found
