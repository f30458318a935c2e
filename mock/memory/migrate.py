# SPDX-License-Identifier: MIT
"""Moving pages between a client and the driver, without losing a store.

Out: register the mapping for missing pages, write-protect, copy, zap. Back: UFFDIO_COPY. In between, each CPU access is
a message. A change of the mapping by the client is in the inbox, not handled yet: such pages are left out, or stay
isolated, until the driver has been notified of the change.

The way out can take long if the client is stopped. Pages that were taken when the driver has given up waiting are held
here, until the driver asks again or the client accesses them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mock.kernel import PAGE_SIZE
from mock.linux import procfs
from mock.linux.userfaultfd import Mode, Userfaultfd
from mock.memory.inbox import Inbox, Moved, StuckError
from mock.memory.process import Dead, Missing, ProcessMemory
from mock.memory.work import Work, persist
from mock.spans import runs

if TYPE_CHECKING:
    from mock.memory.space import AddressSpace
    from mock.memory.zap import Zapper

_LOWEST = 1 << 20
"""Above vm.mmap_min_addr: userfaultfd accepts no lower address."""


class Migration:
    """The isolated pages of one address space, and the ways in and out."""

    def __init__(self, space: AddressSpace) -> None:
        self._space = space
        self.isolated: set[int] = set()
        self.held: dict[int, bytes] = {}
        """Contents of pages that are neither with the client nor with the driver."""
        self._collecting: tuple[int, int] | None = None
        self._found: dict[int, bytes | None] = {}
        self._upgraded: set[tuple[int, int]] = set()

    @property
    def _parts(self) -> tuple[Userfaultfd, Inbox, ProcessMemory, Zapper]:
        space = self._space
        uffd, inbox, memory, zapper = space.uffd, space.inbox, space.memory, space.zapper
        if not (uffd and inbox and memory and zapper):
            raise AssertionError(f"{space!r} cannot migrate")
        return uffd, inbox, memory, zapper

    # Out.

    def isolate(self, start: int, end: int) -> Work[dict[int, bytes | None]]:
        """See kernel.Mm.isolate."""
        _, _, memory, _ = self._parts
        yield from self._barrier(start)
        try:
            mappings = memory.maps.overlapping(start, end)
        except ProcessLookupError:
            self._space.died()
            return {}
        result: dict[int, bytes | None] = {}
        for mapping in mappings:
            if mapping.inode or mapping.flags & procfs.SHARED or mapping.page_size != PAGE_SIZE:
                continue
            if not self._space.enrol(mapping, Mode.MISSING | Mode.WP):
                continue
            self._upgraded.add((mapping.start, mapping.end))
            self._collecting = (max(start, mapping.start), min(end, mapping.end))
            try:
                result |= yield from self._collect(*self._collecting)
            except (ProcessLookupError, Dead):
                self._space.died()
                return {}
            except FileNotFoundError:
                pass  # unmapped since we looked
            finally:
                self._collecting = None
                self._found = {}
        return result

    def going(self, start: int, end: int) -> bool:
        """Whether pages of [start, end) are on their way out."""
        return self._collecting is not None and self._collecting[0] < end and start < self._collecting[1]

    def copied(self, page: int) -> bytes:
        """The contents of a page on its way out that is already missing."""
        return self._found.get(page) or bytes(PAGE_SIZE)

    def hold(self, taken: dict[int, bytes | None]) -> None:
        """Keep what was isolated: the driver no longer waits for it."""
        self.isolated.difference_update(taken)
        self.held.update((page, data) for page, data in taken.items() if data is not None)

    def _collect(self, start: int, end: int) -> Work[dict[int, bytes | None]]:
        uffd, inbox, memory, _ = self._parts
        # Registered for missing pages: from here on only we add pages, others can only take them away. What has been
        # read and not digested may be of what was mapped here before, and the driver must be notified first: nothing is
        # taken from such places. What comes later is of what is mapped now (see barrier).
        yield from persist(inbox, lambda: uffd.write_protect(start, end, on=True))
        doubtful = set(inbox.unsettled(start, end))
        found: dict[int, bytes | None] = {}
        self._found = found
        there: list[int] = []
        present = memory.pagemap.present(start, end)
        for page, populated in zip(range(start, end, PAGE_SIZE), present, strict=True):
            if page in doubtful:
                continue
            if populated:
                there.append(page)
            elif page not in self.isolated:
                found[page] = self.held.pop(page, None)
        for low, high in runs(sorted(doubtful)):
            self._unprotect(low, high)
        spared: set[int] = set()
        for low, high in runs(there):
            self._copy_out(memory, low, high, found)
            spared |= yield from self._zap(low, high)
        yield from self._barrier(start)
        if spared or inbox.overlapping(start, end):
            yield from self._leave_out_changed(found, spared)
        self.isolated.update(found)
        return found

    @staticmethod
    def _copy_out(memory: ProcessMemory, start: int, end: int, found: dict[int, bytes | None]) -> None:
        try:
            data = memory.read(start, end - start)
        except Missing as missing:
            # Just unmapped by the client; its event is to come.
            hole = missing.address & -PAGE_SIZE
            found[hole] = None
            for low, high in ((start, hole), (hole + PAGE_SIZE, end)):
                if low < high:
                    Migration._copy_out(memory, low, high, found)
            return
        for at in range(0, len(data), PAGE_SIZE):
            found[start + at] = data[at : at + PAGE_SIZE]

    def _zap(self, start: int, end: int) -> Work[set[int]]:
        """Zap the copied pages.

        Returns those that were spared, because a change of them was read in the meantime: the thread that made it
        continues, and may store to pages that were not copied.
        """
        _, inbox, _, zapper = self._parts
        spared: set[int] = set()
        while start < end:
            inbox.read()
            spared.update(inbox.unsettled(start, end))
            low, high = next(
                runs([page for page in range(start, end, PAGE_SIZE) if page not in spared]), (end, end)
            )
            if low < high and not (yield from zapper.zap(low, high)):
                raise Dead
            start = high
        return spared

    def _leave_out_changed(self, found: dict[int, bytes | None], spared: set[int]) -> Work[None]:
        """Pages that the client changed in the meantime: the driver gets them only if the client no longer has them.
        Those in ``spared`` were not zapped.
        """
        _, inbox, memory, _ = self._parts
        while True:
            seen = len(inbox.happenings)
            lost = []
            for page in found:
                now = inbox.follow(page)
                # Moved after the zap: isolated, and digesting the event moves it along. Moved before it, that is with
                # its contents: the client has it.
                there = now is not None and (page in spared or now != page)
                if now is None or (there and memory.pagemap.present(now, now + PAGE_SIZE)[0]):
                    lost.append((page, now))
            yield from self._barrier(0)
            if len(inbox.happenings) == seen:
                break
        for page, now in lost:
            data = found.pop(page)
            for child in self._space.children:
                child.migration.put(page, data or bytes(PAGE_SIZE))
            if now is not None:
                self._unprotect(now, now + PAGE_SIZE)

    def barrier(self, address: int) -> None:
        """Read the events of all changes made to the address space so far.

        A change is made first and reported later: until then the kernel refuses write-protection. After a
        barrier, events of what is mapped at some place cannot be mistaken for those of what was mapped there
        before.
        """
        page = max(address & -PAGE_SIZE, _LOWEST)
        self._unprotect(page, page + PAGE_SIZE)
        self._all_read()

    def _barrier(self, address: int) -> Work[None]:
        """The same, however long it takes."""
        uffd, inbox, _, _ = self._parts
        page = max(address & -PAGE_SIZE, _LOWEST)
        with contextlib.suppress(OSError):
            yield from persist(inbox, lambda: uffd.write_protect(page, page + PAGE_SIZE, on=False))
        self._all_read()

    def _all_read(self) -> None:
        if self._space.inbox is not None and self._space.inbox.holding:
            self._space.inbox.release_all()

    # Back.

    def bring_back(self, page: int) -> None:
        """Give the client a page that is held. It stays held if it cannot be put back now."""
        data = self.held[page]
        if self.put(page, data):
            del self.held[page]
            for child in self._space.children:
                child.migration.put(page, data)

    def restore(self, address: int, data: bytes) -> list[int]:
        """See kernel.Mm.restore."""
        pages = [page for page in range(address, address + len(data), PAGE_SIZE) if page in self.isolated]
        left: list[int] = []
        for start, end in runs(pages):
            left += self._restore_run(start, memoryview(data)[start - address : end - address])
        if not self.isolated:
            upgraded, self._upgraded = self._upgraded, set()
            for start, end in upgraded:
                self._space.dismiss(start, end)
        return left

    def _restore_run(self, start: int, data: memoryview) -> list[int]:
        left = []
        at = 0
        while at < len(data):
            done = self.put(start + at, data[at:])
            self.isolated.difference_update(range(start + at, start + at + done, PAGE_SIZE))
            # Children that were forked before that need the pages too, and the driver is about to forget them.
            for child in self._space.children:
                child.migration.put(start + at, data[at : at + done])
            at += done
            if at < len(data):
                left.append(start + at)
                at += PAGE_SIZE
        return left

    def put(self, address: int, data: bytes | memoryview) -> int:
        """Fill missing pages and skip present ones. Returns the bytes done before a page that cannot be filled (any
        more).
        """
        uffd, inbox = self._space.uffd, self._space.inbox
        assert uffd
        assert inbox
        at = 0

        def step() -> int:
            # A change that is read but not digested would let the copy go to a mapping that took the place.
            here = address + at
            end = address + len(data)
            changed = [change.start for change in inbox.overlapping(here, end)]
            if changed:
                end = max(here, min(changed))
                if end == here:
                    raise FileNotFoundError
            return uffd.copy(here, data[at : at + end - here])

        while at < len(data):
            try:
                at += inbox.insist(step)
            except FileExistsError:
                with contextlib.suppress(OSError):
                    uffd.wake(address + at, address + at + PAGE_SIZE)
                at += PAGE_SIZE
            except ProcessLookupError:
                self._space.died()
                return len(data)
            except StuckError:
                self._space.log(f"page {address + at:#x} not put back: the client holds up a mapping change")
                break
            except OSError:
                break
        return at

    def fill(self, page: int) -> bool:
        """Resolve a touch of a page that is not isolated: zeros if it was never populated, and let stores
        through. False when there is nothing to resolve: not (or no longer) registered.
        """
        uffd, inbox = self._space.uffd, self._space.inbox
        if uffd is None or inbox is None or self._arriving(page):
            return False
        end = page + PAGE_SIZE
        try:
            try:
                inbox.insist(lambda: uffd.zero(page, end))
            except FileExistsError:
                inbox.insist(lambda: uffd.write_protect(page, end, on=False))
        except ProcessLookupError:
            self._space.died()
            return True
        except (OSError, StuckError):
            return False
        return True

    def _arriving(self, page: int) -> bool:
        """Whether an isolated page was moved here by an mremap that has not been digested."""
        inbox = self._space.inbox
        return inbox is not None and any(
            isinstance(move, Moved)
            and 0 <= page - move.new < move.end - move.start
            and (page - move.new + move.start in self.isolated or page - move.new + move.start in self.held)
            for move in inbox.happenings
        )

    # Changes.

    def forget(self, start: int, end: int) -> None:
        """These pages are no longer isolated; their contents do not matter."""
        self.isolated.difference_update(self._space.isolated(start, end))
        for page in self._held(start, end):
            del self.held[page]

    def move(self, start: int, end: int, new: int) -> None:
        """mremap(2) moved [start, end) to ``new``."""
        pages = self._space.isolated(start, end)
        self.isolated.difference_update(pages)
        self.isolated.update(page - start + new for page in pages)
        held = {page - start + new: self.held.pop(page) for page in self._held(start, end)}
        self.held.update(held)

    def has(self, start: int, end: int) -> bool:
        """Whether pages of [start, end) are only in our memory or the driver's."""
        return bool(self._space.isolated(start, end)) or bool(self._held(start, end))

    def _held(self, start: int, end: int) -> list[int]:
        return [page for page in self.held if start <= page < end]

    def inherit(self, parent: Migration, inbox: Inbox) -> None:
        """fork(2): pages that are missing in the parent, or may be by the time of the fork, are missing here.
        Those that the parent had moved by then (``inbox`` is the parent's) are at their new place.
        """
        pages = parent.isolated | parent.held.keys()
        if parent._collecting:
            pages.update(range(*parent._collecting, PAGE_SIZE))
        self.isolated = {now for page in pages if (now := inbox.follow(page)) is not None}

    def _unprotect(self, start: int, end: int) -> None:
        uffd, inbox = self._space.uffd, self._space.inbox
        assert uffd
        assert inbox
        with contextlib.suppress(OSError, StuckError):
            inbox.insist(lambda: uffd.write_protect(start, end, on=False))
