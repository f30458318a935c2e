# SPDX-License-Identifier: MIT
"""The mock process: everything wired together, from the handover to the end of the last client."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from mock.clients import Clients, abilities_of
from mock.defects import find as find_defect
from mock.files import Files
from mock.gate import Gate
from mock.handover import Channel, HandoverError
from mock.kernel import Driver, EventFile, File
from mock.linux import pidfd
from mock.linux.adviser import Adviser
from mock.linux.seccomp import Listener
from mock.linux.userfaultfd import Userfaultfd
from mock.loop import EventLoop, Order
from mock.memory.space import AddressSpace
from mock.probe import fork_events
from mock.unanswered import Unanswered
from mock.virtual import VirtualFiles

DRIVER = "mock.driver.driver:Driver"
"""The driver, as module:class."""

_MAX_ERRORS = 100
"""Number of internal errors that are shown; later ones are usually consequences."""


class Server:
    """One mock. Implements kernel.Services."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._errors = 0
        self._loop = EventLoop(self._settle, self.internal_error)
        self.files = Files(self._loop)
        self.clients = Clients(self._loop, self.files, self.log, self.internal_error)
        self.driver: Driver | None = None
        self.virtual: VirtualFiles | None = None

    # kernel.Services.

    @property
    def loop(self) -> EventLoop:
        return self._loop

    def create_file(self, name: str, released: Callable[[], None]) -> File:
        del name
        return self.files.create(released)

    def create_event_file(self, released: Callable[[], None]) -> EventFile:
        return self.files.create_event(released)

    def log(self, message: str) -> None:
        if self._verbose:
            print(f"mock: {message}", file=sys.stderr, flush=True)

    def internal_error(self, what: str, error: BaseException) -> None:
        self._errors += 1
        if self._errors <= _MAX_ERRORS:
            text = "".join(traceback.format_exception(error))
            print(f"mock: internal error: {what}\n{text}", file=sys.stderr, flush=True)

    def _settle(self) -> None:
        self.files.settle()
        if self.virtual is not None:
            self.virtual.take_in()
        self.clients.settle()

    # Lifecycle.

    def load(self, driver: str, platform: str, level: str, defect: str | None) -> Driver:
        """Create the driver, with a defect if one was requested. Raises HandoverError or ValueError with the reason."""
        module, name = driver.split(":")
        if defect is not None:
            find_defect(defect)()
        try:
            made: Driver = getattr(importlib.import_module(module), name)(platform, level, self)
        except ValueError as error:
            raise HandoverError(str(error)) from error
        self.driver = made
        self.virtual = VirtualFiles(made, self.log)
        return made

    def serve(self, channel: Channel, unanswered: Unanswered, keep: Callable[[int], None]) -> None:
        """Take a client over, then serve it and its descendants until the last has ended. ``keep`` is called
        with the listener when there is one. Raises HandoverError.
        """
        driver, virtual = self.driver, self.virtual
        assert driver is not None
        assert virtual is not None
        gate = Gate(driver, self.clients, self.files, virtual, self._loop, unanswered, self.internal_error)
        try:
            channel.send({"pid": os.getpid(), "nodes": list(driver.nodes())})
            hello, fds = channel.receive()
            space, reductions = self._take_over(hello, fds)
            self.clients.enter(hello["pid"], space).recruited = True
            channel.send({"reductions": reductions, "abilities": sorted(space.abilities)})
            _, (listener_fd,) = channel.receive()
            keep(listener_fd)
            listener = Listener(listener_fd)
            gate.serve(listener)
            self._loop.watch(listener.fd, Order.CALLS, lambda: self._call(gate, listener))
            channel.send({})
            # Imported modules are never freed: the garbage collector need not scan them in the middle of a test.
            gc.collect()
            gc.freeze()
            self._loop.run()
        finally:
            gate.close()

    def _call(self, gate: Gate, listener: Listener) -> None:
        if not gate.ready() and listener.hung_up():
            gate.abandon_all()
            self._loop.stop()

    def _take_over(self, hello: dict[str, Any], fds: list[int]) -> tuple[AddressSpace, list[str]]:
        """The client's address space, and the reductions that it has."""
        pid = int(hello["pid"])
        reductions: list[str] = []
        uffd = Userfaultfd(fds[0]) if fds else None
        abilities: frozenset[str] = frozenset()
        if uffd is not None:
            forks = uffd.enable_all()
            if not forks:
                reductions.append(str(fork_events(works=False)))
            abilities = abilities_of(kernel_faults=not hello["user_mode_only"], fork_events=forks)
        space = AddressSpace(self.clients, str(pid), uffd, abilities)
        try:
            space.bind(pid)
        except OSError as error:
            raise HandoverError(
                f"the client's memory cannot be accessed: {error.strerror} (ptrace scope, or a sandbox)"
            ) from error
        if uffd is not None:
            self.clients.introduce(space, hello["mailbox"])
            if hello["adviser"] is not None:
                reductions += self._take_adviser(space, pid, hello["adviser"])
        return space, reductions

    @staticmethod
    def _take_adviser(space: AddressSpace, pid: int, fd: int) -> list[str]:
        process = pidfd.open_(pid)
        try:
            space.equip(Adviser(pidfd.take(process, fd)), pid)
        except OSError as error:
            return [f"migration: the client's adviser cannot be taken over: {error.strerror} (pidfd_getfd)"]
        finally:
            os.close(process)
        return []
