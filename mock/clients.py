# SPDX-License-Identifier: MIT
"""The processes of the client tree and their address spaces, from first use of a device to exit."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from mock.call import Call
from mock.files import Files
from mock.inject import equip as inject
from mock.kernel import PAGE_SIZE, Ability, File
from mock.linux import procfs
from mock.linux.ptrace import Stopping, Waiting
from mock.linux.userfaultfd import Busy, Mode, Userfaultfd
from mock.loop import EventLoop, Order
from mock.memory.inbox import StuckError
from mock.memory.mailbox import Mailbox
from mock.memory.space import AddressSpace
from mock.memory.work import Pause
from mock.tasks import Process, Thread

_SWEEP = 1.0
"""Seconds between checks whether children without any event still exist."""

_REAP = 0.01
"""Seconds between looks whether a thread that was killed while it was traced has ended."""

_QUICK, _GLANCE, _LOOK = 0.02, 0.0001, 0.002
"""Seconds that others wait for a thread that is to equip its process, between polls of it, and between later polls."""


class Clients:
    """Implements memory.space.Host."""

    def __init__(
        self,
        loop: EventLoop,
        files: Files,
        log: Callable[[str], None],
        internal_error: Callable[[str, BaseException], None],
    ) -> None:
        self._loop = loop
        self._files = files
        self.log = log
        self.internal_error = internal_error
        self._processes: dict[int, Process] = {}
        self._threads: dict[int, Thread] = {}
        self._tgids: dict[int, int] = {}
        self._mailboxes: dict[AddressSpace, Mailbox] = {}
        self._unbound: set[AddressSpace] = set()
        self._spaces: dict[AddressSpace, None] = {}
        self._dirty: dict[AddressSpace, None] = {}
        self._unsettled: dict[AddressSpace, int] = {}
        """Address spaces with pages on their way out, and how many checks whether one may continue failed."""
        self._to_equip: set[AddressSpace] = set()
        self._sweeping = False

    # Processes.

    def thread(self, tid: int) -> Thread | None:
        """The thread with this id, if it has used a device. It may have ended: then its ``lookup`` finds nothing."""
        thread = self._threads.get(tid)
        if thread is None:
            return None
        if thread.process.gone or (thread.process.exec_seen and self._replaced(thread.process)):
            self._forget(thread)
            return None
        return thread

    def of(self, tid: int) -> Process | None:
        """The process of a thread, if it has used a device."""
        tgid = self._tgids.get(tid)
        if tgid is None or not os.path.exists(f"/proc/{tgid}/task/{tid}"):  # noqa: PTH110 - for each open(2)
            try:
                tgid = procfs.status(tid).tgid
            except OSError:
                return None
            if tgid not in self._processes:
                return None
            self._tgids[tid] = tgid
        process = self._processes.get(tgid)
        if process is not None and process.exec_seen and self._replaced(process):
            return None
        return process

    def _replaced(self, process: Process) -> bool:
        """Whether execve has given the process other memory."""
        mailbox = self._mailboxes.get(process.space)
        if mailbox.marks(process.tgid) if mailbox else process.space.check_alive():
            return False
        self._leave(process)
        return True

    def _forget(self, thread: Thread) -> None:
        if self._threads.get(thread.tid) is thread:
            del self._threads[thread.tid]
        thread.close()

    def meet(self, call: Call) -> Thread:
        """The thread that makes a call, which uses a device now. OSError when it cannot be accessed; Gone."""
        tid = call.tid
        former = self._threads.get(tid)
        if former is not None:
            self._forget(former)
        tgid = procfs.status(tid).tgid
        process = self.of(tid) or self.enter(tgid, self._space_of(tgid))
        thread = self._threads[tid] = Thread(process, tid, self._files)
        call.confirm()
        return thread

    def _space_of(self, tgid: int) -> AddressSpace:
        for space, mailbox in self._mailboxes.items():
            if space.alive and mailbox.marks(tgid):
                if space in self._unbound:
                    space.bind(tgid)  # if that fails, the sweep finds it
                    self._unbound.remove(space)
                return space
        space = AddressSpace(self, str(tgid), None, frozenset())
        space.bind(tgid)
        return space

    def enter(self, tgid: int, space: AddressSpace) -> Process:
        """A process with this memory. OSError when it has ended."""
        try:
            pidfd = os.pidfd_open(tgid)
        except OSError:
            if space not in self._spaces:
                space.died()  # it has no other user
            raise
        process = Process(tgid, pidfd, space)
        self._processes[tgid] = process
        self._spaces[space] = None
        self._loop.watch(process.pidfd, Order.PROCESSES, lambda: self._leave(process))
        return process

    def _leave(self, process: Process) -> None:
        """It ended, or replaced its memory."""
        if process.gone:
            return
        self._loop.forget(process.pidfd)
        os.close(process.pidfd)
        self._tgids = {tid: tgid for tid, tgid in self._tgids.items() if tgid != process.tgid}
        if self._processes.get(process.tgid) is process:
            del self._processes[process.tgid]
        process.gone = True
        for thread in [thread for thread in self._threads.values() if thread.process is process]:
            self._forget(thread)
        if not any(other.space is process.space for other in self._processes.values()):
            process.space.died()

    def recruit(self, thread: Thread) -> Stopping | None:
        """Before a call of ``thread`` is answered: make it stop afterwards, if its process has yet to be
        equipped.
        """
        process = thread.process
        if process.recruited:
            return None
        process.recruited = True
        try:
            return Stopping(thread.tid)
        except OSError as error:
            self.log(f"{process.tgid}: its memory cannot migrate: {error.strerror}")
            return None

    def equip(self, thread: Thread, stopping: Stopping) -> None:
        """After the answer: have the thread make what its process needs. Only its own process waits for a thread that
        is slow or stopped.
        """
        space, work = thread.process.space, self._equipping(thread.process, stopping)
        self._to_equip.add(space)
        space.busy = True
        deadline = self._loop.time() + _QUICK
        while self._loop.time() < deadline:
            if not self._advance(space, work):
                return
            time.sleep(_GLANCE)
        self._go_on(space, work)

    def _go_on(self, space: AddressSpace, work: Waiting[None]) -> None:
        if self._advance(space, work):
            self._loop.call_at(self._loop.time() + _LOOK, lambda: self._go_on(space, work))

    def _advance(self, space: AddressSpace, work: Waiting[None]) -> bool:
        """Whether work is left."""
        try:
            next(work)
        except StopIteration:
            pass
        except OSError as error:
            self.log(f"{space.name}: its memory cannot migrate: {error.strerror}")
        else:
            return True
        self._to_equip.discard(space)
        space.busy = False
        space.tell_settled()
        return False

    def _equipping(self, process: Process, stopping: Stopping) -> Waiting[None]:
        space = process.space
        assert space.memory is not None
        try:
            made = yield from inject(stopping, process.tgid, space.memory, uffd=space.uffd is None)
        finally:
            yield from stopping.leave()
            self._reap(stopping)
        if made.missing:
            self.log(f"{process.tgid}: its memory cannot migrate: {made.missing}")
        if made.uffd is not None:
            uffd = Userfaultfd(made.uffd)
            forks = uffd.enable_all()
            space.watch_with(uffd, abilities_of(kernel_faults=not made.user_mode_only, fork_events=forks))
            self.introduce(space, made.mailbox)
        if made.adviser is not None:
            space.equip(made.adviser, process.tgid)

    def _reap(self, stopping: Stopping) -> None:
        if not stopping.over():
            self._loop.call_at(self._loop.time() + _REAP, lambda: self._reap(stopping))

    # Address spaces.

    def introduce(self, space: AddressSpace, mailbox: int) -> None:
        """Leave a token in the client's mailbox page and serve its faults. OSError when it cannot be
        registered.
        """
        assert space.uffd is not None
        space.uffd.register(mailbox, mailbox + PAGE_SIZE, Mode.MISSING)
        self._mailboxes[space] = Mailbox(mailbox)
        try:
            self._mark(space)
        except (OSError, StuckError):
            del self._mailboxes[space]  # no process has its token
            raise
        self.ready(space)

    def _mark(self, space: AddressSpace) -> None:
        uffd, inbox, mailbox = space.uffd, space.inbox, self._mailboxes[space]
        assert uffd is not None
        assert inbox is not None
        inbox.insist(lambda: uffd.copy(mailbox.address, mailbox.page))

    def ready(self, space: AddressSpace) -> None:
        assert space.inbox is not None
        self._inattentive(space)
        self._unsettled.pop(space, None)
        if space.alive:
            self._loop.watch(space.inbox.fd, Order.MEMORY, space.inbox.read)

    def unsettled(self, tid: int) -> AddressSpace | None:
        """The memory of a thread, if pages are on their way out of it: its calls have to wait."""
        if not self._unsettled and not self._to_equip:
            return None
        process = self.of(tid)
        space = process.space if process is not None else None
        return space if space in self._unsettled or space in self._to_equip else None

    def attend(self, space: AddressSpace, pause: Pause) -> None:
        self._inattentive(space)
        assert space.inbox is not None
        assert space.zapper is not None
        self._unsettled[space] = self._unsettled.get(space, 0) + 1
        if pause is Pause.EVENT:
            self._unsettled[space] = 0
            self._loop.watch(space.inbox.fd, Order.MEMORY, space.go_on)
            self._loop.watch(space.zapper.fd, Order.MEMORY, space.go_on)
        else:
            self._loop.call_at(self._loop.time() + _pause(self._unsettled[space]), space.go_on)

    def _inattentive(self, space: AddressSpace) -> None:
        assert space.inbox is not None
        self._loop.forget(space.inbox.fd)
        if space.zapper is not None:
            self._loop.forget(space.zapper.fd)

    def later(self, callback: Callable[[], object], seconds: float = 0) -> None:
        if seconds:
            self._loop.call_at(self._loop.time() + seconds, callback)
        else:
            self._loop.call_soon(callback)

    def forked(self, parent: AddressSpace, uffd: Userfaultfd) -> AddressSpace:
        child = AddressSpace(self, f"child of {parent.name}", uffd, parent.abilities)
        self._unbound.add(child)
        self._mailboxes[child] = Mailbox(self._mailboxes[parent].address)
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_at(self._loop.time() + _SWEEP, self._sweep)
        return child

    def mark(self, child: AddressSpace) -> None:
        try:
            self._mark(child)
        except (OSError, StuckError):
            child.died()

    def _sweep(self) -> None:
        """Find children that exited without an event: nothing else reports them as long as their process is unknown."""
        for space in list(self._unbound):
            assert space.uffd is not None
            mailbox = self._mailboxes.get(space)
            try:
                if mailbox is not None:
                    space.uffd.copy(mailbox.address, mailbox.page)
            except (FileExistsError, Busy):
                continue
            except OSError:
                space.died()
        self._sweeping = bool(self._unbound)
        if self._sweeping:
            self._loop.call_at(self._loop.time() + _SWEEP, self._sweep)

    def file_of(self, device: int, inode: int) -> File | None:
        return self._files.get(device, inode)

    def dirty(self, space: AddressSpace) -> None:
        self._dirty[space] = None

    def settle(self) -> None:
        """Between any two operations of the mock: tell the driver what happened to memory."""
        for space in self._spaces:
            space.doubt()
        while self._dirty:
            space, _ = self._dirty.popitem()
            try:
                space.digest()
            except Exception as error:
                # The failed event has left its inbox; others may wait for the rest.
                self.internal_error(f"changes of {space!r}", error)
                self._dirty[space] = None
            if not space.alive:
                self._bury(space)

    def _bury(self, space: AddressSpace) -> None:
        self._spaces.pop(space, None)
        self._unbound.discard(space)
        self._mailboxes.pop(space, None)
        self._unsettled.pop(space, None)
        if space.inbox is not None:
            self._inattentive(space)
        with contextlib.suppress(OSError):
            space.close()


def _pause(times: int) -> float:
    """Seconds until the next look."""
    return float(0.0005 * 2 ** min(times, 5))


def abilities_of(*, kernel_faults: bool, fork_events: bool) -> frozenset[str]:
    """Abilities of a space with a userfaultfd."""
    found = {Ability.USERFAULTFD}
    if kernel_faults:
        found.add(Ability.KERNEL_FAULTS)
    if fork_events:
        found.add(Ability.FORK_EVENTS)
    return frozenset(found)
