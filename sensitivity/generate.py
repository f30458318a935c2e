# SPDX-License-Identifier: MIT
"""Generated faults: one small change in one place of a function.

No parser of C: comments and strings are blanked, then statements, conditions and calls are found by their brackets.
What does not compile is not recorded.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sensitivity.source import Edit, EditError, body

T = TypeVar("T")
XE = "drivers/gpu/drm/xe"
FILES = (
    *(f"{XE}/xe_{name}.c" for name in ("svm", "vm", "vm_madvise", "userptr", "pagefault", "pt")),
    *(f"{XE}/xe_{name}.c" for name in ("tlb_inval", "exec", "sync", "wait_user_fence")),
    *(f"drivers/gpu/drm/drm_{name}.c" for name in ("gpusvm", "pagemap", "pagemap_util")),
)
"""The files of SVM."""
KINDS = {
    "negate": "a condition is negated",
    "clause": "a part of a condition is left out",
    "drop": "a statement is left out",
    "swap": "two arguments are swapped",
    "constant": "a constant or a limit is another one",
    "errno": "another error is returned",
}
EQUIVALENT = {
    r"\b\w*(dbg|debug|printk|drm_(err|warn|info|notice)\w*|trace_\w+|vm_err|dev_\w+)\(": "it is logged, nothing else",
    r"\b(\w*[aA]ssert\w*|lockdep_\w+|might_(lock\w*|sleep|alloc)|BUILD_BUG_ON)\(": "it checks, and does nothing",
    r"\bWARN_ON|\bXE_WARN_ON|\bdrm_WARN": "it warns of what does not happen",
    r"\b(cond_resched|prefetch|fs_reclaim_\w+|dma_fence_(begin|end)_signalling)\(": "it hints or annotates",
    r"\b\w*(stats?_incr|stats?_add|ktime_\w+|stats?_ktime\w*)\b": "it counts for statistics",
    r"\b(un)?likely\(\s*$": "it is a hint",
    r"\b(mutex_destroy|INIT_LIST_HEAD|list_del_init|kfree|kvfree)\(": "it frees, or tidies up what is not looked at",
}
"""Text that is left out because no test could notice a change, with the reason."""
_FUNCTION = re.compile(
    r"^(?:[a-z][\w \t*]*[ \t*\n])?(\w+)\([^;{}()]*(?:\([^;{}]*\)[^;{}()]*)*\)\s*\n\{", re.MULTILINE
)
_STATEMENT = re.compile(r"(?<=[;{}:\n)])\n\t+((?:\w|[*(])[^;{}#]*;)")
_DECLARES = re.compile(
    r"(?:const|static|struct|unsigned|enum|union|int|long|bool|u8|u16|u32|u64|s64|size_t|ktime_t|LIST_HEAD|\w+_t)\b"
    r"|(?:return|break|continue|goto|case|default|else|for|while|do|if|switch)\b|\w+:"
)
_CALL = re.compile(r"\b([a-z_]\w*)\(")
_NOT_CALLS = {"if", "for", "while", "switch", "return", "sizeof", "container_of", "typeof"}
_ARGUMENT = re.compile(r"[a-z_]\w*(?:(?:->|\.)\w+)*|true|false")
_ERRNO = re.compile(r"(?:return|=|\?|:)\s*(-E[A-Z0-9]+)")
_CONSTANTS = (
    (re.compile(r"\bSZ_2M\b"), "SZ_64K"),
    (re.compile(r"\bSZ_64K\b"), "SZ_4K"),
    (re.compile(r"\bPAGE_SIZE\b"), "(2 * PAGE_SIZE)"),
    (re.compile(r"(?<=\s)\+ 1\b"), "+ 2"),
    (re.compile(r"(?<=\s)- 1\b"), "- 2"),
    (re.compile(r"\btrue\b"), "false"),
    (re.compile(r"\bfalse\b"), "true"),
    (re.compile(r"(?<= )<(?= )"), "<="),
    (re.compile(r"(?<= )>(?= )"), ">="),
    (re.compile(r"(?<= )<=(?= )"), "<"),
    (re.compile(r"(?<= )>=(?= )"), ">"),
    (re.compile(r"(?<= )= 0(?=;)"), "= 1"),
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A generated fault."""

    kind: str
    edit: Edit
    number: int
    """Its number among those of its kind in its function, from 1."""

    @property
    def id(self) -> str:
        """``file:function:kind:n``."""
        return f"{Path(self.edit.file).name}:{self.edit.function}:{self.kind}:{self.number}"


def functions(source: str) -> list[str]:
    """The functions that a file defines, in order."""
    return list(dict.fromkeys(match[1] for match in _FUNCTION.finditer(_blanked(source))))


def mutants(file: str, source: str) -> Iterator[Mutant]:
    """All faults of a file that are not equivalent, in order."""
    for function in functions(source):
        try:
            start, end = body(source, function)
        except EditError:
            continue
        text = source[start:end]
        yield from _of_function(file, function, text, _blanked(text))


def heaps(items: Iterable[T], key: Callable[[T], Hashable], drawn: random.Random) -> list[list[T]]:
    """Items with the same key, each group shuffled."""
    found: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    for heap in found.values():
        drawn.shuffle(heap)
    return list(found.values())


