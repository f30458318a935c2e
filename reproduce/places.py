# SPDX-License-Identifier: MIT
"""Addresses of a test as variables of a program: areas of memory by their first mapping, other words by their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reproduce.recorded import Step

ASIDE = range(0x1000_0000_0000, 0x1100_0000_0000)
"""Where the suite places memory (fixtures.memory): free in a small program, which can use the same addresses."""
ELSEWHERE = 0x2000_0000_0000
"""Where a program places memory that the kernel placed for the test."""
SPACING = 1 << 30
ALIGN = 1 << 21
"""Addresses stay the same modulo this, the largest range of a mirror."""
PAGE = 4096


@dataclass
class Area:
    """Addresses that the test reserved or mapped, one interval."""

    start: int
    end: int
    origin: int = 0
    """Value of the variable: the first address that was mapped in it."""
    name: str = ""
    place: int = 0
    """The variable's value."""

    def shown(self, address: int) -> str:
        """An address in it as an expression."""
        offset = address - self.origin
        return f"{self.name} {'-' if offset < 0 else '+'} {abs(offset):#x}" if offset else self.name


class Places:
    """All areas of a test, and words of memory outside of them: fences in the heap."""

    def __init__(self, steps: Iterable[Step]) -> None:
        steps = list(steps)
        self.areas: list[Area] = []
        for step in steps:
            for start, size in _spans(step):
                self._add(start, start + -(-size // PAGE) * PAGE)
        for step in steps:
            if step.do == "mmap" and not step.errno:
                area = self.area(step.fields["result"])
                if area is not None and not area.origin:
                    area.origin = step.fields["result"]
        taken = ELSEWHERE
        for number, area in enumerate(self.areas, 1):
            area.origin = area.origin or area.start
            area.name = f"memory{number}"
            area.place = area.origin
            if area.start not in ASIDE:
                area.place = taken + area.origin % ALIGN + (area.origin - area.start) // ALIGN * ALIGN + ALIGN
                taken += -(-(area.end - area.start) // SPACING) * SPACING + SPACING
        self.words: dict[int, str] = {}
        """Multiples of 8 to the variable for the 8 bytes there."""

    def _add(self, start: int, end: int) -> None:
        touching = [area for area in self.areas if area.start < end and start < area.end]
        if not touching:
            self.areas.append(Area(start, end))
            return
        first, *others = touching
        first.start = min(start, *(area.start for area in touching))
        first.end = max(end, *(area.end for area in touching))
        self.areas = [area for area in self.areas if area not in others]

    def area(self, address: int) -> Area | None:
        """The area that an address is in, or just behind."""
        inside = (area for area in self.areas if area.start <= address < area.end)
        behind = (area for area in self.areas if address == area.end)
        return next(inside, None) or next(behind, None)

    def known(self, address: int) -> str:
        """An address of an area, or of a word that has a variable, as an expression; empty for any other number."""
        if (area := self.area(address)) is not None:
            return area.shown(address)
        word = self.words.get(address & ~7)
        if word is None:
            return ""
        return f"(uintptr_t)&{word}" + (f" + {address & 7}" if address & 7 else "")

    def memory(self, address: int) -> str:
        """An address that the program is to access, as an expression: a word gets a variable."""
        if (area := self.area(address)) is None or address == area.end:
            self.words.setdefault(address & ~7, f"word{len(self.words) + 1}")
        return self.known(address)


def _spans(step: Step) -> Iterable[tuple[int, int]]:
    """Addresses that a step makes the test's own."""
    fields = step.fields
    if step.do == "reserve":
        return [(fields["address"], fields["size"])]
    if step.do == "mmap" and not step.errno:
        return [(fields["result"], fields["size"])]
    if step.do == "mremap" and not step.errno:
        return [(fields["result"], fields["new_size"])]
    return []
