# SPDX-License-Identifier: MIT
"""The GuC: the meaning of each message of the driver, and the reply.

Source: drivers/gpu/drm/xe/xe_guc_submit.c (contexts), xe_guc_tlb_inval.c (invalidations), xe_guc_relay.c,
xe_guc_ct.c:process_g2h_msg (lengths of what the driver takes). Requests get one reply with their fence, fast requests
and events none; a driver that gets an unsolicited one resets the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial

from guest.emulator import engines, hxg, relay
from guest.emulator.adversary import Adversary, Agenda
from guest.emulator.adversary import Failure as Ordered
from guest.emulator.adversary import Kind as Late
from guest.emulator.checks import Checks
from guest.emulator.ctb import Transport
from guest.emulator.engines import Engine
from guest.emulator.ggtt import GlobalTable
from guest.emulator.hxg import Action, Failure, Type
from guest.emulator.kinds import Kind
from guest.emulator.memirq import Interrupts
from guest.emulator.parallel import WorkQueue
from guest.emulator.scheduler import Scheduler
from guest.emulator.tlb import TranslationCache
from guest.emulator.trace import Trace

LENGTHS: dict[int, range] = {
    Action.REGISTER_CONTEXT: range(12, 13),
    Action.REGISTER_CONTEXT_MULTI_LRC: range(15, 32),
    Action.DEREGISTER_CONTEXT: range(2, 3),
    Action.SCHED_CONTEXT: range(2, 3),
    Action.SCHED_CONTEXT_MODE_SET: range(3, 4),
    Action.SET_CONTEXT_PRIORITY: range(3, 4),
    Action.SET_CONTEXT_EXECUTION_QUANTUM: range(3, 4),
    Action.SET_CONTEXT_PREEMPTION_TIMEOUT: range(3, 4),
    Action.UPDATE_CONTEXT_POLICIES: range(2, 13),
    Action.UPDATE_SCHEDULING_POLICIES: range(2, 64),
    Action.OPT_IN_FEATURE: range(4, 5),
    Action.RELAY_TO_PF: range(3, 64),
    Action.PAGE_FAULT_RESPONSE: range(3, 4),
    Action.TLB_INVALIDATION: range(3, 8),
    Action.TLB_INVALIDATION_ALL: range(3, 4),
}
"""Dwords of each message, with its header."""

REPLIED = {Action.UPDATE_SCHEDULING_POLICIES, Action.OPT_IN_FEATURE, Action.RELAY_TO_PF}

CONFIGURE_STATUS, CONFIGURE_SOURCE = 0x0900, 0x0901
CONFIGURE_H2G = {0x0902: 0, 0x0903: 1, 0x0904: 2}
CONFIGURE_G2H = {0x0905: 0, 0x0906: 1, 0x0907: 2}

INVALIDATE_FULL, INVALIDATE_PAGES, INVALIDATE_CONTEXT_PAGES, INVALIDATE_GLOBAL = range(4)
NO_ANSWER = 0xFFFF_FFFF
"""Sequence number of an invalidation that is not waited for (TLB_INVALIDATION_SEQNO_INVALID)."""
SEQNOS = 0x10_0000
"""Sequence numbers before they begin again at 1 (TLB_INVALIDATION_SEQNO_MAX, which itself asks for no answer)."""
INVALIDATE_LITE, INVALIDATE_FLUSHES = 1 << 8, 1 << 31
"""The mode that takes translations back and does not wait for accesses under way; the bit that flushes caches."""
PAGE = 4096
_NEVER_LONG = (4 << 20, 8 << 20)
"""Lengths that the interface does not have (xe_guc_tlb_inval.c:normalize_invalidation_range)."""


class Guc:
    """One microcontroller, serving one driver."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        *,
        ggtt: GlobalTable,
        transport: Transport,
        interrupts: Interrupts,
        scheduler: Scheduler,
        cache: TranslationCache,
        checks: Checks,
        trace: Trace,
        agenda: Agenda,
        adversary: Adversary,
    ) -> None:
        self._name = name
        self._kind = kind
        self._ggtt = ggtt
        self._transport = transport
        self._interrupts = interrupts
        self._scheduler = scheduler
        self._cache = cache
        self._checks = checks
        self._trace = trace
        self._agenda = agenda
        self._adversary = adversary
        self._last_seqno: int | None = None
        self._handlers: dict[int, Callable[[Sequence[int]], None]] = {
            Action.REGISTER_CONTEXT: self._register_context,
            Action.REGISTER_CONTEXT_MULTI_LRC: self._register_parallel,
            Action.DEREGISTER_CONTEXT: self._deregister_context,
            Action.SCHED_CONTEXT: self._sched_context,
            Action.SCHED_CONTEXT_MODE_SET: self._mode_set,
            Action.PAGE_FAULT_RESPONSE: self._page_fault_response,
            Action.TLB_INVALIDATION: self._invalidate,
            Action.TLB_INVALIDATION_ALL: self._invalidate_all,
            Action.UPDATE_CONTEXT_POLICIES: self._update_policies,
        }

    # Requests from the mailbox.

    def reset(self) -> None:
        """VF_RESET: no contexts, no transport, no interrupts, nothing cached."""
        self._transport.enable(False)
        self._interrupts.forget()
        self._agenda.clear()
        self._scheduler.reset()
        self._cache.invalidate_all()
        self._last_seqno = None  # a driver that comes back continues where it was

    def configure(self, key: int, length: int, value: int) -> bool:
        """SELF_CFG."""
        del length
        transport = self._transport
        if key == CONFIGURE_STATUS:
            self._interrupts.status = value
        elif key == CONFIGURE_SOURCE:
            self._interrupts.source = value
        elif key in CONFIGURE_H2G:
            transport.h2g = _replaced(transport.h2g, CONFIGURE_H2G[key], value)
        elif key in CONFIGURE_G2H:
            transport.g2h = _replaced(transport.g2h, CONFIGURE_G2H[key], value)
        else:
            return False
        return True

    # Requests from the transport.

    def turn(self) -> bool:
        """Handle the messages that are waiting; whether there were any."""
        self._transport.flush()
        worked = False
        while (received := self._transport.receive()) is not None:
            worked = True
            fence, message = received
            if message:
                self._handle(fence, message)
            else:
                self._checks.report("message-length", self._name, "a message with no content", fence=fence)
        return worked

    def send(self, message: Sequence[int]) -> None:
        """Send the driver an unsolicited message."""
        if self._trace.guc:
            self._show("g2h", message)
        self._transport.send(0, message)

    def _reply(self, fence: int, message: Sequence[int]) -> None:
        if self._trace.guc:
            self._show(f"g2h reply {fence}", message)
        self._transport.send(fence, message)

    def _show(self, what: str, message: Sequence[int]) -> None:
        name = hxg.name_of(message[0])
        shown = " ".join(f"{word:x}" for word in message)
        self._trace.line(self._name, "guc", f"{what} {name} [{shown}]")

    def _handle(self, fence: int, message: Sequence[int]) -> None:
        if self._trace.guc:
            self._show(f"h2g {fence}", message)
        action, kind = hxg.action_of(message[0]), hxg.type_of(message[0])
        error: Failure | None = None
        if message[0] & hxg.FROM_GUC or kind not in (Type.REQUEST, Type.EVENT, Type.FAST_REQUEST):
            self._checks.report(
                "message-unknown", self._name, "a message that is not a request", header=message[0]
            )
            return
        if (lengths := LENGTHS.get(action)) is None:
            self._checks.report("message-unknown", self._name, action=action)
            error = Failure.UNKNOWN_ACTION
        elif len(message) not in lengths:
            self._checks.report("message-length", self._name, action=action, length=len(message))
            error = Failure.INVALID_SIZE
        elif (kind == Type.REQUEST) != (action in REPLIED):
            self._checks.report("message-order", self._name, "a request of the wrong type", header=message[0])
        if error is not None:
            if kind == Type.REQUEST:
                self._reply(fence, [hxg.failure(error)])
            return
        if kind == Type.REQUEST:
            self._request(fence, action, message)
        elif (handler := self._handlers.get(action)) is not None:
            handler(message)

    def _request(self, fence: int, action: int, message: Sequence[int]) -> None:
        if action == Action.RELAY_TO_PF:
            self._reply(fence, [hxg.success()])
            self.send(
                [
                    hxg.event(Action.RELAY_FROM_PF),
                    message[1],
                    *relay.answer(message[2:], self._kind.registers),
                ]
            )
        elif action == Action.UPDATE_SCHEDULING_POLICIES:
            self._reply(fence, [hxg.success(1)])
        elif action == Action.OPT_IN_FEATURE:
            self._reply(fence, [hxg.success()])
        else:  # a request for what is normally sent without waiting
            if (handler := self._handlers.get(action)) is not None:
                handler(message)
            self._reply(fence, [hxg.success()])

    def _register_context(self, message: Sequence[int]) -> None:
        _, _, context, guc_class, submit_mask, _, _, _, _, _, low, high = message
        if chosen := self._engines(guc_class, submit_mask, 1):
            self._scheduler.register(context, [(chosen[0], low | high << 32)])

    def _register_parallel(self, message: Sequence[int]) -> None:
        context, guc_class, submit_mask = message[2:5]
        descriptor, base = message[5] | message[6] << 32, message[7] | message[8] << 32
        size, width, descriptors = message[9], message[10], message[11:]
        if len(descriptors) != 2 * width or width < 2 or not 0 < size <= PAGE:
            self._checks.report(
                "message-length",
                self._name,
                action=Action.REGISTER_CONTEXT_MULTI_LRC,
                length=len(message),
                width=width,
            )
            return
        if chosen := self._engines(guc_class, submit_mask, width):
            pairs = zip(descriptors[::2], descriptors[1::2], strict=True)
            members = [(engine, low | high << 32) for engine, (low, high) in zip(chosen, pairs, strict=True)]
            self._scheduler.register(context, members, WorkQueue(self._ggtt, descriptor, base, size))

    def _engines(self, guc_class: int, submit_mask: int, width: int) -> list[Engine]:
        chosen = engines.find(self._kind.engines, guc_class, submit_mask, width)
        if not chosen:
            self._checks.report(
                "message-unknown",
                self._name,
                "a context for an engine that this GPU does not have",
                guc_class=guc_class,
                submit_mask=submit_mask,
            )
        return chosen

    def _deregister_context(self, message: Sequence[int]) -> None:
        identity = message[1]

        def act() -> None:
            self._scheduler.deregister(identity)
            self.send([hxg.event(Action.DEREGISTER_CONTEXT_DONE), identity])

        self._later(Late.CONTEXT, identity, act)

    def _sched_context(self, message: Sequence[int]) -> None:
        self._agenda.put(message[1], 0.0, lambda: self._scheduler.submit(message[1]))

    def _mode_set(self, message: Sequence[int]) -> None:
        context, enable = message[1], message[2]

        def act() -> None:
            if enable:
                self._scheduler.enable(context)
            else:
                self._scheduler.disable(context)
            self.send([hxg.event(Action.SCHED_CONTEXT_MODE_DONE), context, int(enable != 0)])

        self._later(Late.CONTEXT, context, act)

    def _later(self, kind: Late, line: Hashable, act: Callable[[], None]) -> None:
        """Execute and acknowledge something, perhaps delayed, after all pending work of the same line."""
        self._agenda.put(line, self._adversary.delay(kind, self._name), act)

    def _update_policies(self, message: Sequence[int]) -> None:
        if not self._scheduler.knows(message[1]):
            self._checks.report(
                "message-order",
                self._name,
                "policies for a context that is not registered",
                context=message[1],
            )

    def _page_fault_response(self, message: Sequence[int]) -> None:
        self._scheduler.fault_answered(message[1], message[2])

    def _invalidate(self, message: Sequence[int]) -> None:
        seqno, operation = message[1], message[2]
        self._check_invalidation(seqno, operation)
        kind = operation & 0xFF
        drop: Callable[[], int] = int
        if kind == INVALIDATE_FULL:
            drop = self._cache.invalidate_all
        elif kind in (INVALIDATE_PAGES, INVALIDATE_CONTEXT_PAGES):
            if len(message) != 7:
                self._checks.report(
                    "message-length", self._name, action=Action.TLB_INVALIDATION, length=len(message)
                )
                return
            drop = self._invalidate_pages(kind, *message[3:])
        elif kind != INVALIDATE_GLOBAL:  # GGTT entries are not cached here
            self._checks.report("message-unknown", self._name, "an unknown kind of invalidation", kind=kind)
        self._invalidate_later(message, drop)

    def _invalidate_later(self, message: Sequence[int], drop: Callable[[], int]) -> None:
        """Drop translations and acknowledge; the GPU uses them until then."""
        of_pages = message[2] & 0xFF in (INVALIDATE_PAGES, INVALIDATE_CONTEXT_PAGES)

        def act() -> None:
            # Contexts run between messages, never during one: no access is under way with what is dropped.
            dropped = drop()
            if self._trace.tlb:
                shown = ", ".join(map(hex, message[1:]))
                self._trace.line(self._name, "tlb", f"invalidated {dropped} ({shown})")
            if message[1] == NO_ANSWER:
                return
            if not (of_pages and self._adversary.fails(Ordered.FLUSH_UNANSWERED, self._name)):
                self.send([hxg.event(Action.TLB_INVALIDATION_DONE), message[1]])

        self._later(Late.FLUSH, Late.FLUSH, act)

    def _check_invalidation(self, seqno: int, operation: int) -> None:
        """Numbers go up, as answers come in order; an invalidation with a waiter is complete when it is done."""
        if seqno in (NO_ANSWER, SEQNOS):
            return
        last = self._last_seqno
        goes_up = last is None or 0 < (seqno - last) % SEQNOS < SEQNOS // 2
        if not (0 < seqno < SEQNOS and goes_up):
            self._checks.report("invalidation-seqno", self._name, seqno=seqno, last=str(last))
        self._last_seqno = seqno
        if operation & INVALIDATE_LITE or not operation & INVALIDATE_FLUSHES:
            self._checks.report("invalidation-mode", self._name, operation=operation)

    def _invalidate_pages(
        self, kind: int, who: int, low: int, high: int, log_pages: int
    ) -> Callable[[], int]:
        """The request that drops the pages."""
        address = low | high << 32
        length = PAGE << min(log_pages, 52)
        if address % length:
            self._checks.report("invalidation-range", self._name, address=address, length=length)
        if length in _NEVER_LONG:
            self._checks.report("invalidation-length", self._name, address=address, length=length)
        asid: int | None = who
        if kind == INVALIDATE_CONTEXT_PAGES:
            asid = self._scheduler.asid_of(who)
        if asid is None:
            return int
        start = address & ~(length - 1)
        mask = (1 << 48) - 1  # addresses come canonical
        return partial(self._cache.invalidate, asid, start & mask, (start & mask) + length)

    def _invalidate_all(self, message: Sequence[int]) -> None:
        self._check_invalidation(message[1], message[2])
        self._invalidate_later(message, self._cache.invalidate_all)


def _replaced(values: tuple[int, int, int], index: int, value: int) -> tuple[int, int, int]:
    changed = list(values)
    changed[index] = value
    return changed[0], changed[1], changed[2]