def choose(
    files: Iterable[tuple[str, str]], count: int, seed: int, builds: Callable[[Mutant], bool] = lambda _: True
) -> list[Mutant]:
    """As many faults that build, drawn evenly over files and kinds, at most two of a kind in a function.

    The same seed draws the same.
    """
    drawn = random.Random(seed)
    candidates = (mutant for file, source in files for mutant in mutants(file, source))
    order = heaps(candidates, lambda mutant: (mutant.edit.file, mutant.kind), drawn)
    chosen: list[Mutant] = []
    taken: dict[tuple[str, str, str], int] = defaultdict(int)
    while len(chosen) < count and any(order):
        for heap in order:
            while heap and len(chosen) < count:
                mutant = heap.pop()
                key = mutant.edit.file, mutant.edit.function, mutant.kind
                if taken[key] < 2 and builds(mutant):
                    taken[key] += 1
                    chosen.append(mutant)
                    break
    return sorted(
        chosen, key=lambda mutant: (mutant.edit.file, mutant.edit.function, mutant.kind, mutant.number)
    )


def why_equivalent(text: str) -> str | None:
    """Reason why no test could notice a change of this text, if so."""
    return next((why for pattern, why in EQUIVALENT.items() if re.search(pattern, text)), None)


def _of_function(file: str, function: str, text: str, code: str) -> Iterator[Mutant]:
    opening = code.index("\n{")
    numbers: dict[str, int] = defaultdict(int)
    places = [*_conditions(text, code), *_statements(text, code), *_swaps(text, code), *_words(text, code)]
    for kind, start, end, put in sorted(places, key=lambda place: place[1]):
        numbers[kind] += 1
        if start < opening or why_equivalent(text[_line(code, start) : end]):
            continue
        find = text[start:end]
        pattern = re.compile(r"\s+".join(re.escape(word) for word in find.split()))
        found = [match.start() for match in pattern.finditer(text)]
        if start not in found:
            continue
        nth = found.index(start) + 1 if len(found) > 1 else 0
        edit = Edit(file, function, " ".join(find.split()), put, len(found), nth)
        yield Mutant(kind, edit, numbers[kind])


Place = tuple[str, int, int, str]
"""Kind, where the text begins and ends, and what to put there."""


def _conditions(text: str, code: str) -> Iterator[Place]:
    for found in re.finditer(r"\bif \(", code):
        end = _closing(code, found.end())
        inner = _one_line(text[found.end() : end])
        yield "negate", found.start(), end + 1, f"if (!({inner}))"
        for operator in ("&&", "||"):
            parts = _split(code[found.end() : end], operator)
            if len(parts) > 1:
                at = found.end()
                first = _one_line(text[at + parts[0][0] : at + parts[0][1]])
                last = _one_line(text[at + parts[-1][0] : at + parts[-1][1]])
                yield "clause", found.start(), end + 1, f"if ({first})"
                yield "clause", found.start(), end + 1, f"if ({last})"
                break


def _statements(text: str, code: str) -> Iterator[Place]:
    for found in _STATEMENT.finditer(code):
        statement = found[1]
        if _DECLARES.match(statement) or re.match(r"\w+\s+\*?\w+\s*[;=]", statement):
            continue
        if statement.count("(") == statement.count(")"):
            yield "drop", found.start(1), found.end(1), ";"


def _swaps(text: str, code: str) -> Iterator[Place]:
    for found in _CALL.finditer(code):
        if found[1] in _NOT_CALLS or found[1].startswith("for_each"):
            continue
        end = _closing(code, found.end())
        words = [
            text[found.end() + a : found.end() + b].strip() for a, b in _split(code[found.end() : end], ",")
        ]
        for at in range(len(words) - 1):
            if all(_ARGUMENT.fullmatch(word) for word in words[at : at + 2]) and words[at] != words[at + 1]:
                swapped = [*words[:at], words[at + 1], words[at], *words[at + 2 :]]
                yield "swap", found.start(), end + 1, f"{found[1]}({_one_line(', '.join(swapped))})"


def _words(text: str, code: str) -> Iterator[Place]:
    for pattern, put in _CONSTANTS:
        for found in pattern.finditer(code):
            # With what stands before it on the line, so that the text differs from similar ones.
            start = found.start() - len(code[_line(code, found.start()) : found.start()].lstrip())
            yield (
                "constant",
                start,
                found.end(),
                _one_line(text[start : found.start()]) + _space(text, found) + put,
            )
    for found in _ERRNO.finditer(code):
        other = "-EPERM" if found[1] == "-EINVAL" else "-EINVAL"
        yield "errno", found.start(), found.end(), text[found.start() : found.start(1)] + other


def _space(text: str, found: re.Match[str]) -> str:
    return " " if text[: found.start()].endswith(" ") else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _line(code: str, at: int) -> int:
    return code.rfind("\n", 0, at) + 1


def _blanked(source: str) -> str:
    """The source with comments and strings as blanks, of the same length."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"'
    return re.sub(pattern, lambda match: re.sub(r"[^\n]", " ", match[0]), source, flags=re.DOTALL)


def _closing(code: str, start: int) -> int:
    """The bracket that closes one opened just before ``start``."""
    depth = 1
    for at in range(start, len(code)):
        depth += {"(": 1, ")": -1}.get(code[at], 0)
        if not depth:
            return at
    return len(code) - 1


def _split(code: str, separator: str) -> list[tuple[int, int]]:
    """Ranges of the parts between separators outside of brackets."""
    parts, depth, start, at = [], 0, 0, 0
    while at < len(code):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(code[at], 0)
        if not depth and code.startswith(separator, at):
            parts.append((start, at))
            at += len(separator)
            start = at
        else:
            at += 1
    return [*parts, (start, len(code))]
