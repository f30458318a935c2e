# SPDX-License-Identifier: MIT
"""Words that are kept out of comments, docstrings, messages and documents: kernel documentation has plainer ones."""

from __future__ import annotations

import io
import os
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCED = {"out"}
"""Folders with the output of runs. Folders with a dot are not read either."""

AVOID = {
    "anew": "again, or a verb: rebuild, rewrite",
    "whoever": "the thread, task or test that",
    "for( |)ever": "without end, never",
    "thrice": "three times",
    "c(o|a)m(e|es|ing) true": "hold, happen",
    "as (it|they) must be": "as expected",
    "by turns": "alternate between",
    "(is|are|was|were|be|been|being) told": "get, learn, be passed; of facts: reported, printed",
    "so many": "n, the number of",
    "(may|may this|may it|may a run) go in": "may be merged",
    "beside": "next to",
    "(carry|carries|carrying) on": "continue, go on",
    "as ever": "as usual",
    "somebody": "a task, another client; or the passive voice",
    "rubbish": "garbage",
    "for want of": "for lack of",
    "in vain": "without success, and timed out",
    "be had": "be available, obtained, allocated",
    "again and again": "repeatedly",
    "to and fro": "back and forth",
    "and (its|their) (kin|like)": "and similar",
    "from under": "beneath",
    "hear(|s|d|ing) of": "is notified of, sees",
    "in spite of": "despite",
    "such a one": "one",
    r"(go|goes|went|gone|going) on(?!\W+(to|the|a)\b)": "continue, resume, keep doing",
    "but for": "except for",
    "where there (is|are|was|were)": "if there is",
    "of before": "old, earlier",
    "what there is": "the existing, the available; or say what",
    "at work": "running, in use",
    "in the place of": "in place of, instead of",
    "a( JSON|) line each": "one line each",
    "in silence": "silently",
    "to tell of": "to report",
    "such as it is": "as it is",
    "thought up": "invented",
    "all the same": "still, nevertheless",
    "by now": "now, already",
    "as far as (?!possible|copying|it can|it goes)": "if, the part that",
    "mended": "fixed",
    r"nobody (?=[a-z])(?!waits|waited|may|has locked)": "no document, no task; or the passive voice",
    r"(?!there )\w+[^\w\s]* (is|are|was|were) no(?! longer)": "is not a",
}
"""Regular expression of a phrase, and what to write instead."""
GAP = r"[\s#>]+"
"""Between two words: at the end of a line also the sign of a comment or of a quotation that begins the next."""
PHRASES = {
    re.compile(rf"\b{phrase.replace(' ', GAP)}\b", re.IGNORECASE): better for phrase, better in AVOID.items()
}

ALLOWED = {
    ("tests/test_language.py", "*"): "has the list",
    ("behaviours/evict.yaml", "forever"): "the words of a review",
    ("tests/guest/test_depends.py", "nobody "): "the name of an option",
    ("behaviours/cpu-fault.yaml", "as far as "): "the extent of a mapping",
    ("reports/formats/digest.py", "mended"): "the name of a variable",
}
"""File and phrase, or * for all, that may be there, and why."""


