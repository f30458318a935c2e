# SPDX-License-Identifier: MIT
"""Binds in any order: after each of them every address maps what was bound there last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from fixtures import acts, behaviour, machine, needs, only_if_exercised
from fixtures.apart import deviations, exercised
from fixtures.given import MakeBo, MakeVm, Memory
from fixtures.sizes import SZ_64K
from fixtures.xe.device import Device

ARENA = 1 << 44
"""An address far from where the kernel maps anything by itself."""
SLOT = SZ_64K
"""Bytes of a slot: what is bound and unbound is whole slots, and a range is inside of one."""
SLOTS = 8
OBJECT = 4
"""Slots of a buffer object, and of the memory that user pointers lead to."""


class Slots(NamedTuple):
    """Some slots of the arena."""

    first: int
    length: int

    @property
    def all(self) -> range:
        return range(self.first, self.first + self.length)

    @property
    def size(self) -> str:
        return f"{self.length * SLOT:#x}"

    @property
    def address(self) -> str:
        return f"buffer.address + {self.first * SLOT:#x}"


class Place(NamedTuple):
    """Target of an address: a slot of the arena's own memory, of a BO or of other memory; or nothing."""

    what: str
    slot: int = 0


MIRROR, NULL = "buffer", "null"
SLOT_RANGES = st.integers(0, SLOTS - 1).flatmap(
    lambda first: st.builds(Slots, st.just(first), st.integers(1, SLOTS - first))
)
SMALL = st.builds(Slots, st.integers(0, SLOTS - 2), st.integers(1, 2))
OBJECTS = st.sampled_from(["first", "second"])
IN_OBJECT = st.integers(0, OBJECT - 2)


