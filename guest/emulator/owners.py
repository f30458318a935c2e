# SPDX-License-Identifier: MIT
"""Address spaces that use a page of VRAM, as found from the GPU's own accesses.

The driver gives VRAM to a new owner through its migration queue: it clears the page or copies data in. That shows two
errors that real hardware does not report. A translation read *before* such a write and used after it leads to memory
that has another owner now. And a page that was *cleared* for a new owner, and is then used through an address that
never had it and through one that had it before and was never taken back, has two owners: a page table still holds the
old address. Sharing looks alike, and is not reported: an address that was invalidated in between may have got the page
again, and memory that comes back by a copy is still that of all who share it. Pages that were walked as page tables
are known too.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

from guest.emulator.memory import PAGE, Clock, Vram
from guest.emulator.tlb import TranslationCache

REMEMBERED = 1 << 16
"""Maximum number of pages with recorded users; the oldest are dropped first."""


class User(NamedTuple):
    """A page of an address space: the cache of its GPU, the ASID, the virtual address of the page."""

    cache: TranslationCache
    asid: int
    page: int


class _Users:
    """The addresses that a page was used through, and when first: since it was last given away, and before."""

    __slots__ = ("before", "given", "since")

    def __init__(self) -> None:
        self.given = 0
        self.before: dict[User, int] = {}
        self.since: dict[User, int] = {}

    def had_it_before(self, user: User) -> bool:
        """Whether the address led here before the page was given away, and the driver never took it back."""
        moment = self.before.get(user)
        return moment is not None and not user.cache.withdrawn_since(user.asid, user.page, moment)


class Owners:
    """For each 4 KiB page of a VRAM when the driver last gave it away, its users, and whether it is a page table."""

    def __init__(self, vram: Vram, clock: Clock) -> None:
        self._given = array("I", bytes(4 * (vram.size // PAGE)))
        self._cleared = bytearray(vram.size // PAGE)
        self._clock = clock
        self._tables: set[int] = set()
        self._users: dict[int, _Users] = {}

    def use(self, offset: int, user: User) -> User | None:
        """A page is used through an address; returns another address in use, if one of the two must be stale."""
        page = offset // PAGE
        users = self._users.get(page)
        if users is None:
            users = self._users[page] = _Users()
            if len(self._users) > REMEMBERED:
                del self._users[next(iter(self._users))]
        if users.given != self._given[page]:
            users.given = self._given[page]
            users.before |= users.since
            users.since = {}
        if user in users.since:
            return None
        users.since[user] = self._clock.now
        if not self._cleared[page] or len(users.since) == 1:
            return None
        known = users.had_it_before(user)
        return next((other for other in users.since if users.had_it_before(other) != known), None)

    def give(self, offset: int, size: int, *, cleared: bool) -> None:
        """The driver's own context writes ``size`` bytes at a VRAM offset, to clear them or with data."""
        first, end = offset // PAGE, (offset + size + PAGE - 1) // PAGE
        self._clock.now += 1
        if end - first == 1:
            self._given[first] = self._clock.now
            self._cleared[first] = cleared
            self._tables.discard(first)
        else:
            self._given[first:end] = array("I", [self._clock.now]) * (end - first)
            self._cleared[first:end] = bytes([cleared]) * (end - first)
            self._tables.difference_update(range(first, end))

    def given_since(self, offset: int, size: int, moment: int) -> bool:
        """Whether a page of the range was given away after ``moment``."""
        first, end = offset // PAGE, (offset + size + PAGE - 1) // PAGE
        if end - first == 1:
            return self._given[first] > moment
        return max(self._given[first:end], default=0) > moment

    def use_as_tables(self, offsets: tuple[int, ...]) -> None:
        """The walker went through these pages."""
        self._tables.update(offset // PAGE for offset in offsets)

    def is_table(self, offset: int, size: int) -> bool:
        """Whether a page of the range is a page table."""
        tables = self._tables
        first, end = offset // PAGE, (offset + size + PAGE - 1) // PAGE
        if end - first == 1:
            return first in tables
        return not tables.isdisjoint(range(first, end))
