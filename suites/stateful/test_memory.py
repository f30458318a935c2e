# SPDX-License-Identifier: MIT
"""Steps in any order on memory that two VMs mirror: CPU and GPU see one memory after each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from fixtures import acts, behaviour, given, machine, needs, only_if_exercised
from fixtures.apart import exercised
from fixtures.given import MakeVm
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device

ARENA = 1 << 44
"""An address far from where the kernel maps anything by itself: what is unmapped there stays so."""
SIZE = 2 * SZ_2M
PAGES = SIZE // PAGE


class Part(NamedTuple):
    """Some pages of the arena."""

    first: int
    length: int

    @property
    def pages(self) -> range:
        return range(self.first, self.first + self.length)

    @property
    def text(self) -> str:
        """As arguments: offset and size in bytes."""
        return f"{self.first * PAGE:#x}, {self.length * PAGE:#x}"


# Pages and parts at the ends and in the middle of ranges of 4K, 64K and 2M.
PLACES = st.sampled_from([0, 1, 15, 16, 17, 255, 511, 512, 513, 767, 1008, 1023])
PARTS = st.sampled_from(
    [
        Part(*part)
        for part in [
            *[(0, 1), (1, 1), (15, 2), (16, 16), (0, 16), (255, 1), (256, 256), (511, 2)],
            *[(0, 512), (512, 512), (0, 1024), (500, 24), (1008, 16), (1023, 1)],
        ]
    ]
)
WHO = st.sampled_from(["queue", "other_queue"])


class Page(NamedTuple):
    """Origin of a page: pages of one mmap(2) that are still neighbours are one VMA."""

    call: int
    number: int


class Memory(machine.Machine):
    """The model: which pages are mapped, and which words were stored in them, one for each page."""

    marks: ClassVar[str] = (
        '@behaviour("fault.read-sees-cpu-data", "fault.write-visible-to-cpu")\n@acts("ioctl")'
    )

    def __init__(self, given: Mapping[str, Any], first_value: int) -> None:
        super().__init__(given, first_value)
        self.vram = given["devices"][0].known_config.has_vram
        self.words: dict[int, int] = {}
        self.calls = 0
        self.mapped: dict[int, Page] = {}
        self.used: set[int] = set()
        """Pages of which the GPU has, or had, a mapping."""
        self.renewed: set[int] = set()
        """Pages of ``used`` that are other memory now."""
        self.parts: set[int] = set()
        """Windows of 2 MiB of which a part was taken to VRAM."""
        self.run(f"buffer = memory({SIZE:#x}, address={ARENA:#x}, populate=False)")
        self.take(Part(0, PAGES))
        for name, device in ("vm", "devices[0]"), ("other_vm", "devices[-1]"):
            self.run(f"{name} = make_vm(FAULTING, {device})")
            self.run(f"{name}.mirror()")
        self.run("queue, other_queue = vm.queue(), other_vm.queue()")

    def take(self, part: Part) -> None:
        """The model of a new, zeroed mapping."""
        self.leave(part)
        self.calls += 1
        self.mapped |= {page: Page(self.calls, page) for page in part.pages}

    def leave(self, part: Part) -> None:
        """The model of a mapping that is gone."""
        self.renewed |= self.used & set(part.pages)
        for page in part.pages:
            self.mapped.pop(page, None)
            self.words.pop(page, None)

    def reached(self, page: int) -> None:
        """The GPU uses a page, which is mapped or is not."""
        if page not in self.mapped:
            exercised("fault.no-cpu-vma")
            return
        if page in self.renewed:
            exercised("fault.gc-before-lookup")
        if page * PAGE // SZ_2M in self.parts:
            exercised("range.no-mixed-svm")
        self.renewed.discard(page)
        self.used.add(page)

    def all_mapped(self, part: Part) -> bool:
        return all(page in self.mapped for page in part.pages)

    def one_mapping(self, part: Part) -> bool:
        """Whether the pages are certain to be of one VMA, which is what mremap(2) takes."""
        first = self.mapped.get(part.first)
        return first is not None and all(
            self.mapped.get(page) == Page(first.call, first.number + page - part.first) for page in part.pages
        )

    @rule(part=PARTS)
    def mmap(self, part: Part) -> None:
        self.run(f"buffer.remap_fresh({part.text})")
        self.take(part)

    @rule(part=PARTS)
    def munmap(self, part: Part) -> None:
        self.run(f"buffer.munmap({part.text})")
        self.leave(part)

    @rule(part=PARTS, to=st.sampled_from([0, 16, 512, 528, 1000]), who=WHO)
    def mremap(self, part: Part, to: int, who: str) -> None:
        """Move memory that a GPU has just stored to."""
        target = Part(min(to, PAGES - part.length), part.length)
        if set(part.pages) & set(target.pages) or not self.one_mapping(part):
            return
        self.words[part.first] = self.value()
        self.run(f"{who}.store(buffer.address + {part.first * PAGE:#x}, {self.words[part.first]:#x})")
        self.run(
            f"mremap(buffer.address + {part.first * PAGE:#x}, {part.length * PAGE:#x}, {part.length * PAGE:#x}, "
            f"MREMAP_MAYMOVE | MREMAP_FIXED, buffer.address + {target.first * PAGE:#x})"
        )
        exercised("fault.mremap")
        self.reached(part.first)
        distance = target.first - part.first
        moved = {page + distance: self.mapped[page] for page in part.pages}
        words = {page + distance: self.words[page] for page in part.pages if page in self.words}
        self.leave(part)
        self.leave(target)
        self.mapped |= moved
        self.words |= words

    @rule(part=PARTS)
    def discard(self, part: Part) -> None:
        if self.used & self.words.keys() & set(part.pages):
            exercised("fault.madvise-dontneed")
        line = f"buffer.madvise(mmap.MADV_DONTNEED, {part.text})"
        # A hole is reported when everything else is done (mm/madvise.c: madvise_walk_vmas).
        self.run(line if self.all_mapped(part) else f"with refused(errno.ENOMEM):\n    {line}")
        for page in part.pages:
            self.words.pop(page, None)

    @rule(part=PARTS, region=st.sampled_from([0, 1, -1, 9]))
    def prefetch(self, part: Part, region: int) -> None:
        line = (
            f"vm.prefetch(buffer.address + {part.first * PAGE:#x}, {part.length * PAGE:#x}, region={region})"
        )
        known = region in (0, -1) or (region == 1 and self.vram)
        if not known:
            self.run(f"with refused(errno.EINVAL):\n    {line}")
            return
        kinds = {-1: "prefetch.consult", 0: "prefetch.to-system", 1: "prefetch.to-vram"}
        if self.all_mapped(part):
            exercised(kinds[region])
            if region == 1 and part.length < SZ_2M // PAGE:
                self.parts |= {page * PAGE // SZ_2M for page in part.pages}
            self.run(line)
            return
        hole = "holes-skipped" if self.mapped.keys() & set(part.pages) else "all-hole"
        exercised(f"prefetch.{hole}")
        self.run(f"with driver_only('prefetch.{hole}'):\n    {line}")

    @rule(page=PLACES, who=WHO, look=st.booleans())
    def gpu_store(self, page: int, who: str, look: bool) -> None:
        value, offset = self.value(), page * PAGE
        self.reached(page)
        if page not in self.mapped:
            self.run(
                f"with gpu_fault(vm.queue()) as faulting:\n    faulting.store(buffer.address + {offset:#x}, {value:#x})"
            )
            return
        self.run(f"{who}.store(buffer.address + {offset:#x}, {value:#x})")
        if look:
            exercised("fault.write-visible-to-cpu")
            self.run(f"landed(buffer, {offset:#x}, {value:#x})")
        self.words[page] = value

    @rule(page=PLACES, who=WHO)
    def gpu_read(self, page: int, who: str) -> None:
        self.reached(page)
        if page in self.mapped:
            exercised("fault.read-sees-cpu-data" if page in self.words else "fault.untouched-page-zero")
            self.run(f"gpu_sees({who}, buffer.address + {page * PAGE:#x}, {self.words.get(page, 0):#x})")
        else:
            self.run(
                f"with gpu_fault(vm.queue()) as faulting:\n    faulting.load(buffer.address + {page * PAGE:#x})"
            )

    @rule(page=PLACES)
    def cpu_store(self, page: int) -> None:
        if page in self.mapped:
            self.words[page] = self.value()
            self.run(f"buffer.set_u32({page * PAGE:#x}, {self.words[page]:#x})")

    @rule(page=PLACES)
    def cpu_read(self, page: int) -> None:
        if page in self.mapped:
            self.run(f"assert buffer.u32({page * PAGE:#x}) == {self.words.get(page, 0):#x}")

    def finish(self) -> None:
        """Every word is what was stored last, and 0 where nothing was stored since the mapping; the VMs stay usable."""
        untouched = [page for page in (2, 300, 600, 1022) if page in self.mapped]
        words = {page * PAGE: self.words.get(page, 0) for page in (*self.words, *untouched)}
        self.run(
            "words = {" + ", ".join(f"{offset:#x}: {word:#x}" for offset, word in sorted(words.items())) + "}"
        )
        self.run("gpu_finds(other_queue, {buffer.address + offset: word for offset, word in words.items()})")
        self.run("assert {offset: buffer.u32(offset) for offset in words} == words")
        value = self.value()
        self.run(f"buffer.remap_fresh(0, {PAGE:#x})")
        self.run(f"queue.store(buffer.address, {value:#x})")
        self.run(f"gpu_sees(other_queue, buffer.address, {value:#x})")
        self.run(f"landed(buffer, 0, {value:#x})")

    def clean_up(self) -> None:
        for name in "vm", "other_vm", "buffer":
            self.script.close(name)


@behaviour(
    "fault.read-sees-cpu-data",
    "fault.write-visible-to-cpu",
    "fault.untouched-page-zero",
    "fault.no-cpu-vma",
    "fault.gc-before-lookup",
    "fault.mremap",
    "fault.madvise-dontneed",
    "range.no-mixed-svm",
    "prefetch.to-vram",
    "prefetch.to-system",
    "prefetch.consult",
    "prefetch.holes-skipped",
    "prefetch.all-hole",
)
@acts("exec", "store", "load")
@only_if_exercised
@needs("page-faults", "cpu-addr-mirror")
@pytest.mark.timeout(120)
def test_cpu_and_gpu_agree_after_any_steps(
    make_vm: MakeVm, memory: given.Memory, devices: list[Device]
) -> None:
    """mmap, munmap, mremap, discards, prefetches, loads and stores in any order: each finds what was stored last."""
    machine.run(
        Memory,
        {"make_vm": make_vm, "memory": memory, "devices": devices},
        max_examples=20,
        stateful_step_count=15,
    )
