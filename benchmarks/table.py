# SPDX-License-Identifier: MIT
"""The measures as text."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.sample import Group, Measure

_NAME = 52


def lines(group: Group) -> Iterator[str]:
    """The group's title, and a line for each measure."""
    yield ""
    yield group.title
    units = {measure.unit for measure in group.measures}
    unit = f"[{units.pop()}]" if len(units) == 1 else ""
    yield f"  {unit:{_NAME}}{'median':>10}{'min':>10}{'max':>10}   ratio (min to max)"
    for measure in group.measures:
        yield _line(measure, with_unit=not unit)
    yield from (f"  {remark}" for remark in group.remarks)


def _line(measure: Measure, *, with_unit: bool) -> str:
    spread, ratio = measure.spread, measure.ratio
    name = f"{measure.name} [{measure.unit}]" if with_unit else measure.name
    figures = "".join(f"{_number(value):>10}" for value in (spread.median, spread.min, spread.max))
    text = f"  {name:{_NAME}}{figures}"
    if ratio is not None:
        text += f"   x {_number(ratio.median)} ({_number(ratio.min)} to {_number(ratio.max)})"
    return text


def _number(value: float) -> str:
    """Three digits that matter."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
