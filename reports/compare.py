# SPDX-License-Identifier: MIT
"""Compares two runs: tests that fail now, are fixed, are no longer run, fail differently, or are flaky."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from reports.event import Outcome, Result, worst
from reports.pairing import pair_environments, pair_tests
from reports.stream import Judged, Run

JUDGED = frozenset({Outcome.PASS, Outcome.FAIL, Outcome.ERROR, Outcome.XPASS, Outcome.KNOWN})
"""Outcomes of a test that acted, or tried to."""


class Kind(Enum):
    """Kind of change of a test; the value is the heading. Worse ones come first."""

    FAILING = "newly failing"
    UNTESTED = "newly untested"
    FLAKY = "flaky"
    REASON = "changed reason"
    FIXED = "fixed"

    @property
    def worse(self) -> bool:
        """Whether a change for the worse, which needs a look."""
        return self in (Kind.FAILING, Kind.UNTESTED)


@dataclass(frozen=True, slots=True)
class Change:
    """One test in one environment."""

    kind: Kind
    base: Result | None
    """None for a test that the base does not have."""
    new: Result | None
    """None for a test that is gone."""
    history: tuple[Outcome, ...] = ()
    """For a flaky one: its outcomes, oldest first."""

    @property
    def result(self) -> Result:
        """The new result, or the base's if it is gone."""
        result = self.new or self.base
        assert result is not None
        return result

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for a function that changed alike with several parameters or in several environments."""
        sides = tuple((r.outcome, r.signature) if r else None for r in (self.base, self.new))
        return (self.kind, self.result.function, sides, self.rate)

    @property
    def arrow(self) -> str:
        """``PASS -> FAIL``."""
        before, after = (result.outcome.value if result else "no test" for result in (self.base, self.new))
        return f"{before} -> {after}"

    @property
    def rate(self) -> str:
        """``failed 2 of 5`` for a flaky one."""
        return f"failed {sum(o.bad for o in self.history)} of {len(self.history)}" if self.history else ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Changes from ``base`` to ``new``."""

    changes: tuple[Change, ...]
    unchanged: Counter[Outcome]
    environments: Mapping[str, str]
    """Names in the base to names in the new run."""
    missing: tuple[str, ...]
    """Environments of the base that the new run has not."""
    added: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    """Tests with another name now."""

    def of(self, kind: Kind) -> list[Change]:
        """The changes of a kind."""
        return [change for change in self.changes if change.kind is kind]

    def groups(self, kind: Kind) -> list[list[Change]]:
        """The changes of a kind; equal changes in several environments or with several parameters are one entry."""
        groups: dict[tuple[object, ...], list[Change]] = {}
        for change in self.of(kind):
            groups.setdefault(change.key, []).append(change)
        return list(groups.values())

    @property
    def worse(self) -> bool:
        """Whether anything got worse."""
        return bool(self.missing) or any(change.kind.worse for change in self.changes)


def compare(base: Judged, new: Judged, history: Iterable[Run] = ()) -> Comparison:
    """Compare two runs. ``history`` are further runs, oldest first, in which to look for flaky tests."""
    environments = pair_environments(base.environments, new.environments)
    before, after = _by_environment(base.results), _by_environment(new.results)
    earlier = [_by_environment(run.results) for run in history]
    changes: list[Change] = []
    unchanged: Counter[Outcome] = Counter()
    renamed: dict[str, str] = {}
    for name, other in environments.items():
        ours, theirs = before.get(name, {}), after.get(other, {})
        pairs = pair_tests(_all(ours), _all(theirs))
        renamed |= {old: now for old, now in pairs.items() if old != now}
        old_of = {now: old for old, now in pairs.items()}
        for test, results in theirs.items():
            old = ours.get(old_of.get(test, ""), [])
            past = [run.get(other, run.get(name, {})).get(test, []) for run in earlier]
            change = _change(old, results, past)
            if change is not None:
                changes.append(change)
            else:
                unchanged[worst(r.outcome for r in results)] += 1
        changes += _gone(ours, pairs, theirs)
    order = {kind: number for number, kind in enumerate(Kind)}
    return Comparison(
        changes=tuple(sorted(changes, key=lambda change: order[change.kind])),
        unchanged=unchanged,
        environments=environments,
        missing=tuple(name for name in base.environments if name not in environments),
        added=tuple(name for name in new.environments if name not in environments.values()),
        renamed=tuple(renamed.items()),
    )


_Tests = dict[str, list[Result]]


def _by_environment(results: Iterable[Result]) -> dict[str, _Tests]:
    found: dict[str, _Tests] = {}
    for result in results:
        found.setdefault(result.env, {}).setdefault(result.test, []).append(result)
    return found


def _all(tests: _Tests) -> list[Result]:
    return [result for results in tests.values() for result in results]


def _worst(results: Sequence[Result]) -> Result | None:
    return min(results, key=lambda result: result.outcome.rank, default=None)


def _change(old: list[Result], results: list[Result], past: list[list[Result]]) -> Change | None:
    base, new = _worst(old), _worst(results)
    assert new is not None
    outcomes = tuple(r.outcome for run in (*past, old, results) for r in run if r.outcome in JUDGED)
    if is_flaky(outcomes, results):
        return Change(Kind.FLAKY, base, new, outcomes)
    kind = _kind(base, new)
    return Change(kind, base, new) if kind else None


def is_flaky(outcomes: Sequence[Outcome], results: Sequence[Result] = ()) -> bool:
    """Whether a test alternates between pass and fail: it changed at least twice, or within one run."""
    now = {result.outcome.bad for result in results if result.outcome in JUDGED}
    turns = sum(a.bad != b.bad for a, b in itertools.pairwise(outcomes))
    return len(now) > 1 or turns > 1


def _kind(base: Result | None, new: Result) -> Kind | None:
    if base is not None and base.outcome is Outcome.KNOWN and new.outcome is Outcome.XPASS:
        return Kind.FIXED
    if new.outcome.bad:
        if base is None or not base.outcome.bad:
            return Kind.FAILING
        return Kind.REASON if base.signature != new.signature else None
    if base is None:
        return None
    if new.outcome not in JUDGED:
        if base.outcome in JUDGED:
            return Kind.UNTESTED
        same = (base.outcome, base.reason_code) == (new.outcome, new.reason_code)
        return None if same else Kind.REASON
    if new.outcome is Outcome.PASS:
        return Kind.FIXED if base.outcome.bad or base.outcome is Outcome.KNOWN else None
    return Kind.REASON if base.outcome.bad or base.signature != new.signature else None


def _gone(ours: _Tests, pairs: Mapping[str, str], theirs: _Tests) -> list[Change]:
    """Tests that judged and are gone, unless all that they proved is still proven by others."""
    proven = {i for results in theirs.values() for r in results if r.outcome in JUDGED for i in r.behaviours}
    changes = []
    for test, results in ours.items():
        base = _worst(results)
        if test in pairs or base is None or base.outcome not in JUDGED:
            continue
        if not base.behaviours or not proven.issuperset(base.behaviours):
            changes.append(Change(Kind.UNTESTED, base, None))
    return changes
