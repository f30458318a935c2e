# SPDX-License-Identifier: MIT
"""Single parts of the transport: the loop, intervals, the order of events, the memory of the keeper."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mock.clients import Clients
from mock.files import Files
from mock.kernel import Change
from mock.linux.ptrace import Stopping
from mock.linux.userfaultfd import Busy, Kind, Message, Userfaultfd
from mock.loop import EventLoop, Order
from mock.memory.inbox import Forked, Inbox, Moved, Removed, StuckError, Unmapped
from mock.memory.intervals import Intervals
from mock.memory.mailbox import Mailbox
from mock.memory.space import AddressSpace
from mock.unanswered import Unanswered
from tests.mock.transport.harness import fork, wait_until

PAGE = 4096


@pytest.fixture
def loop() -> EventLoop:
    failures: list[tuple[str, BaseException]] = []
    made = EventLoop(lambda: None, lambda what, error: failures.append((what, error)))
    made.failures = failures  # type: ignore[attr-defined]
    return made


def test_loop_order(loop: EventLoop) -> None:
    """Descriptors ready at once are handled memory first, calls last; then one item of work."""
    done: list[object] = []
    ends = [os.pipe() for _ in Order]
    for order, (reader, writer) in reversed(list(zip(Order, ends, strict=True))):
        loop.watch(
            reader, order, lambda order=order, reader=reader: (done.append(order), loop.forget(reader))
        )  # type: ignore[misc]
        os.write(writer, b"x")
    loop.call_soon(lambda: done.append("work"))
    loop.call_soon(loop.stop)
    loop.run()
    assert done == [*Order, "work"]


def test_loop_timers(loop: EventLoop) -> None:
    """Timers fire in order of their time, cancelled ones not."""
    done: list[int] = []
    now = loop.time()
    loop.call_at(now + 0.02, loop.stop)
    loop.call_at(now + 0.01, lambda: done.append(2))
    loop.call_at(now, lambda: done.append(1))
    loop.call_at(now + 0.005, lambda: done.append(3)).cancel()
    loop.run()
    assert done == [1, 2]


def test_loop_survives_exceptions(loop: EventLoop) -> None:
    """A callback that raises is reported, the rest continues."""

    def bad() -> None:
        raise RuntimeError("bad")

    loop.call_soon(bad)
    loop.call_soon(loop.stop)
    loop.run()
    (failure,) = loop.failures  # type: ignore[attr-defined]
    assert "bad" in failure[0]


@pytest.mark.parametrize("when", ["stopped", "on its way"])
def test_traced_thread_that_is_killed_is_waited_for(when: str) -> None:
    """Its parent would wait endlessly: the tracer of a process has to be notified first."""
    pid = fork()
    if pid == 0:
        while True:
            os.getppid()
    stopping = Stopping(pid)
    if when == "stopped":
        stop = stopping.stop()
        wait_until(lambda: next(stop, "stopped") == "stopped")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: ") Z " in Path(f"/proc/{pid}/stat").read_text())
    for _ in stopping.leave():
        pass
    wait_until(stopping.over)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


class Marked:
    """A mailbox that every process has."""

    def marks(self, _: int) -> bool:
        return True


def test_process_that_ends_as_it_is_met_leaves_nothing(
    loop: EventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor, and no child of fork that is neither known nor waited for."""

    def descriptors() -> set[str]:
        return {str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.exists()}

    clients = Clients(loop, Files(loop), str, loop.failures.append)  # type: ignore[attr-defined,arg-type]
    child = AddressSpace(clients, "child", None, frozenset())
    clients._mailboxes[child] = Marked()  # type: ignore[assignment]
    clients._unbound.add(child)
    before = descriptors()
    with monkeypatch.context() as patched:
        patched.setattr("mock.linux.procfs.Pagemap", ends)
        with pytest.raises(ProcessLookupError):
            clients._space_of(os.getpid())
    assert descriptors() == before
    assert child in clients._unbound
    assert child.alive
    space = clients._space_of(os.getpid())
    assert space is child
    with monkeypatch.context() as patched:
        patched.setattr("os.pidfd_open", ends)
        with pytest.raises(ProcessLookupError):
            clients.enter(os.getpid(), space)
    assert not space.alive
    clients.settle()
    assert descriptors() == before


def ends(_: int) -> None:
    raise ProcessLookupError


class Forking(Userfaultfd):
    """Userfaultfd of a client that forks, and whose child forks before the mock has left a token in it."""

    def __init__(self, generations: int) -> None:
        self.fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.generations = generations
        self.copied: list[int] = []

    def read(self, most: int) -> list[Message]:
        if not self.generations:
            return []
        self.generations -= 1
        return [Message(Kind.FORK, -1, 0, 0)]

    def copy(self, address: int, data: bytes) -> None:
        if self.generations:
            raise Busy
        self.copied.append(address)

    def close(self) -> None:
        os.close(self.fd)


