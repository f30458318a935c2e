# SPDX-License-Identifier: MIT
"""One GT: a GuC with mailbox, transport and interrupts, the contexts of its engines, and their translation cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

from guest.emulator import klv
from guest.emulator.adversary import Adversary, Agenda
from guest.emulator.checks import Checks
from guest.emulator.context import Context, Surroundings
from guest.emulator.ctb import Transport
from guest.emulator.engines import Engine
from guest.emulator.ggtt import GlobalTable
from guest.emulator.guc import Guc
from guest.emulator.kinds import Kind
from guest.emulator.mailbox import Mailbox, Services
from guest.emulator.memirq import Interrupts
from guest.emulator.scheduler import Scheduler
from guest.emulator.space import Memory
from guest.emulator.trace import Trace

SWEEP_SECONDS = 0.5
"""Between two comparisons of cached translations with the page tables."""


class Gt:
    """A GT of one GPU; ``memory`` is its own (its cache is), ``ggtt`` shared by all GTs of the GPU."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        memory: Memory,
        ggtt: GlobalTable,
        checks: Checks,
        trace: Trace,
        adversary: Adversary,
        masters_bus: Callable[[], bool],
        occupied: bool,
    ) -> None:
        self.name = name
        self.cache = memory.cache
        self._checks = checks
        self.interrupts = Interrupts(ggtt, partial(trace.line, name, "guc") if trace.guc else None)
        show_command = partial(trace.line, name, "command") if trace.command else None
        self._surroundings = Surroundings(memory, ggtt, self.interrupts.engine, show_command)
        self.transport = Transport(name, ggtt, checks, self.interrupts.guc)
        self.agenda = Agenda(adversary.now)
        self.scheduler = Scheduler(
            name, self._make_context, self._send, checks, trace, adversary, masters_bus, occupied
        )
        self.guc = Guc(
            name,
            kind,
            ggtt=ggtt,
            transport=self.transport,
            interrupts=self.interrupts,
            scheduler=self.scheduler,
            cache=self.cache,
            checks=checks,
            trace=trace,
            agenda=self.agenda,
            adversary=adversary,
        )
        services = Services(self.guc.reset, self.guc.configure, self.transport.enable, ggtt.write)
        self.mailbox = Mailbox(name, klv.Provision(memory.vram.size, kind.version), services, trace)
        self._sweep_at = 0.0

    def ring(self) -> None:
        """The doorbell: there is a message in the mailbox, or in the transport."""
        self.mailbox.ring()
        self.guc.turn()

    def turn(self) -> float | None:
        """Do a little work. Returns the seconds until it should be called again; None: after a message."""
        self.guc.turn()
        due = self.agenda.turn()
        wanted = self.scheduler.turn()
        if wanted != 0.0:
            now = time.monotonic()
            if now >= self._sweep_at:
                self.cache.sweep(now)
                self._sweep_at = now + SWEEP_SECONDS
        return min((time for time in (wanted, due) if time is not None), default=None)

    def unmap(self, pages: Collection[int]) -> None:
        """Pages of the bus (numbers) are unmapped in an IOMMU. No translation of a VM with faults may lead there.

        The driver keeps the jobs of other VMs from running until it has invalidated: theirs are reported when used.
        """
        for asid, address in self.cache.unmap(pages):
            if self.scheduler.has_faults(asid):
                self._checks.report("translation-outlives-dma", self.name, asid=asid, page=address)

    def _make_context(self, identity: int, engine: Engine, descriptor: int) -> Context:
        return Context(identity, engine, descriptor, self._surroundings)

    def _send(self, message: Sequence[int]) -> None:
        self.guc.send(message)
