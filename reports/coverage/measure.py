# SPDX-License-Identifier: MIT
"""Executed lines, branches and functions of each source file, by gcov, from counts and notes (``.gcno``) of a build."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.answers import NoAnswerError
from reports.coverage.gcda import Counts, CountsError
from reports.coverage.store import Stored
from reports.event import NO_TEST


@dataclass(frozen=True)
class Function:
    """A function of a source file."""

    name: str
    first: int
    last: int
    """Its lines."""
    times: int
    """How often it was called."""


@dataclass(frozen=True)
class Covered:
    """Executed lines, branches and functions of a source file."""

    name: str
    """Its path in the kernel tree, ``drivers/gpu/drm/drm_gpusvm.c``."""
    lines: Mapping[int, int]
    """Lines with code, to how often they were executed."""
    branches: tuple[int, ...]
    """How often each was taken."""
    functions: tuple[Function, ...]
    """Functions in the order of the source."""

    def function_at(self, line: int) -> Function | None:
        """The function that a line is in."""
        return next((one for one in self.functions if one.first <= line <= one.last), None)


Notes = Mapping[str, Path]
"""Object files without their ending, as the build tree has them, to their ``.gcno``."""


def notes_in(*folders: Path) -> Notes:
    """The notes below folders; a later one has those of modules in place of the kernel's."""
    return {
        str(file.relative_to(folder).with_suffix("")): file
        for folder in folders
        for file in sorted(folder.rglob("*.gcno"))
    }


class Totals:
    """The counts of several environments with the same build, added up."""

    def __init__(self, notes: Notes, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """``wanted`` says of which objects."""
        self.notes = {name: note for name, note in notes.items() if wanted(name)}
        self.counts: dict[str, Counts] = {}
        self._objects: dict[str, str] = {}

    def add(self, stored: Stored, env: str, tests: Callable[[str], bool]) -> None:
        """The tests of an environment that ``tests`` holds for. Raises NoAnswerError."""
        for test, file, counts in stored.counts(env):
            if (name := self._object(file)) not in self.notes:
                continue
            known = self.counts.get(name)
            try:
                if known is None:
                    self.counts[name] = counts if tests(test) else counts.nothing()
                elif tests(test):
                    self.counts[name] = known.plus(counts)
            except CountsError as error:
                raise NoAnswerError(f"{stored.path}: {env}: {file}: {error}") from None

    def functions(self, stored: Stored, env: str) -> Iterator[tuple[str, set[str]]]:
        """Tests of an environment, each with functions that it executed, ``file:name``; a test comes several times."""
        known: dict[str, dict[bytes, str]] = {}
        for test, file, counts in stored.counts(env):
            if (name := self._object(file)) not in self.notes:
                continue
            if name not in known:  # the first counts of a file have all of its functions
                known[name] = names(self.notes[name], counts)
            if test != NO_TEST:
                yield test, {f"{name}.c:{known[name][f]}" for f in counts.executed() if f in known[name]}

    def source_tree(self, folder: Path) -> Path:
        """The tree that was built, if it still exists. Raises NoAnswerError if its files have changed."""
        for name, note in self.notes.items():
            if name in self.counts:
                (built,) = {
                    Path(file["file"])
                    for file in _read(folder / f"{name}.gcda")
                    if _is(file["file"], folder / name)
                }
                kept = note.with_suffix(".c")
                if not built.is_file() or built.read_bytes() != kept.read_bytes():
                    raise NoAnswerError(
                        f"{built} is no longer what was built: svmcts kernel build makes it again"
                    )
                tree = built.parents[len(Path(name).parts) - 1]
        return tree

    def _object(self, file: str) -> str:
        """The object of a count, which is named by its whole path on the machine that built it."""
        if (known := self._objects.get(file)) is None:
            whole = file.removesuffix(".gcda")
            parts = whole.split("/")
            tails = ("/".join(parts[start:]) for start in range(len(parts)))
            known = self._objects[file] = next((tail for tail in tails if tail in self.notes), "")
        return known

    def measure(self) -> list[Covered]:
        """The figures of each file, in the order of the files' names. Raises NoAnswerError."""
        with tempfile.TemporaryDirectory() as place:
            return measure(self.write(Path(place)))

    def write(self, folder: Path) -> Path:
        """Notes and counts side by side, for gcov."""
        for name, counts in self.counts.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.notes[name], target.with_suffix(".gcno"))
            target.with_suffix(".gcda").write_bytes(counts.encode())
        return folder


def measure(folder: Path) -> list[Covered]:
    """The figures from counts in a folder, with the notes that are next to them. Raises NoAnswerError."""
    if not shutil.which("gcov"):
        raise NoAnswerError("coverage cannot be read without gcov: apt-get install gcc")
    found = []
    for count in sorted(folder.rglob("*.gcda")):
        source = f"{count.relative_to(folder).with_suffix('')}.c"
        found += [_covered(source, file) for file in _read(count) if _is(file["file"], count)]
    return found


def _is(source: str, count: Path) -> bool:
    """Whether a source file is that of the object, and not a header of it."""
    return Path(source).name == f"{count.stem}.c"


def _read(count: Path) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            ["gcov", "--json-format", "--branch-probabilities", str(count)],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        results = list(Path(place).glob("*.gcov.json.gz"))
        if done.returncode or not results:
            said = (done.stderr.strip() or "no answer").splitlines()[0]
            raise NoAnswerError(f"gcov: {said}: notes and counts have to be of the same build")
        return [
            file for result in results for file in json.loads(gzip.decompress(result.read_bytes()))["files"]
        ]


def _covered(name: str, file: dict[str, Any]) -> Covered:
    lines: dict[int, int] = {}
    # A function that is inlined at each call before it could count has lines without a function: not all of them count.
    counted = [line for line in file["lines"] if line.get("function_name")]
    for line in counted:  # an inlined function has its lines once for each copy
        lines[line["line_number"]] = max(lines.get(line["line_number"], 0), line["count"])
    functions = sorted(
        (
            Function(one["name"], one["start_line"], one["end_line"], one["execution_count"])
            for one in file["functions"]
        ),
        key=lambda function: function.first,
    )
    branches = tuple(branch["count"] for line in counted for branch in line["branches"])
    return Covered(name, lines, branches, tuple(functions))


def executed(counts: Iterable[int]) -> tuple[int, int]:
    """How many were executed, and how many there are."""
    listed = list(counts)
    return sum(count > 0 for count in listed), len(listed)


def names(note: Path, counts: Counts) -> dict[bytes, str]:
    """Functions as counts know them, to their names, for those of the source file itself."""
    return dict(_named(note.read_bytes(), counts.functions, f"{note.stem}.c"))


def _named(notes: bytes, functions: Iterable[bytes], source: str) -> Iterator[tuple[bytes, str]]:
    for function in functions:
        # Its record in the notes: what its counts begin with, its name, whether the compiler made it, its file.
        if (at := notes.find(function)) < 0:
            continue
        name, at = _text(notes, at + len(function))
        file, _ = _text(notes, at + 4)
        if Path(file).name == source:
            yield function, name


def _text(notes: bytes, at: int) -> tuple[str, int]:
    """A text, and where it ends."""
    (length,) = struct.unpack_from("<I", notes, at)
    return notes[at + 4 : at + 4 + length].rstrip(b"\0").decode(), at + 4 + length
