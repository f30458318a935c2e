# SPDX-License-Identifier: MIT
"""One client address space: implements kernel.Mm."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from mock.kernel import PAGE_SIZE, Ability, Change, File, Isolated, Notifier, Stalled, Vma
from mock.linux import procfs
from mock.linux.signals import bus_error
from mock.linux.userfaultfd import PAGEFAULT_WRITE, Message, Mode, Userfaultfd
from mock.memory.inbox import Forked, Inbox, Moved, Removed, Unmapped
from mock.memory.migrate import Migration
from mock.memory.process import Dead, Missing, ProcessMemory, bad_address
from mock.memory.work import Pause, Work
from mock.memory.zap import Zapper

if TYPE_CHECKING:
    from mock.linux.adviser import Adviser

_MOMENT = 0.2
"""Seconds that others wait while pages are taken out of a client: one that runs needs some microseconds."""

_TURNS = 3
"""Rounds of the event loop in which pages that are held are kept for those who asked for them."""

_ATTEMPTS = 1000
"""Attempts to fault in a page before it counts as bad: a client may unmap and map it in a tight loop."""


class Host(Protocol):
    """Services of the mock that an address space needs."""

    def file_of(self, device: int, inode: int) -> File | None:
        """The mock's open file with this identity."""

    def dirty(self, space: AddressSpace) -> None:
        """``digest`` has something to do."""

    def forked(self, parent: AddressSpace, uffd: Userfaultfd) -> AddressSpace:
        """An address space for a child of fork, which is not known to be any process's yet."""

    def mark(self, child: AddressSpace) -> None:
        """Leave a token in it, so that its process can be recognised. This may read its events: those of its own
        children.
        """

    def ready(self, space: AddressSpace) -> None:
        """Its faults and changes can be served: a child's memory is as the parent's, or nothing is on its way out of
        it any more.
        """

    def attend(self, space: AddressSpace, pause: Pause) -> None:
        """Nothing can be served; call ``go_on`` after the pause."""

    def later(self, callback: Callable[[], object], seconds: float = 0) -> None:
        """Call once, when ``digest`` has had its turn."""

    def log(self, message: str) -> None: ...

    def internal_error(self, what: str, error: BaseException) -> None: ...


