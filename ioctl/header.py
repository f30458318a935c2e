# SPDX-License-Identifier: MIT
"""The names a uAPI header declares: structures with their fields, enumerators, macros.

Only names and types are read here, in the small part of C that uAPI headers use; what they measure is for the
compiler to say (`ioctl.probe`). Anything else in the header is an error with its line, never skipped: a field
that nobody saw is a field that nobody checked.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"""(?P<define>^\#\s*define\b[^\n]*)
      | (?P<mark>^\#\s*(?:line\s+)?(?P<line>\d+)\s+"(?P<file>[^"\n]*)"[^\n]*)
      | (?P<other>^\#[^\n]*) | (?P<newline>\n) | (?P<space>[^\S\n]+)
      | (?P<word>\w+) | (?P<string>"(?:\\.|[^"\\\n])*") | (?P<char>'(?:\\.|[^'\\\n])*') | (?P<sign>.)""",
    re.VERBOSE | re.MULTILINE,
)
DEFINE = re.compile(r"#\s*define\s+(?P<name>\w+)(?P<arguments>\()?(?P<body>.*)")
NAMED = re.compile(r"\[\s*(\w+)\s*\]\s*=\s*(\"[^\"]*\")")


class HeaderError(Exception):
    """A header that cannot be read; the message is one line with the place."""


@dataclass(frozen=True)
class Member:
    """A field with its path from the structure, and its C type, "[]" after it for an array."""

    path: str
    type: str
    flexible: bool = False


@dataclass
class Declarations:
    """What a header declares, in its order."""

    structs: dict[str, list[Member]] = field(default_factory=dict)
    enumerators: list[str] = field(default_factory=list)
    macros: dict[str, str] = field(default_factory=dict)
    texts: dict[str, dict[str, str]] = field(default_factory=dict)  # macro -> index -> string


class _Parser:
    def __init__(self, text: str, file: str, label: str) -> None:
        self.file = file
        self.label = label
        self.found = Declarations()
        self.tokens = list(self._tokens(text))
        self.at = 0

    def _tokens(self, text: str) -> Iterator[tuple[str, int]]:
        """Tokens of the header itself with their lines, without those of files that it includes."""
        line, inside = 1, True
        for match in TOKEN.finditer(text):
            kind = match.lastgroup
            if kind == "newline":
                line += 1
            elif match["mark"]:
                line, inside = int(match["line"]) - 1, match["file"].rsplit("/", 1)[-1] == self.file
            elif inside and kind not in ("space", "other"):
                yield match[0], line

    def error(self, what: str) -> HeaderError:
        line = self.tokens[min(self.at, len(self.tokens) - 1)][1] if self.tokens else 1
        return HeaderError(f"{self.label}:{line}: {what}")

    @property
    def peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def ahead(self, *steps: int) -> list[str]:
        """Tokens further on."""
        return [self.tokens[self.at + step][0] for step in steps if self.at + step < len(self.tokens)]

    def take(self, expected: str | None = None) -> str:
        token = self.peek
        if not token or (expected is not None and token != expected):
            raise self.error(f"{expected or 'more'} expected, {token or 'the end'} found")
        self.at += 1
        return token

    def parse(self) -> Declarations:
        while self.peek:
            token = self.peek
            if token.startswith("#"):
                self.define(self.take())
            elif token in ("struct", "union"):
                self.take()
                name = self.word()
                self.take("{")
                self.found.structs[name] = list(self.members(""))
                self.attributes()
                self.take(";")
            elif token == "enum":
                self.enum()
            elif token == ";":
                self.take()
            else:
                raise self.error(f"cannot read a declaration that begins with {token[:40]!r}")
        return self.found

    def word(self) -> str:
        token = self.take()
        if not re.fullmatch(r"[A-Za-z_]\w*", token):
            self.at -= 1
            raise self.error(f"a name expected, {token!r} found")
        return token

    def attributes(self) -> None:
        while self.peek in ("__attribute__", "__packed", "__aligned"):
            if self.take() == "__packed":
                continue
            depth = 0
            while True:
                depth += {"(": 1, ")": -1}.get(self.take(), 0)
                if depth == 0:
                    break

    def define(self, text: str) -> None:
        match = DEFINE.match(text)
        if match is None or match["arguments"] or not match["body"].strip():
            return
        name, body = match["name"], match["body"].strip()
        if body.startswith("{"):
            self.found.texts[name] = {index: string[1:-1] for index, string in NAMED.findall(body)}
        elif '"' not in body:
            self.found.macros[name] = body

    def enum(self) -> None:
        self.take("enum")
        if self.peek != "{":
            self.word()
        self.take("{")
        while self.peek != "}":
            if self.peek.startswith("#"):
                self.define(self.take())
                continue
            self.found.enumerators.append(self.word())
            depth = 0
            while depth or self.peek not in (",", "}"):
                depth += {"(": 1, ")": -1}.get(self.take(), 0)
            if self.peek == ",":
                self.take()
        self.take("}")
        self.take(";")

    def members(self, prefix: str) -> Iterator[Member]:
        """The members up to the closing brace; those of unnamed structures and unions come as the owner's."""
        while self.peek != "}":
            if self.peek.startswith("#"):
                self.define(self.take())
            elif self.peek in ("struct", "union") and "{" in self.ahead(1, 2):
                self.take()
                if self.peek != "{":  # a tag, as __struct_group() gives one
                    self.word()
                self.take("{")
                yield from self.nested(prefix)
            else:
                yield from self.plain(prefix)
        self.take("}")

    def nested(self, prefix: str) -> Iterator[Member]:
        start = self.at
        inner = list(self.members(prefix))
        self.attributes()
        if self.peek != ";":
            name = prefix + self.word()
            end, self.at = self.at, start
            yield Member(name, "struct")
            yield from self.members(name + ".")
            self.at = end
        else:
            yield from inner
        self.take(";")

    def plain(self, prefix: str) -> Iterator[Member]:
        words: list[str] = []
        while self.peek not in (";", "[", ":", ","):
            if self.peek == "__attribute__":
                self.attributes()
            else:
                words.append(self.take())
        if self.peek == ":":
            raise self.error(f"bit-field {words[-1]}: its place depends on the compiler")
        if self.peek == "," or len(words) < 2:
            raise self.error(f"cannot read a member that begins with {' '.join(words)[:40]!r}")
        name, kind, dimensions = words.pop(), " ".join(words), []
        while self.peek == "[":
            size = ""
            while self.peek != "]":
                size += self.take()
            dimensions.append(size[1:])
            self.take("]")
        self.attributes()
        self.take(";")
        yield Member(prefix + name, kind + "[]" * len(dimensions), flexible="" in dimensions)


def parse(preprocessed: str, file: str, label: str) -> Declarations:
    """The declarations of ``file`` in the output of ``cc -E -dD``; HeaderError, naming ``label``, if none."""
    return _Parser(preprocessed, file, label).parse()
