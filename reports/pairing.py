# SPDX-License-Identifier: MIT
"""Pairs of the same thing in two runs: environments with a newer kernel, tests that were renamed.

Behaviours need none of this: their ids are never renamed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from reports.event import Environment, Result


def pair_environments(base: Mapping[str, Environment], new: Mapping[str, Environment]) -> dict[str, str]:
    """Names in ``base`` to names in ``new``: the same name, else the one that is alike and stands alone.

    Alike is: machine, backend, platform, GPUs and kernel series; then without the kernel.
    """
    pairs = {name: name for name in base if name in new}

    def kind(environment: Environment) -> tuple[Hashable, ...]:
        fields = environment.fields
        return (*(fields.get(key) for key in ("machine", "backend", "platform")), len(environment.devices))

    def series(environment: Environment) -> tuple[Hashable, ...]:
        return (*kind(environment), environment.kernel[:2])

    for key in (series, kind):
        _pair(pairs, {n: key(e) for n, e in base.items()}, {n: key(e) for n, e in new.items()})
    return pairs


def _pair(pairs: dict[str, str], base: Mapping[str, Hashable], new: Mapping[str, Hashable]) -> None:
    """Pair names without a partner if exactly one on each side has a key (the values); None is not a key."""
    taken = set(pairs.values())
    left = _by_key((name, key) for name, key in base.items() if name not in pairs)
    right = _by_key((name, key) for name, key in new.items() if name not in taken)
    for key, names in left.items():
        others = right.get(key, [])
        if key is not None and len(names) == len(others) == 1:
            pairs[names[0]] = others[0]


def _by_key(keyed: Iterable[tuple[str, Hashable]]) -> dict[Hashable, list[str]]:
    groups: dict[Hashable, list[str]] = {}
    for name, key in keyed:
        groups.setdefault(key, []).append(name)
    return groups


@dataclass(frozen=True, slots=True)
class _Function:
    """A test function: what it proves, and which parameters it has."""

    name: str
    proves: frozenset[str]
    parameters: frozenset[str]


def pair_tests(base: Iterable[Result], new: Iterable[Result]) -> dict[str, str]:
    """Tests (node ids) of one run to those of another, renamed and moved ones included.

    A function that only one run has is that which only the other has, if it proves the same behaviours and has the
    same name, or the same parameters, and no other does.
    """
    ours, theirs = _functions(base), _functions(new)
    pairs = {name: name for name in ours if name in theirs}
    for key in (_by_name, _by_parameters, _by_behaviours):
        _pair(pairs, {n: key(f) for n, f in ours.items()}, {n: key(f) for n, f in theirs.items()})
    return {
        f"{name}{parameter}": f"{pairs[name]}{parameter}"
        for name, function in ours.items()
        if name in pairs
        for parameter in function.parameters & theirs[pairs[name]].parameters
    }


def _functions(results: Iterable[Result]) -> dict[str, _Function]:
    proves: dict[str, set[str]] = {}
    parameters: dict[str, set[str]] = {}
    for result in results:
        name, bracket, rest = result.test.partition("[")
        proves.setdefault(name, set()).update(result.behaviours)
        parameters.setdefault(name, set()).add(bracket + rest)
    return {
        name: _Function(name, frozenset(proves[name]), frozenset(parameters[name])) for name in parameters
    }


def _by_name(function: _Function) -> Hashable:
    return function.name.rpartition("::")[2], function.proves


def _by_parameters(function: _Function) -> Hashable:
    return (function.proves, function.parameters) if function.proves else None


def _by_behaviours(function: _Function) -> Hashable:
    return function.proves or None