class AddressSpace:
    """See kernel.Mm. Without a userfaultfd it can be read and written only; without an adviser nothing can be
    isolated.
    """

    def __init__(self, host: Host, name: str, uffd: Userfaultfd | None, abilities: frozenset[str]) -> None:
        self._host = host
        self.name = name
        self.uffd: Userfaultfd | None = None
        self.inbox: Inbox | None = None
        self._abilities: frozenset[str] = frozenset()
        self.memory: ProcessMemory | None = None
        if uffd is not None:
            self.watch_with(uffd, abilities)
        self._children: dict[Userfaultfd, AddressSpace] = {}
        self._notifiers: list[Notifier] = []
        self._watches: Counter[tuple[int, int]] = Counter()
        self._dead = False
        self._exit_told = False
        self.migration = Migration(self)
        self.zapper: Zapper | None = None
        self._adviser: Adviser | None = None
        self._work: Work[dict[int, bytes | None]] | None = None
        self._turns = 0
        self.busy = False
        """The process is being equipped."""
        self._when_settled: list[Callable[[], object]] = []
        self._postponed: list[Callable[[], None]] = []
        self._late: list[tuple[int, bytes]] = []
        """Stores to pages that are on their way out: address and data."""

    def __repr__(self) -> str:
        return f"<mm of {self.name}>"

    # Growing: a child of fork is known by its userfaultfd first, then by a process id, then gets an adviser.

    def bind(self, pid: int) -> None:
        """It is the memory of process ``pid``. Raises OSError if it cannot be accessed."""
        self.memory = ProcessMemory(pid)
        self.name = str(pid)

    def watch_with(self, uffd: Userfaultfd, abilities: frozenset[str]) -> None:
        """The process has made a userfaultfd."""
        self.uffd = uffd
        self.inbox = Inbox(uffd, self._arrived, self._fork_seen)
        self._abilities = abilities - {Ability.ZAP}

    def equip(self, adviser: Adviser, pid: int) -> None:
        """Pages can be zapped by this adviser of process ``pid``."""
        if self.inbox is None:
            adviser.close()
            return
        self._adviser = adviser
        self.zapper = Zapper(adviser, pid, self.inbox, self.log)
        self._abilities |= {Ability.ZAP}

    def close(self) -> None:
        """Give everything back to the kernel. Memory that is isolated then reads as zeros."""
        self._dead = True
        if self.uffd:
            self.uffd.close()
        if self._adviser:
            self._adviser.close()
        if self.memory:
            self.memory.close()

    @property
    def abilities(self) -> frozenset[str]:
        return self._abilities

    @property
    def alive(self) -> bool:
        return not self._dead

    def check_alive(self) -> bool:
        """``alive``, checked now."""
        if not self._dead and self.memory is not None and not self.memory.alive():
            self.died()
        return not self._dead

    def died(self) -> None:
        """The address space is gone; notifiers are called soon."""
        if not self._dead:
            self._dead = True
            self._arrived()

    def log(self, message: str) -> None:
        self._host.log(f"{self.name}: {message}")

    # Access.

    def doubt(self) -> None:
        """The client may have run since the last call: its mappings may be others."""
        if self.memory is not None:
            self.memory.doubt()

    def read(self, address: int, size: int) -> bytes:
        if self._work is not None and self.migration.going(address, address + size):
            return self._read_going(address, size)
        return self._read(address, size, gpu=False)

    def gpu_read(self, address: int, size: int) -> bytes:
        self._check_isolated(address, size)
        return self._read(address, size, gpu=True)

    def write(self, address: int, data: bytes) -> None:
        if self._work is not None and self.migration.going(address, address + len(data)):
            self._checked(address, len(data), procfs.WRITABLE)
            self._late.append((address, bytes(data)))
            return
        self._write(address, data, gpu=False)

    def gpu_write(self, address: int, data: bytes) -> None:
        self._check_isolated(address, len(data))
        self._write(address, data, gpu=True)

    def gpu_atomic(self, address: int, size: int, operation: Callable[[int], int]) -> int:
        page = address & -PAGE_SIZE
        self._check_isolated(address, size)
        self._checked(address, size, procfs.WRITABLE)
        # Isolating takes the page out of the CPU's reach: the read-modify-write is atomic towards its stores.
        taken = self.isolate(page, page + PAGE_SIZE)
        if page not in taken:
            old = int.from_bytes(self._read(address, size, gpu=True), "little")
            self._write(address, _little(operation(old), size), gpu=True)
            return old
        contents = bytearray(taken[page] or bytes(PAGE_SIZE))
        at = address - page
        old = int.from_bytes(contents[at : at + size], "little")
        contents[at : at + size] = _little(operation(old), size)
        self.restore(page, bytes(contents))
        return old

    def _check_isolated(self, address: int, size: int) -> None:
        isolated = self.migration.isolated
        if isolated:
            for page in range(address & -PAGE_SIZE, address + size, PAGE_SIZE):
                if page in isolated:
                    raise Isolated(page)
        if self._work is not None and self.migration.going(address, address + size):
            raise Stalled(self)
        held = self.migration.held
        if held:
            for page in range(address & -PAGE_SIZE, address + size, PAGE_SIZE):
                if page in held:
                    self.migration.bring_back(page)
                    if page in held:
                        raise Stalled(self)

    def _read_going(self, address: int, size: int) -> bytes:
        """Read memory of which pages are on their way out: only ``write`` stores to those."""
        memory = self._checked(address, size, procfs.READABLE)
        data = bytearray()
        while len(data) < size:
            at = address + len(data)
            page = at & -PAGE_SIZE
            count = min(address + size, page + PAGE_SIZE) - at
            try:
                data += memory.read(at, count)
            except Missing:
                data += self.migration.copied(page)[at - page : at - page + count]
            except Dead:
                self.died()
                raise bad_address(at) from None
        for start, late in self._late:
            low, high = max(start, address), min(start + len(late), address + size)
            if low < high:
                data[low - address : high - address] = late[low - start : high - start]
        return bytes(data)

    def _checked(self, address: int, size: int, permission: int) -> ProcessMemory:
        if self.memory is None or self._dead:
            raise bad_address(address)
        try:
            self.memory.check(address, size, permission)
        except Dead:
            self.died()
            raise bad_address(address) from None
        return self.memory

    def _read(self, address: int, size: int, *, gpu: bool) -> bytes:
        memory = self._checked(address, size, procfs.READABLE)
        try:
            return memory.read(address, size)
        except (Missing, Dead):
            return self._read_absent(memory, address, size, gpu=gpu)

    def _read_absent(self, memory: ProcessMemory, address: int, size: int, *, gpu: bool) -> bytes:
        for _ in self._tries(address):
            try:
                return memory.read(address, size)
            except Missing as missing:
                self._fault_in(missing.address, write=False, gpu=gpu)
            except Dead:
                self.died()
        raise bad_address(address)

    def _write(self, address: int, data: bytes | memoryview, *, gpu: bool) -> None:
        memory = self._checked(address, len(data), procfs.WRITABLE)
        try:
            memory.write(address, data)
        except (Missing, Dead):
            self._write_absent(memory, address, data, gpu=gpu)

    def _write_absent(
        self, memory: ProcessMemory, address: int, data: bytes | memoryview, *, gpu: bool
    ) -> None:
        for _ in self._tries(address):
            try:
                return memory.write(address, data)
            except Missing as missing:
                address, data = missing.address, memoryview(data)[missing.done :]
                self._fault_in(missing.address, write=True, gpu=gpu)
            except Dead:
                self.died()
        raise bad_address(address)

    def _tries(self, address: int) -> Iterator[int]:
        for attempt in range(_ATTEMPTS):
            if self._dead:
                raise bad_address(address)
            yield attempt

    def _fault_in(self, address: int, *, write: bool, gpu: bool) -> None:
        """Make the page at ``address`` present for our own access. Raises OSError(EFAULT) if that fails."""
        page = address & -PAGE_SIZE
        if page in self.migration.isolated:
            if gpu:
                raise Isolated(page)
            self._cpu_fault(page, write=write, tid=None)
            if page in self.migration.isolated:
                raise bad_address(address)
        elif page in self.migration.held:
            self.migration.bring_back(page)
            if page in self.migration.held:
                raise bad_address(address)
        elif not self.migration.fill(page):
            raise bad_address(address)

    def vmas(self, start: int, end: int) -> list[Vma]:
        if self.memory is None or self._dead:
            return []
        try:
            found = self.memory.maps.overlapping(start, end)
        except ProcessLookupError:
            self.died()
            return []
        return [self._vma(mapping) for mapping in found]

    def vmas_of(self, file: File) -> list[Vma]:
        if self.memory is None or self._dead:
            return []
        try:
            found = self.memory.maps.of_inode(file.inode)
        except ProcessLookupError:
            self.died()
            return []
        return [vma for vma in map(self._vma, found) if vma.file is file]

    def _vma(self, mapping: procfs.Mapping) -> Vma:
        flags = mapping.flags
        shared = flags & procfs.SHARED != 0
        return Vma(
            start=mapping.start,
            end=mapping.end,
            readable=flags & procfs.READABLE != 0,
            writable=flags & procfs.WRITABLE != 0,
            executable=flags & procfs.EXECUTABLE != 0,
            shared=shared,
            anonymous=not mapping.inode and not shared,
            inode=mapping.inode,
            file=self._host.file_of(mapping.device, mapping.inode) if mapping.inode else None,
            offset=mapping.offset,
            page_size=mapping.page_size,
        )

    def populate(self, start: int, end: int) -> None:
        if self.memory is None or self._dead:
            return
        with contextlib.suppress(ProcessLookupError):
            for mapping in self.memory.maps.overlapping(start, end):
                if mapping.flags & procfs.READABLE:
                    self._populate(max(start, mapping.start), min(end, mapping.end))

    def _populate(self, start: int, end: int) -> None:
        assert self.memory is not None
        present = self.memory.pagemap.present(start, end)
        for page, there in zip(range(start, end, PAGE_SIZE), present, strict=True):
            if not there and page not in self.migration.isolated and not self.migration.going(page, page + 1):
                with contextlib.suppress(OSError):
                    self._read(page, 1, gpu=True)

    def present(self, start: int, end: int) -> list[bool]:
        absent = [False] * ((end - start) // PAGE_SIZE)
        if self.memory is None or self._dead:
            return absent
        try:
            found = self.memory.pagemap.present(start, end)
        except ProcessLookupError:
            return absent
        for page in self.migration.held:
            if start <= page < end:
                found[(page - start) // PAGE_SIZE] = True
        return found

    # Watching.

    def register(self, notifier: Notifier) -> None:
        if notifier not in self._notifiers:
            self._notifiers.append(notifier)

    def unregister(self, notifier: Notifier) -> None:
        if notifier in self._notifiers:
            self._notifiers.remove(notifier)

    def watch(self, start: int, end: int) -> None:
        if self.uffd is None or self.memory is None or self._dead:
            return
        self._watches[start, end] += 1
        self._watch(start, end)

    def _watch(self, start: int, end: int) -> None:
        if self._work is not None:
            self._postponed.append(lambda: self._watch(start, end))
            return
        assert self.memory is not None
        self.migration.barrier(start)
        with contextlib.suppress(ProcessLookupError):
            for mapping in self.memory.maps.overlapping(start, end):
                self.enrol(mapping, Mode.WP)

    def enrol(self, mapping: procfs.Mapping, mode: Mode) -> bool:
        """Register a whole mapping with the userfaultfd (part of one could not be moved by mremap
        any more).
        """
        assert self.uffd is not None
        try:
            self.uffd.register(mapping.start, mapping.end, mode)
        except OSError:
            # Files, special mappings, or gone a moment ago; the driver looks mappings up at each access anyway.
            return False
        if self.inbox is not None:
            self.inbox.places.add(mapping.start, mapping.end)
        return True

    def unwatch(self, start: int, end: int) -> None:
        if self._watches[start, end] > 1:
            self._watches[start, end] -= 1
            return
        del self._watches[start, end]
        self.dismiss(start, end)

    def dismiss(self, start: int, end: int) -> None:
        """Unregister the mappings of [start, end) that nothing is watched or isolated in.

        Memory with isolated pages may have been moved there a moment ago, of which nothing is known yet.
        """
        if self.uffd is None or self.inbox is None or self.memory is None or self._dead:
            return
        if self._work is not None:
            self._postponed.append(lambda: self.dismiss(start, end))
            return
        self.migration.barrier(start)
        with contextlib.suppress(OSError):
            for mapping in self.memory.maps.overlapping(start, end):
                if not self._in_use(mapping.start, mapping.end):
                    with contextlib.suppress(OSError):
                        self.uffd.unregister(mapping.start, mapping.end)
                        self.inbox.places.remove(mapping.start, mapping.end)

    def _in_use(self, start: int, end: int) -> bool:
        if any(low < end and start < high for low, high in self._watches) or self.migration.has(start, end):
            return True
        return self.inbox is not None and self.inbox.arriving(start, end)

    # Migration.

    def isolate(self, start: int, end: int) -> dict[int, bytes | None]:
        if self.zapper is None or self.memory is None or self._dead:
            return {}
        if self._work is not None:
            raise Stalled(self)
        self._work = self.migration.isolate(start, end)
        deadline = time.monotonic() + _MOMENT
        while isinstance(pause := self._advance(), Pause):
            if time.monotonic() > deadline:
                self._host.attend(self, pause)
                raise Stalled(self)
            self.zapper.wait(pause)
        return pause

    def _advance(self) -> Pause | dict[int, bytes | None]:
        """Take pages out until that has to wait, or is done. Returns the pages taken."""
        assert self._work is not None
        taken: dict[int, bytes | None] = {}
        try:
            return next(self._work)
        except StopIteration as stop:
            taken = stop.value
        except Exception as error:
            self._host.internal_error(f"isolate of {self!r}", error)
        self._work = None
        return taken

    def go_on(self) -> None:
        """The way out that was given to Host.attend may continue."""
        if self._work is None:
            return
        step = self._advance() if not self._dead else {}
        if isinstance(step, Pause):
            self._host.attend(self, step)
        else:
            self._settle(step)

    def _settle(self, taken: dict[int, bytes | None]) -> None:
        """Nothing waits for the pages taken: they are held until they are needed."""
        if self._work is not None:
            self._work.close()
            self._work = None
        self.migration.hold(taken)
        late, self._late = self._late, []
        for address, data in late:
            with contextlib.suppress(OSError):
                self._write(address, data, gpu=False)
        postponed, self._postponed = self._postponed, []
        for action in postponed:
            action()
        self.tell_settled()
        passing, self._turns = self._turns, _TURNS
        if not passing:
            self._host.later(self._pass_turn)
        self._host.ready(self)
        if not self._dead:
            self._arrived()

    def _pass_turn(self) -> None:
        """Threads that waited for what is held, and what they woke, come before those that touch it: a thread that does
        so all the time would get it each time.
        """
        self._turns -= 1
        if self._turns:
            self._host.later(self._pass_turn)
        elif not self._dead:
            self._arrived()

    def tell_settled(self) -> None:
        """Waiters of ``when_settled`` need not wait any more."""
        callbacks, self._when_settled = self._when_settled, []
        for callback in callbacks:
            self._host.later(callback)

    def when_settled(self, callback: Callable[[], object]) -> None:
        if self._work is not None or self.busy:
            self._when_settled.append(callback)
        else:
            self._host.later(callback, 0.001)

    def restore(self, address: int, data: bytes | None) -> list[int]:
        if self.uffd is None:
            return []
        return self.migration.restore(address, bytes(PAGE_SIZE) if data is None else data)

    def isolated(self, start: int, end: int) -> list[int]:
        isolated = self.migration.isolated
        if len(isolated) < (end - start) // PAGE_SIZE:
            return sorted(page for page in isolated if start <= page < end)
        return [page for page in range(start & -PAGE_SIZE, end, PAGE_SIZE) if page in isolated]

    def _cpu_fault(self, page: int, *, write: bool, tid: int | None) -> bool:
        """Whether the driver can bring the page back."""
        try:
            for notifier in list(self._notifiers):
                notifier.cpu_fault(self, page, write=write, tid=tid)
        except OSError as error:
            self.log(f"fault at {page:#x}: {error}")
            return False
        except Exception as error:
            self._host.internal_error(f"cpu_fault of {self!r}", error)
        return True

    # Events.

    def _arrived(self) -> None:
        self._host.dirty(self)

    def _fork_seen(self, uffd: Userfaultfd) -> None:
        """Read now: the child is as the parent is now, whatever happens to the parent until ``digest``."""
        self._children[uffd] = child = self._host.forked(self, uffd)
        assert self.inbox is not None
        assert child.inbox is not None
        child.migration.inherit(self.migration, self.inbox)
        child.inbox.places = self.inbox.places.copy()
        self._host.mark(child)

    @property
    def children(self) -> list[AddressSpace]:
        """Children whose fork has been seen and not digested."""
        return list(self._children.values())

    def digest(self) -> None:
        """Handle everything in the inbox: changes first, then the faults that may depend on them."""
        if self._dead:
            if self._work is not None:
                self._settle({})
            self._tell_exit()
            return
        if self.inbox is None or self._work is not None:
            return
        inbox = self.inbox
        while inbox.happenings or inbox.holding or (inbox.faults and not self._turns):
            if inbox.holding and not inbox.happenings:
                self.migration.barrier(0)
            elif inbox.happenings:
                self._happened(inbox.happenings.popleft())
            else:
                page = next(iter(inbox.faults))
                self._serve(page, inbox.faults.pop(page))

    def _tell_exit(self) -> None:
        if not self._exit_told:
            self._exit_told = True
            for notifier in list(self._notifiers):
                self._tell("exited", notifier.exited, self)

    def _happened(self, happening: Unmapped | Removed | Moved | Forked) -> None:
        match happening:
            case Unmapped(start, end):
                self.migration.forget(start, end)
                self.unmapped(start, end, Change.UNMAP)
            case Removed(start, end):
                self.migration.forget(start, end)
                self.unmapped(start, end, Change.REMOVE)
            case Moved(start, end, new):
                self.moved(start, end, new)
            case Forked(uffd):
                self._forked(uffd)

    def unmapped(self, start: int, end: int, change: Change) -> None:
        """Notify the driver that memory is gone."""
        for notifier in list(self._notifiers):
            self._tell("invalidated", notifier.invalidated, self, start, end, change)

    def moved(self, start: int, end: int, new: int) -> None:
        """Follow an mremap(2) and notify the driver."""
        self.migration.move(start, end, new)
        for notifier in list(self._notifiers):
            self._tell("remapped", notifier.remapped, self, start, new, end - start)

    def _forked(self, uffd: Userfaultfd) -> None:
        child = self._children.pop(uffd)
        if child.alive:
            self._hand_over(child)
        # Also for a child that has already ended: its parent's pages were made copy-on-write.
        for start, end in list(self._watches):
            for notifier in list(self._notifiers):
                self._tell("invalidated", notifier.invalidated, self, start, end, Change.FORK)

    def _hand_over(self, child: AddressSpace) -> None:
        """Give a child of fork its memory."""
        for page, data in self.migration.held.items():
            child.restore(page, data)
        for notifier in list(self._notifiers):
            self._tell("forked", notifier.forked, self, child)
        # Pages that the driver did not have were not taken from the child: this releases them, just in case.
        for page in list(child.migration.isolated):
            child.restore(page, None)
        self._host.ready(child)

    def _serve(self, page: int, message: Message) -> None:
        """A thread of the client waits on a page."""
        assert self.uffd is not None
        assert self.inbox is not None
        if page in self.migration.isolated:
            had = self._cpu_fault(page, write=message.a & PAGEFAULT_WRITE != 0, tid=message.c)
            if page not in self.migration.isolated:
                return
            if not had:
                bus_error(message.c)
            elif not self.inbox.overlapping(page, page + PAGE_SIZE):
                self.log(f"fault at {page:#x}: the driver has not given the page back")
        elif page in self.migration.held:
            self.migration.bring_back(page)
        else:
            self.migration.fill(page)
        with contextlib.suppress(OSError):
            self.uffd.wake(page, page + PAGE_SIZE)

    def _tell(self, what: str, callback: Callable[..., None], *arguments: object, **keywords: object) -> None:
        try:
            callback(*arguments, **keywords)
        except Exception as error:
            self._host.internal_error(f"{what} of {self!r}", error)


def _little(value: int, size: int) -> bytes:
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")
