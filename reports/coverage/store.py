# SPDX-License-Identifier: MIT
"""Counts of the kernel for each test of a run: a database in the run's folder.

A test is written at its end, so that a guest that is lost later loses nothing of it; the test in which it is lost has
no counts, and readers report that.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from reports.coverage.gcda import Counts
from reports.event import NO_TEST

FILE = "coverage.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS environments (env TEXT PRIMARY KEY, options TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tests (env TEXT NOT NULL, test TEXT NOT NULL, id INTEGER PRIMARY KEY);
CREATE INDEX IF NOT EXISTS names ON tests (env, test);
CREATE TABLE IF NOT EXISTS files (name TEXT NOT NULL UNIQUE, id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS counts (test INTEGER NOT NULL, file INTEGER NOT NULL, gcda BLOB NOT NULL);
"""


class Writer:
    """Takes the counts of workers, as they read them from the kernel: from its start."""

    def __init__(self, folder: Path) -> None:
        """Raises sqlite3.Error."""
        self._lock = threading.Lock()
        self._database = sqlite3.connect(folder / FILE, check_same_thread=False)
        # A run that is killed loses nothing; a power cut may take the last tests.
        self._database.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_TABLES}")
        self._last: dict[tuple[str, str], Counts] = {}

    def environment(self, env: str, options: Sequence[str]) -> None:
        """Say which options of pytest select an environment: they name its kernel and modules. Raises sqlite3.Error."""
        with self._lock, self._database as database:
            row = env, json.dumps(options)
            database.execute("INSERT OR REPLACE INTO environments VALUES (?, ?)", row)

    def add(self, reader: str, env: str, test: str, files: dict[str, bytes]) -> None:
        """``files`` are those whose counts have changed since the last call of this reader, compressed.

        Called in any thread. Raises CountsError and sqlite3.Error.
        """
        with self._lock, self._database as database:
            (row,) = database.execute(
                "INSERT INTO tests (env, test) VALUES (?, ?) RETURNING id", (env, test)
            ).fetchall()
            for name, packed in files.items():
                counts = Counts.parse(zlib.decompress(packed))
                before = self._last.get((reader, name))
                self._last[reader, name] = counts
                database.execute("INSERT OR IGNORE INTO files (name) VALUES (?)", (name,))
                database.execute(
                    "INSERT INTO counts SELECT ?, id, ? FROM files WHERE name = ?",
                    (row[0], zlib.compress((counts.since(before) if before else counts).encode()), name),
                )

    def close(self) -> None:
        """No more."""
        self._database.close()


class Stored:
    """The counts of a run, to read."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def exists(self) -> bool:
        return self.path.is_file()

    def environments(self) -> dict[str, list[str]]:
        """The environments with counts, and the options that select each."""
        return {
            env: json.loads(options)
            for env, options in self._ask("SELECT env, options FROM environments ORDER BY env")
        }

    def counted(self, env: str) -> bool:
        """Whether its kernel has gcov."""
        return any(True for _ in self._ask("SELECT 1 FROM tests WHERE env = ? LIMIT 1", env))

    def tests(self, env: str) -> list[str]:
        """The tests that have counts."""
        found = self._ask("SELECT DISTINCT test FROM tests WHERE env = ? AND test != ?", env, NO_TEST)
        return [name for (name,) in found]

    def counts(self, env: str) -> Iterator[tuple[str, str, Counts]]:
        """Test, file and what it executed there; what is not of a test comes first, and has all functions."""
        rows = self._ask(
            "SELECT tests.test, files.name, gcda FROM counts JOIN tests ON tests.id = counts.test "
            "JOIN files ON files.id = counts.file WHERE env = ? ORDER BY tests.test != ?, tests.id",
            env,
            NO_TEST,
        )
        for test, file, packed in rows:
            yield test, file, Counts.parse(zlib.decompress(packed))

    def _ask(self, question: str, *values: str) -> Iterator[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as database:
            yield from database.execute(question, values)