def test_child_forks_before_it_is_marked(loop: EventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own child is recognised by a token in the same place, and has the same pages in the GPU's memory."""
    clients = Clients(loop, Files(loop), str, loop.failures.append)  # type: ignore[attr-defined,arg-type]
    made = [Forking(1), Forking(1), Forking(0)]
    parent = AddressSpace(clients, "parent", made[0], frozenset())
    clients._mailboxes[parent] = Mailbox(5 * PAGE)
    assert parent.inbox is not None
    parent.inbox.places.add(PAGE, 3 * PAGE)
    following = iter(made[1:])
    monkeypatch.setattr("mock.memory.inbox.Userfaultfd", lambda _: next(following))
    parent.inbox.read()
    (child,) = parent.children
    (grandchild,) = child.children
    for space in (child, grandchild):
        assert space.alive
        assert space.inbox is not None
        assert [space.inbox.places.overlaps(page * PAGE, (page + 1) * PAGE) for page in range(4)] == [
            False, True, True, False,
        ]  # fmt: skip
    assert [uffd.copied for uffd in made] == [[], [5 * PAGE], [5 * PAGE]]
    assert len({clients._mailboxes[space].token for space in (parent, child, grandchild)}) == 3
    for uffd in made:
        uffd.close()


def test_intervals() -> None:
    """Adding and removing splits and covers as a set of numbers would."""
    intervals, model = Intervals(), set()
    for index in range(400):
        start, length = index * 37 % 90, index * 11 % 17 + 1
        numbers = set(range(start, start + length))
        if index % 3:
            intervals.add(start, start + length)
            model |= numbers
        else:
            intervals.remove(start, start + length)
            model -= numbers
        for at in range(0, 110, 7):
            assert intervals.overlaps(at, at + 3) == bool(model & {at, at + 1, at + 2})
    copy = intervals.copy()
    intervals.remove(0, 200)
    assert not intervals.overlaps(0, 200)
    assert copy.overlaps(0, 200)


class Script:
    """A userfaultfd whose messages the test writes."""

    fd = -1

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def read(self, most: int = 64) -> list[Message]:
        messages, self.messages = self.messages, []
        return messages


def inbox(*messages: Message, places: tuple[tuple[int, int], ...] = ()) -> Inbox:
    """An inbox that has read these messages."""
    script: Any = Script()
    made = Inbox(script, lambda: None, lambda _: None)
    for start, end in places:
        made.places.add(start, end)
    script.messages = list(messages)
    made.read()
    return made


def unmap(start: int, end: int) -> Message:
    return Message(Kind.UNMAP, start * PAGE, end * PAGE, 0)


def remove(start: int, end: int) -> Message:
    return Message(Kind.REMOVE, start * PAGE, end * PAGE, 0)


def remap(old: int, new: int, length: int) -> Message:
    return Message(Kind.REMAP, old * PAGE, new * PAGE, length * PAGE)


def told(box: Inbox) -> list[str]:
    """Events, in pages."""
    names = {Unmapped: "unmap", Removed: "remove", Moved: "move"}
    lines = []
    for happening in box.happenings:
        assert not isinstance(happening, Forked)
        line = f"{names[type(happening)]} {happening.start // PAGE}-{happening.end // PAGE}"
        lines.append(line + (f" to {happening.new // PAGE}" if isinstance(happening, Moved) else ""))
    return lines


def test_move_includes_its_unmapping() -> None:
    """The two events of one mremap are reported as one, whatever comes between them."""
    box = inbox(
        remap(10, 20, 4), remap(40, 10, 4), unmap(40, 44), unmap(10, 14), places=((10 * PAGE, 14 * PAGE),)
    )
    assert told(box) == ["move 10-14 to 20", "unmap 10-14", "move 40-44 to 10", "unmap 40-44"]


def test_move_to_a_place_not_yet_left() -> None:
    """A move to a place whose unmapping has not been reported waits for the report."""
    box = inbox(
        remap(40, 10, 4), unmap(40, 44), unmap(8, 20), places=((8 * PAGE, 20 * PAGE), (40 * PAGE, 44 * PAGE))
    )
    assert told(box) == ["unmap 8-20", "move 40-44 to 10", "unmap 40-44"]


def test_moves_in_a_ring() -> None:
    """Moves that wait for each other are reported in the order that is possible."""
    places = ((10 * PAGE, 14 * PAGE), (40 * PAGE, 44 * PAGE))
    box = inbox(remap(60, 40, 4), remap(40, 10, 4), unmap(40, 44), remap(10, 90, 4), places=places)
    assert told(box) == [
        "move 10-14 to 90",
        "unmap 10-14",
        "move 40-44 to 10",
        "unmap 40-44",
        "move 60-64 to 40",
        "unmap 60-64",
    ]
    assert not box.holding


def test_places_that_were_left_unseen() -> None:
    """Waiting moves are reported when no further event can come."""
    box = inbox(remap(40, 10, 4), places=((10 * PAGE, 14 * PAGE),))
    assert (told(box), box.holding) == ([], True)
    box.release_all()
    assert (told(box), box.holding) == (["move 40-44 to 10", "unmap 40-44"], False)


def test_move_that_leaves_the_old_mapping() -> None:
    """MREMAP_DONTUNMAP leaves the old place mapped: an unmapping that follows is the client's own."""
    box = inbox(places=((10 * PAGE, 14 * PAGE),))
    box.stays(10 * PAGE)
    box._uffd.messages = [remap(10, 20, 4), unmap(10, 14)]  # type: ignore[attr-defined]
    box.read()
    assert told(box) == ["move 10-14 to 20", "unmap 10-14"]
    assert box._trailing == []


def test_own_removal_is_taken_out() -> None:
    """Among the removals seen during a zap, its own are found: contiguous, the longest, the latest of equal ones."""
    box = inbox()
    box.expect_removes()
    box._uffd.messages = [remove(0, 2), remove(5, 9), remove(0, 8), remove(8, 16), remove(8, 16)]  # type: ignore[attr-defined]
    box.read()
    assert box.settle_removes(0, 16 * PAGE)
    assert told(box) == ["remove 0-2", "remove 5-9", "remove 8-16"]
    box.expect_removes()
    assert not box.settle_removes(0, 4 * PAGE)


def test_follow() -> None:
    """A page is followed through moves in order, until it is removed."""
    box = inbox(remap(10, 20, 4), remap(20, 30, 2), unmap(32, 33), remap(22, 50, 2), unmap(51, 52))
    places = {page: box.follow(page * PAGE) for page in (10, 11, 12, 13, 14, 32)}
    assert {page: now and now // PAGE for page, now in places.items()} == {
        10: 30, 11: 31, 12: 50, 13: None, 14: 14, 32: None,
    }  # fmt: skip
    assert set(box.unsettled(0, 100 * PAGE)) >= {page * PAGE for page in (10, 20, 30, 51)}


def test_insist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused operation is repeated until it succeeds, or its time is over."""
    left = [3]

    def refused() -> str:
        if left[0]:
            left[0] -= 1
            raise Busy
        return "done"

    assert inbox().insist(refused) == "done"
    monkeypatch.setattr("mock.memory.inbox.PATIENCE", 0.01)
    left[0] = 1 << 60
    with pytest.raises(StuckError):
        inbox().insist(refused)


class Family:
    """The mock around an address space whose children have all ended by the time that it is notified."""

    def forked(self, parent: AddressSpace, uffd: Userfaultfd) -> AddressSpace:
        child = AddressSpace(self, "child", uffd, frozenset())  # type: ignore[arg-type]
        child.died()
        return child

    def mark(self, child: AddressSpace) -> None:
        """Does nothing: it has ended."""

    def dirty(self, space: AddressSpace) -> None:
        """Does nothing: the test digests."""


class Told:
    """A notifier that keeps the events that it got."""

    def __init__(self) -> None:
        self.changes: list[tuple[int, int, Change]] = []

    def invalidated(self, mm: Any, start: int, end: int, change: Change) -> None:
        self.changes.append((start, end, change))


def test_fork_of_a_child_that_has_ended() -> None:
    """The pages of the parent became copy-on-write anyway, and the driver is notified."""
    script: Any = Script()
    space, told = AddressSpace(Family(), "parent", script, frozenset()), Told()  # type: ignore[arg-type]
    space.register(told)  # type: ignore[arg-type]
    space._watches[PAGE, 3 * PAGE] = 1
    script.messages = [Message(Kind.FORK, os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), 0, 0)]
    assert space.inbox is not None
    space.inbox.read()
    space.digest()
    assert told.changes == [(PAGE, 3 * PAGE, Change.FORK)]


def test_unanswered() -> None:
    """The current call and sleeping ones are remembered, also across fork, and forgotten when answered."""
    calls = Unanswered()
    calls.begin(5)
    calls.sleep(5)
    calls.begin(6)
    calls.sleep(6)
    calls.begin(7)
    calls.wake(5)
    pid = os.fork()
    if pid == 0:
        calls.wake(6)
        calls.begin(8)
        os._exit(0)
    os.waitpid(pid, 0)
    assert set(calls) == {8}
    many: Callable[[int], None] = calls.sleep
    for ident in range(100, 2000):
        many(ident)
    assert 500 < len(set(calls)) <= 512
