# SPDX-License-Identifier: MIT
"""Hostile batches against two GPUs: ``python -m tests.emulator.soak --seconds 600 --seed 1``.

Each round places a random program and runs it while the driver double answers faults (served, not served, late), and
invalidates, disables, deregisters and resets at random. Nothing may raise, every message must get its answer, no turn
may take long, checks may only report what this provokes, and a plain job must work at the end.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable

from gpu import Batch
from gpu.encoding import Command
from guest.emulator.hxg import Action
from guest.emulator.page_tables import NULL, PRESENT
from tests.emulator.driver import AE, LOCAL, RW, Driver, Vm, machine

BATCH, DATA = 0x10_0000, 0x20_0000
DATA_PAGES = 24
PROVOKED = {"no-memory", "two-owners", "page-table-written", "stale-owner", "asid-reused"}
LONGEST_TURN = 2.0
"""Seconds; a slice is 2 ms, the rest is for a busy machine."""


class Soak:
    """Two GPUs, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.drivers = machine(2)
        self.rounds = 0
        self.faults = 0
        self.longest = 0.0
        self._asid = 1
        self._vms = {id(driver): self._new_vm(driver) for driver in self.drivers}

    def round(self) -> None:
        """One random program with random events."""
        rng = self.random
        driver = rng.choice(self.drivers)
        if rng.random() < 0.1:
            self._vms[id(driver)] = self._new_vm(driver)
        vm = self._vms[id(driver)]
        queue = driver.queue(vm, rng.choice(["bcs0", "bcs8", "rcs0", "ccs0"])).register()
        program = rng.choice([self._noise, self._commands, self._jumps, self._damaged])
        self._place(driver, vm, program())
        queue.enable()
        queue.submit(BATCH + 4 * rng.choice([0, 0, 0, rng.randrange(64)]))
        for _ in range(rng.randrange(1, 12)):
            self._turns(driver, rng.randrange(1, 10))
            self._answer(driver)
            if rng.random() < 0.2:
                driver.invalidate(vm.asid, DATA, 1 << 20)
            if rng.random() < 0.1:
                queue.disable()
                queue.enable()
        if rng.random() < 0.02:
            driver.mailbox(Action.VF_RESET)
            driver.start()
        else:
            queue.disable()
            queue.deregister()
        self._answer(driver)
        driver.received.clear()
        self.rounds += 1

    def check(self) -> None:
        """Invariants."""
        for driver in self.drivers:
            wrong = [report for report in driver.checks.reports if report["check"] not in PROVOKED]
            assert not wrong, wrong
            vm = driver.vm(self._new_asid())
            page = driver.ram()
            vm.map(DATA, page)
            queue = driver.queue(vm).register().enable()
            queue.run(queue.place(Batch().store_dword(DATA, self.rounds).end(), BATCH))
            assert driver.ram_u32(page) == self.rounds
            queue.disable()
            queue.deregister()
        assert self.longest < LONGEST_TURN, f"a turn of {self.longest:.2f} s"

    def _new_asid(self) -> int:
        self._asid += 1
        return self._asid

    def _new_vm(self, driver: Driver) -> Vm:
        """An address space with pages of every kind, and holes."""
        rng = self.random
        vm = driver.vm(self._new_asid())
        window = next(other for other in self.drivers if other is not driver).gpu.vram_window()
        assert window is not None
        for index in range(DATA_PAGES):
            where = DATA + 4096 * index
            kind = rng.randrange(7)
            if kind == 0:
                vm.map(where, driver.ram(), flags=RW | AE)
            elif kind == 1:
                vm.map(where, driver.vram.take(4096), flags=RW | LOCAL | AE)
            elif kind == 2:
                vm.map(where, driver.ram(), flags=PRESENT)
            elif kind == 3:
                vm.map(where, 0, flags=RW | NULL)
            elif kind == 4:
                vm.map(where, window[0] + (200 << 20) + 4096 * index)
            elif kind == 5 and rng.random() < 0.1:
                vm.map(where, 1 << 40)
        return vm

    def _place(self, driver: Driver, vm: Vm, data: bytes) -> None:
        at = (
            driver.vram.take(1 << 14, 1 << 14)
            if BATCH not in self._batch_pages(vm)
            else self._batch_pages(vm)[BATCH]
        )
        self._batch_pages(vm)[BATCH] = at
        vm.map(BATCH, at, 1 << 14, RW | LOCAL)
        data = data[: 1 << 14]
        driver.gpu.vram.view[at : at + len(data)] = data

    def _batch_pages(self, vm: Vm) -> dict[int, int]:
        pages: dict[int, int] = vm.__dict__.setdefault("batches", {})
        return pages

    def _turns(self, driver: Driver, count: int) -> None:
        for _ in range(count):
            start = time.monotonic()
            driver.gpu.turn()
            self.longest = max(self.longest, time.monotonic() - start)
        driver.drain()

    def _answer(self, driver: Driver) -> None:
        rng = self.random
        while driver.has(Action.REPORT_PAGE_FAULT):
            self.faults += 1
            fault = driver.take(Action.REPORT_PAGE_FAULT)
            address = fault[2] & 0xFFFF_F000 | fault[3] << 32
            served = rng.random() < 0.7
            if served and address < 1 << 47 and rng.random() < 0.9:
                asid = fault[1] >> 12
                vm = self._vms[id(driver)]
                if vm.asid == asid and driver.guest.pages.next < 12 << 20 and driver.vram.next < 190 << 20:
                    if rng.random() < 0.5:
                        vm.map(address, driver.ram(), flags=RW | AE)
                    else:
                        vm.map(address, driver.vram.take(4096), flags=RW | AE | LOCAL)
            driver.answer_fault(fault, served)

    # Programs

    def _address(self) -> int:
        rng = self.random
        return rng.choice(
            [
                DATA + 4 * rng.randrange(DATA_PAGES * 1024),
                DATA + 4 * rng.randrange(DATA_PAGES * 1024),
                BATCH + 4 * rng.randrange(1024),
                rng.randrange(1 << 48) & ~7,
                rng.getrandbits(64) & ~7,
            ]
        )

    def _noise(self) -> bytes:
        return self.random.randbytes(4 * self.random.randrange(1, 2000))

    def _commands(self) -> bytes:
        """Real commands with random fields."""
        rng = self.random
        words: list[int] = []
        kinds = [kind for kind in Command.__subclasses__() if kind.lengths]
        for _ in range(rng.randrange(1, 60)):
            kind = rng.choice(kinds)
            count = rng.choice(list(kind.lengths)[:8])
            command = [kind.header | (count - 2 if kind.length_mask else 0)]
            values = [0, 1, 0xFFFF_FFFF, DATA, DATA + 4096, rng.getrandbits(32)]
            command += [rng.choice(values) for _ in range(count - 1)]
            if rng.random() < 0.3:
                command[0] |= rng.getrandbits(23) & ~kind.length_mask
            words += command
        return b"".join(word.to_bytes(4, "little") for word in words)

    def _jumps(self) -> bytes:
        """Jumps everywhere, calls in calls, loops without an end."""
        rng = self.random
        batch = Batch()
        for _ in range(rng.randrange(1, 100)):
            choice: Callable[[], Batch] = rng.choice(
                [
                    lambda: batch.chain(BATCH + 4 * rng.randrange(1024)),
                    lambda: batch.call(BATCH + 4 * rng.randrange(1024)),
                    lambda: batch.store_dword(self._address() & (1 << 48) - 4, rng.getrandbits(32)),
                    lambda: batch.semaphore_wait(DATA, rng.getrandbits(1)),
                    lambda: batch.end_unless(DATA, "==", rng.getrandbits(1)),
                    batch.arb_check,
                    batch.end,
                ]
            )
            choice()
        return batch.encode(BATCH)

    def _damaged(self) -> bytes:
        """A sane program with some bits turned over."""
        rng = self.random
        batch = Batch()
        for _ in range(rng.randrange(1, 30)):
            batch.store_dword(DATA + 4 * rng.randrange(8192), 1)
            batch.copy(
                DATA + 4096 * rng.randrange(8), DATA + 4096 * rng.randrange(8, 16), rng.randrange(1, 9000)
            )
            batch.fill(DATA + rng.randrange(8192), 3, rng.randrange(1, 1 << 24))
            batch.atomic(DATA + 8 * rng.randrange(100), rng.choice(["add", "cmpwr", "umax"]), 1)
        data = bytearray(batch.end().encode())
        for _ in range(rng.randrange(8)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data)


def main() -> int:
    """Run for a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    rounds = faults = 0
    longest = 0.0
    seed = options.seed
    while time.monotonic() < end:
        soak = Soak(seed)
        try:
            for _ in range(300):
                soak.round()
            soak.check()
        except BaseException:
            print(f"seed {seed}, round {soak.rounds}", file=sys.stderr)
            raise
        rounds, faults, longest = rounds + soak.rounds, faults + soak.faults, max(longest, soak.longest)
        seed += 1
    print(
        f"{rounds} programs, {faults} faults, seeds {options.seed} to {seed - 1}, longest turn {longest:.3f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
