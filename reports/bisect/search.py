# SPDX-License-Identifier: MIT
"""Choice of the next kernel, and the result when none is left: a binary search that skips gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.bisect.judge import Verdict


@dataclass(frozen=True, slots=True)
class Span:
    """Location of the change: it came after ``last_old`` and at the latest with ``first_new``."""

    last_old: str
    first_new: str
    between: tuple[str, ...]
    """Kernels in between that are untested or untestable."""

    @property
    def exact(self) -> bool:
        """Whether the change came with ``first_new`` and with nothing before."""
        return not self.between


class ContradictionError(ValueError):
    """A newer kernel behaves like the old ones, and an older one like the new ones: there is more than one change."""


def span(kernels: Sequence[str], seen: Mapping[str, Verdict], old: Verdict) -> Span:
    """State of ``kernels``, from old to new, whose first one is ``old`` and whose last one is not.

    Raises ContradictionError.
    """
    told = {
        kernel: seen[kernel]
        for kernel in kernels
        if seen.get(kernel, Verdict.CANNOT_TELL) is not Verdict.CANNOT_TELL
    }
    as_old = [kernel for kernel, verdict in told.items() if verdict is old]
    as_new = [kernel for kernel, verdict in told.items() if verdict is not old]
    last, first = kernels.index(as_old[-1]), kernels.index(as_new[0])
    if last > first:
        raise ContradictionError(
            f"{kernels[first]} is as the newer kernels and {kernels[last]} as the older ones: "
            "it changed more than once; search between two of them"
        )
    return Span(kernels[last], kernels[first], tuple(kernels[last + 1 : first]))


def following(found: Span, seen: Mapping[str, Verdict]) -> str | None:
    """The kernel to try next: the untried one nearest to the middle; None if all were tried."""
    middle = (len(found.between) - 1) / 2
    open_ = [(abs(at - middle), at) for at, kernel in enumerate(found.between) if kernel not in seen]
    return found.between[min(open_)[1]] if open_ else None


def steps_left(found: Span, seen: Mapping[str, Verdict]) -> int:
    """Approximate number of kernels still to be tried."""
    return sum(kernel not in seen for kernel in found.between).bit_length()
