# SPDX-License-Identifier: MIT
"""Spans [start, end) of addresses, merged where they touch. Driver and transport use them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mock.kernel import PAGE_SIZE


def joined(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Merge spans that touch; they are ascending and disjoint."""
    first = last = None
    for start, end in spans:
        if start == last:
            last = end
            continue
        if first is not None and last is not None:
            yield first, last
        first, last = start, end
    if first is not None and last is not None:
        yield first, last


def runs(pages: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending addresses of pages as spans of contiguous pages. Written for speed: there are many pages."""
    first, end = 0, -1
    for page in pages:
        if page == end:
            end += PAGE_SIZE
            continue
        if end >= 0:
            yield first, end
        first, end = page, page + PAGE_SIZE
    if end >= 0:
        yield first, end