class Binding(machine.Machine):
    """The model: where each slot leads, which of the mirror hold ranges, and the word at the start of each place."""

    marks: ClassVar[str] = '@behaviour("bind.cam.rebind-over-active", "bind.array.atomic")\n@acts("ioctl")'

    def __init__(self, given: Mapping[str, Any], first_value: int) -> None:
        super().__init__(given, first_value)
        self.bound: dict[int, Place] = {}
        self.in_use: set[int] = set()
        self.left: set[int] = set()
        """Slots whose ranges are gone with their memory, which was replaced."""
        self.changed: set[int] = set()
        """Slots that were bound otherwise since the GPU was there last."""
        self.words: dict[Place, int] = {}
        device = given["device"]
        place = f", placement={1 << device.vram[0]:#x}" if device.vram else ""
        for line in (
            f"buffer = memory({SLOTS * SLOT:#x}, address={ARENA:#x})",
            f"other = memory({OBJECT * SLOT:#x}, align={SLOT:#x})",
            f"first, second = bo({OBJECT * SLOT:#x}), bo({OBJECT * SLOT:#x}{place})",
            "content = {'first': first.map(), 'second': second.map(), 'other': other, 'buffer': buffer}",
            "vm = make_vm(FAULTING)",
            "queue = vm.queue()",
        ):
            self.run(line)

    def word(self, place: Place) -> int:
        return 0 if place.what == NULL else self.words.get(place, 0)

    def busy(self, slots: Slots) -> bool:
        """Whether a bind that replaces these slots is refused: ranges of a mirror are there, in use or not."""
        return any(slot in self.in_use for slot in slots.all)

    def bind(self, line: str, slots: Slots, places: Mapping[int, Place]) -> None:
        """Run a bind that is not a mirror, and expect the right result."""
        if self.busy(slots):
            busy = "bind.cam.bo-over-active-busy" if places else "bind.cam.unmap-active-busy"
            if self.is_refused(line, busy):
                return
        else:
            self.run(line)
        edges = self.bound.get(slots.first - 1), self.bound.get(slots.first + slots.length)
        if places and all(place and place.what == MIRROR for place in edges):
            exercised("bind.cam.bo-inside")
        self.replace(slots, places)

    def is_refused(self, line: str, busy: str) -> bool:
        """Run a bind of a mirror that is in use, which this driver refuses, and another may carry out."""
        exercised(busy)
        inner = line.replace("\n", "\n    ")
        before = deviations()
        self.run(f"with driver_only({busy!r}), refused(errno.EBUSY):\n    {inner}")
        return deviations() == before

    def replace(self, slots: Slots, places: Mapping[int, Place]) -> None:
        self.changed |= set(slots.all)
        for slot in slots.all:
            self.bound.pop(slot, None)
            if places.get(slot) != Place(MIRROR, slot):
                self.in_use.discard(slot)
        self.bound |= places

    @rule(slots=SLOT_RANGES)
    def mirror(self, slots: Slots) -> None:
        # Over a mirror it is a larger mirror, whose ranges stay; and over anything else it takes its place.
        if self.busy(slots):
            exercised("bind.cam.rebind-over-active")
        if any(self.bound.get(slot, Place(MIRROR)).what in ("first", "second") for slot in slots.all):
            exercised("bind.cam.over-bo")
        self.run(f"vm.mirror({slots.address}, {slots.size})")
        self.replace(slots, {slot: Place(MIRROR, slot) for slot in slots.all})

    @rule(slots=SMALL, name=OBJECTS, start=IN_OBJECT)
    def map(self, slots: Slots, name: str, start: int) -> None:
        places = {slot: Place(name, start + slot - slots.first) for slot in slots.all}
        self.bind(
            f"vm.map({name}, {slots.address}, offset={start * SLOT:#x}, size={slots.size})", slots, places
        )

    @rule(slots=SMALL, start=IN_OBJECT)
    def map_userptr(self, slots: Slots, start: int) -> None:
        places = {slot: Place("other", start + slot - slots.first) for slot in slots.all}
        self.bind(
            f"vm.map_userptr({slots.address}, other.address + {start * SLOT:#x}, {slots.size})", slots, places
        )

    @rule(slots=SLOT_RANGES)
    def map_null(self, slots: Slots) -> None:
        self.bind(
            f"vm.bind_and_wait(addr={slots.address}, range={slots.size}, flags=xe.DRM_XE_VM_BIND_FLAG_NULL)",
            slots,
            {slot: Place(NULL) for slot in slots.all},
        )

    @rule(slots=SLOT_RANGES)
    def unmap(self, slots: Slots) -> None:
        what = {self.bound[slot].what for slot in slots.all if slot in self.bound}
        if not what:
            exercised("bind.unmap.nothing")
        elif not self.busy(slots):
            exercised("bind.unmap.munmap-semantics")
            if MIRROR in what:
                exercised("bind.cam.unmap-idle-ok")
            if self.left & set(slots.all):
                exercised("bind.cam.unmap-after-munmap")
        self.bind(f"vm.unmap({slots.address}, {slots.size})", slots, {})

    @rule(gone=SMALL, slots=SMALL, name=OBJECTS)
    def array(self, gone: Slots, slots: Slots, name: str) -> None:
        """Unbind some slots and bind a BO at some, as one call: all of it or nothing."""
        line = (
            f"fence = UserFence(vm.device)\n"
            f"vm.bind_array([\n"
            f"    vm.operation(xe.DRM_XE_VM_BIND_OP_UNMAP, addr={gone.address}, range={gone.size}),\n"
            f"    vm.operation(addr={slots.address}, range={slots.size}, obj={name}.handle),\n"
            f"], syncs=[fence.sync()])"
        )
        if self.busy(gone) or self.busy(slots):
            exercised("bind.array.atomic")
            first, rest = line.split("\n", 1)
            self.run(first)
            if self.is_refused(rest, "bind.cam.unmap-active-busy"):
                return
            self.run("fence.wait()")
        else:
            self.run(f"{line}\nfence.wait()")
        self.replace(gone, {})
        self.replace(slots, {slot: Place(name, slot - slots.first) for slot in slots.all})

    @rule(slots=SMALL)
    def replace_memory(self, slots: Slots) -> None:
        """New memory under the arena: ranges there are gone, and mirrors see its zeros."""
        self.run(f"buffer.remap_fresh({slots.first * SLOT:#x}, {slots.size})")
        for slot in slots.all:
            if slot in self.in_use:
                self.left.add(slot)
            self.in_use.discard(slot)
            self.words.pop(Place(MIRROR, slot), None)

    @rule(slot=st.integers(0, SLOTS - 1), last=st.booleans())
    def store(self, slot: int, last: bool) -> None:
        value, address = self.value(), f"buffer.address + {slot * SLOT:#x}"
        place = self.bound.get(slot)
        if place is None:
            exercised("fault.no-gpu-vma")
            self.run(f"with gpu_fault(vm.queue()) as faulting:\n    faulting.store({address}, {value:#x})")
            return
        self.run(f"queue.store({address}, {value:#x})")
        self.reached(slot, place)
        if place.what == NULL:
            self.run(f"gpu_sees(queue, {address}, 0)")
            return
        self.words[place] = value
        if last:
            self.run(f"landed(content[{place.what!r}], {place.slot * SLOT:#x}, {value:#x})")

    @rule(slot=st.integers(0, SLOTS - 1))
    def load(self, slot: int) -> None:
        address, place = f"buffer.address + {slot * SLOT:#x}", self.bound.get(slot)
        if place is None:
            exercised("fault.no-gpu-vma")
            self.run(f"with gpu_fault(vm.queue()) as faulting:\n    faulting.load({address})")
            return
        self.run(f"gpu_sees(queue, {address}, {self.word(place):#x})")
        self.reached(slot, place)

    def reached(self, slot: int, place: Place) -> None:
        """A GPU access through a mirror leaves a range there, until its memory is unmapped."""
        if place.what == NULL:
            exercised("bind.null.rules")
        if slot in self.changed:
            exercised("fault.vma-cache-coherent")
        self.changed.discard(slot)
        if place.what == MIRROR:
            self.left.discard(slot)
            self.in_use.add(slot)

    @rule(name=st.sampled_from(["first", "second", "other", "buffer"]), slot=st.integers(0, OBJECT - 1))
    def cpu_store(self, name: str, slot: int) -> None:
        self.words[Place(name, slot)] = self.value()
        self.run(f"content[{name!r}].set_u32({slot * SLOT:#x}, {self.words[Place(name, slot)]:#x})")

    def finish(self) -> None:
        """GPU and CPU find at each bound address and in all memory what was stored there last; the VM stays usable."""
        seen = {slot * SLOT: self.word(place) for slot, place in sorted(self.bound.items())}
        words = ", ".join(f"buffer.address + {offset:#x}: {word:#x}" for offset, word in seen.items())
        self.run(f"gpu_finds(queue, {{{words}}})")
        for (name, slot), word in sorted(self.words.items()):
            self.run(f"assert content[{name!r}].u32({slot * SLOT:#x}) == {word:#x}")
        self.run(f"vm.mirror(buffer.address, {SLOTS * SLOT:#x})")
        value = self.value()
        self.run(f"queue.store(buffer.address, {value:#x})")
        self.run(f"landed(buffer, 0, {value:#x})")
        self.run(f"gpu_sees(queue, buffer.address, {value:#x})")

    def clean_up(self) -> None:
        for name in "vm", "first", "second", "other", "buffer":
            self.script.close(name)


@behaviour(
    "bind.cam.rebind-over-active",
    "bind.cam.bo-over-active-busy",
    "bind.cam.unmap-active-busy",
    "bind.cam.unmap-idle-ok",
    "bind.cam.unmap-after-munmap",
    "bind.cam.over-bo",
    "bind.cam.bo-inside",
    "bind.unmap.nothing",
    "bind.unmap.munmap-semantics",
    "bind.null.rules",
    "bind.array.atomic",
    "fault.no-gpu-vma",
    "fault.vma-cache-coherent",
)
@acts("exec", "store", "load")
@only_if_exercised
@needs("page-faults", "cpu-addr-mirror")
@pytest.mark.timeout(120)
def test_every_address_follows_the_last_bind(
    make_vm: MakeVm, memory: Memory, bo: MakeBo, device: Device
) -> None:
    """Mirrors, BOs, userptrs, NULL and UNMAP over each other in any order: each takes effect, or fails as a whole."""
    given = {"make_vm": make_vm, "memory": memory, "bo": bo, "device": device}
    machine.run(Binding, given, max_examples=20, stateful_step_count=20)
