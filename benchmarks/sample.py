# SPDX-License-Identifier: MIT
"""Measured values, and how two series that were measured in turn compare."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Spread:
    """Summary of a series of values."""

    median: float
    min: float
    max: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True)
class Measure:
    """One line of the report. ``rounds`` are series of values in ``unit``, each measured in one go.

    ``against`` is the same of what it is compared with, measured in turn with it.
    """

    name: str
    unit: str
    rounds: Sequence[Sequence[float]]
    against: Measure | None = None
    note: str = ""

    @property
    def spread(self) -> Spread:
        """The spread of all values."""
        return Spread.of([value for values in self.rounds for value in values])

    @property
    def ratio(self) -> Spread | None:
        """Median by median of the rounds: how many times ``against``. The machine's drift is in both."""
        if self.against is None:
            return None
        pairs = zip(self.rounds, self.against.rounds, strict=True)
        return Spread.of([statistics.median(ours) / statistics.median(theirs) for ours, theirs in pairs])

    def to_dict(self) -> dict[str, Any]:
        """For the file."""
        spread, ratio = self.spread, self.ratio
        data: dict[str, Any] = {"name": self.name, "unit": self.unit, **vars(spread)}
        if ratio is not None and self.against is not None:
            data["ratio"] = {"to": self.against.name, **vars(ratio)}
        if self.note:
            data["note"] = self.note
        return data


@dataclass(frozen=True)
class Group:
    """Lines of the report that belong together."""

    title: str
    measures: Sequence[Measure]
    remarks: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """For the file."""
        return {
            "title": self.title,
            "measures": [measure.to_dict() for measure in self.measures],
            "remarks": list(self.remarks),
        }