def found(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, phrase and what to write instead, for each phrase of AVOID in a text, also where a line ends in it."""
    for phrase, better in PHRASES.items():
        for match in phrase.finditer(text):
            words = re.sub(GAP, " ", match[0]).lower()
            yield text.count("\n", 0, match.start()) + 1, words, better


def files() -> Iterator[str]:
    """Python and Markdown of the project, and the ledger with its audit, below its root."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in PRODUCED)
        paths = [Path(folder, name).relative_to(ROOT) for name in sorted(names)]
        yield from (str(path) for path in paths if path.suffix in {".py", ".md"} or path == Path("svmcts"))
        if Path(folder).relative_to(ROOT).parts[:1] == ("behaviours",):
            yield from (str(path) for path in paths if path.suffix == ".yaml" or path.parent.name == "audit")


def test_plain_words_are_used() -> None:
    """No file has a phrase of AVOID, except as in ALLOWED."""
    read = list(files())
    assert {"svmcts", "README.md", "fixtures/checks.py", "suites/vm/test_create.py"} <= set(read)
    assert {"behaviours/vm.yaml", "behaviours/audit/vm.tsv"} <= set(read)
    lines = [
        f"{file}:{line}: {phrase!r}: write {better}"
        for file in read
        for line, phrase, better in found((ROOT / file).read_text(encoding="utf-8"))
        if not ALLOWED.keys() & {(file, phrase), (file, "*")}
    ]
    assert not lines, "\n".join(lines)


def test_sections_of_documents_that_are_named_exist() -> None:
    """As in ``docs/reports.md, "JSON output"``."""
    named = re.compile(r'(docs/[a-z-]+\.md)`?,\s+["“]([^"”]+)["”]')
    all_found = [
        (file, match[1], " ".join(match[2].split()))
        for file in files()
        for match in named.finditer((ROOT / file).read_text(encoding="utf-8"))
    ]
    assert len(all_found) >= 5
    lines = [
        f"{file}: {document} has no section {section!r}"
        for file, document, section in all_found
        if not re.search(
            rf"^#+ +`?{re.escape(section)}`?$", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb made Anew.", [(2, "anew")]),
        ("# what is\n    # no error", [(1, "what is no")]),
        ("    it was\n\n    told", [(1, "was told")]),
        ("it did not come true within 5 s", [(1, "come true")]),
        ("> for\n> ever, and forever", [(1, "for ever"), (2, "forever")]),
        ("a store\nlands beside it", [(2, "beside")]),
        ("there is no such file, and there\n    # are no others", []),
        ("it is no longer there", []),
        ("the VM\n    hears of it", [(2, "hears of")]),
        ("besides, it is not a mirror, and test_whoever is a name", []),
        ("NOBODY = 1\nsetuid(NOBODY), and nobody\npromises it", [(2, "nobody ")]),
    ],
)
def test_phrases_are_found_with_their_line(text: str, expected: list[tuple[int, str]]) -> None:
    """Capitals and ends of lines hide nothing; other words that contain one are not meant."""
    assert [(line, phrase) for line, phrase, _ in found(text)] == expected


TITLE = re.compile(r"(What|Who|Why|Which|Whose|Of|That of|Those of)\b")
"""Beginning of a title that is a clause ("What a report says", for "Contents of a report") or has no noun ("Of a run",
for "Seed of a run").
"""


def titles(source: str) -> Iterator[tuple[int, str]]:
    """Line and first line of each docstring, also of attributes, and of each comment that stands alone."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.STRING and token.string.startswith('"""'):
            yield token.start[0], token.string[3:].partition("\n")[0]
        elif token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
            yield token.start[0], token.string[1:].strip()


def test_titles_are_nouns_or_sentences() -> None:
    lines = [
        f"{file}:{line}: {title}"
        for file in files()
        if file.endswith(".py")
        for line, title in titles((ROOT / file).read_text(encoding="utf-8"))
        if TITLE.match(title) and not title.endswith("?")
    ]
    assert not lines, "\n".join(lines)


def test_titles_are_found() -> None:
    source = '"""What it is."""\nX = 1  # What is not a title\n"""Of a number."""\n    # Who calls\n'
    assert [(line, title) for line, title in titles(source) if TITLE.match(title)] == [
        (1, 'What it is."""'),
        (3, 'Of a number."""'),
        (4, "Who calls"),
    ]


SINGLE = re.compile(r"(?<!`)`[^`\n]+`(?!`)")
"""Code in single backticks. Docstrings have double ones; an attribute's is a string after it, not a comment ``#:``."""


def test_docstrings_have_one_dialect() -> None:
    lines = []
    for file in files():
        if not file.endswith(".py"):
            continue
        source = (ROOT / file).read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            alone = not token.line[: token.start[1]].strip()
            if token.type == tokenize.STRING and token.string.startswith('"""') and alone:
                lines += [f"{file}:{token.start[0]}: {code}" for code in SINGLE.findall(token.string)]
            elif token.type == tokenize.COMMENT and token.string.startswith("#:"):
                lines.append(f"{file}:{token.start[0]}: #:")
    assert not lines, "\n".join(lines)
