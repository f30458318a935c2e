# SPDX-License-Identifier: MIT
"""Reason why a configuration lacks an option: its dependencies in the kernel's Kconfig files that are off.

Kconfig drops an option whose dependencies are not met, and says nothing (Documentation/kbuild/kconfig-language.rst).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ARCHITECTURE = "x86"
NO, MODULE, YES = 0, 1, 2
VALUES = {"n": NO, "m": MODULE, "y": YES}
_TOKEN = re.compile(r'\s*(\|\||&&|!=|<=|>=|[!=<>()]|"[^"]*"|\'[^\']*\'|\$\((?:[^()]|\([^()]*\))*\)|[\w.-]+)')
_OPENING = {"menu": "endmenu", "choice": "endchoice", "if": "endif"}


def conditions(tree: Path, option: str) -> list[str] | None:
    """Dependencies of an option in a kernel tree, with those of enclosing blocks; None if it is not defined.

    Of several definitions it is the first.
    """
    return next(_defined(tree, tree / "Kconfig", option, ()), None)


def reason(tree: Path, option: str, options: Mapping[str, str]) -> str:
    """Reason why ``options`` lacks ``option``, as a clause."""
    found = conditions(tree, option)
    if found is None:
        return "this kernel has no such option"
    unmet = dict.fromkeys(condition for condition in found if evaluate(condition, options) == NO)
    if not unmet:
        return "its own conditions are met: another option overrides it"
    return "it depends on " + ", and on ".join(
        f"{condition} ({_values(condition, options)})" for condition in unmet
    )


def _values(condition: str, options: Mapping[str, str]) -> str:
    names = dict.fromkeys(re.findall(r"\b[A-Z0-9]*[A-Z]\w+\b", condition))
    return ", ".join(f"{name}={options.get(name, 'n')}" for name in names)


def _lines(file: Path) -> Iterator[str]:
    """The lines of a Kconfig file without comments and help texts, continued lines joined."""
    try:
        text = file.read_text(errors="replace")
    except OSError:  # generated, or of another architecture
        return
    help_begins, help_indent = False, -1
    for line in text.replace("\\\n", " ").expandtabs().splitlines():
        words = re.sub(r"(^|\s)#.*", "", line).strip()
        if not words:
            continue
        indent = len(line) - len(line.lstrip())
        if help_begins:
            help_begins, help_indent = False, indent
        if help_indent >= 0 and indent >= help_indent:
            continue
        help_indent = -1
        help_begins = words in ("help", "---help---")
        yield words


def _defined(tree: Path, file: Path, option: str, outer: Sequence[str]) -> Iterator[list[str]]:
    """The conditions of every definition below ``file``, which is included under the conditions ``outer``."""
    blocks: list[list[str]] = []
    owner: list[str] | None = None
    """Owner of the conditions being read: the option, a block, or none."""
    found: list[str] | None = None

    def around() -> list[str]:
        return [*outer, *(condition for block in blocks for condition in block)]

    for line in _lines(file):
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word == "depends":
            if owner is not None:
                owner.append(_condition(rest.removeprefix("on").strip()))
            continue
        if word not in ("config", "menuconfig", "comment", "source", *_OPENING, *_OPENING.values()):
            continue
        if found is not None:
            yield [*around(), *found]
        owner = found = None
        if word in ("config", "menuconfig"):
            owner = found = [] if rest == option else None
        elif word in _OPENING:
            blocks.append([rest] if word == "if" else [])
            owner = blocks[-1]
        elif word == "source":
            name = rest.strip('"').replace("$(SRCARCH)", ARCHITECTURE)
            yield from _defined(tree, tree / name, option, around())
        elif word != "comment":
            blocks.pop()
    if found is not None:
        yield [*around(), *found]


def _condition(text: str) -> str:
    """``A if B`` says nothing without B."""
    condition, conditional, when = " ".join(text.split()).partition(" if ")
    return f"{condition} || !({when})" if conditional else condition


def evaluate(condition: str, options: Mapping[str, str]) -> int:
    """NO, MODULE or YES. Macros of Kconfig, which ask the compiler, count as YES."""
    return _Expression(_TOKEN.findall(condition), options).either()


class _Expression:
    """Documentation/kbuild/kconfig-language.rst: menu dependencies."""

    def __init__(self, tokens: Sequence[str], options: Mapping[str, str]) -> None:
        self.tokens = list(tokens)
        self.options = options

    def _taken(self, *tokens: str) -> str:
        """The next token, if it is one of these."""
        return self.tokens.pop(0) if self.tokens and self.tokens[0] in tokens else ""

    def either(self) -> int:
        value = self.both()
        while self._taken("||"):
            value = max(value, self.both())
        return value

    def both(self) -> int:
        value = self.one()
        while self._taken("&&"):
            value = min(value, self.one())
        return value

    def one(self) -> int:
        if self._taken("!"):
            return YES - self.one()
        if self._taken("("):
            value = self.either()
            self._taken(")")
            return value
        left = self._value()
        if operator := self._taken("=", "!=", "<", ">", "<=", ">="):
            right = self._value()
            return YES if operator not in ("=", "!=") or (left == right) is (operator == "=") else NO
        return YES if left.startswith("$(") else VALUES.get(left, NO)

    def _value(self) -> str:
        token = self.tokens.pop(0) if self.tokens else "n"
        if token[0] in "\"'":
            return token[1:-1]
        return (
            token
            if token in VALUES or token.isdigit() or token.startswith("$(")
            else self.options.get(token, "n")
        )
