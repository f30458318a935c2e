# SPDX-License-Identifier: MIT
"""Folders of runs: each run has one of its own, ``reports/out`` shows the newest, old ones are dropped.

    reports/out/runs/20261129-221500-7/      the files of the run that began then, with seed 7
    reports/out/newest                       a link to the run that was started or resumed last
    reports/out/results.jsonl, index.html... links to the files of that run

A folder that was named (``--results=DIR``) has the files of its run directly in it, and what it had before in
``DIR/earlier``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import re
import shutil
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from reports.event import Outcome
from reports.stream import STREAM, Run, read

OUT = Path("reports/out")
"""Folder of kept runs, below the checkout."""
RUNS = "runs"
NEWEST = "newest"
EARLIER = "earlier"
FILES = ("index.html", STREAM, "junit.xml", "allure-results")
"""Files of a run for readers."""
LOGS = "logs"
"""Files of its workers."""
KEPT = 20
"""Runs that are kept by default."""

_LOCK = ".lock"
_FLOCK = "hhqqi"
"""``struct flock`` of fcntl(2)."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errnos of a file system without locks."""


_NUMBER = re.compile(r"\d+")


class BusyError(Exception):
    """Another process writes a run into the folder; the message names it."""


class Lock:
    """Held by the process that writes a run, until it ends for any reason.

    It is a POSIX record lock: children that tests fork do not inherit it.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock of a folder; raises BusyError, or OSError where no file can be made."""
        self._path = folder / _LOCK
        while True:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    os.close(self._fd)
                    pid = holder(folder)
                    raise BusyError(f"process {pid}" if pid > 0 else "another process") from None
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._fd), self._path.stat()):
                    return
            os.close(self._fd)  # its holder removed the file in between

    def release(self) -> None:
        """Release it; a second time does nothing."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def holder(folder: Path) -> int:
    """The process that writes a run into a folder: 0 if none does, -1 if it cannot be named from here."""
    try:
        fd = os.open(folder / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    except OSError:
        return 0
    finally:
        os.close(fd)
    return 0 if kind == fcntl.F_UNLCK else pid if pid > 0 else -1


def left_locked(folder: Path) -> bool:
    """Whether the process that wrote a run into a folder ended without releasing its lock: it was killed."""
    return (folder / _LOCK).exists() and holder(folder) == 0


def new_folder(out: Path, start: datetime, seed: int) -> Path:
    """Make the folder of a run that begins at ``start``; raises OSError."""
    runs = out / RUNS
    runs.mkdir(parents=True, exist_ok=True)
    return _make(runs, start, seed)


def _make(parent: Path, start: datetime, seed: object) -> Path:
    name = f"{start.astimezone(UTC):%Y%m%d-%H%M%S}-{seed}"
    others = [path.name.removeprefix(f"{name}-") for path in parent.glob(f"{name}*")]
    last = max((int(text) if text.isdecimal() else 1 for text in others), default=0)
    # Past the last one, not into a gap: a run that was dropped as the oldest would have its name taken over.
    for number in itertools.count(last + 1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError


def put_away(folder: Path, into: Path) -> None:
    """Move the files of an earlier run out of the way of a new one, to a folder below ``into``; raises OSError."""
    found = [path for path in _files(folder) if not path.is_symlink()]
    if not found:
        return
    into.mkdir(parents=True, exist_ok=True)
    kept = _make(into, *_began(folder / STREAM if folder / STREAM in found else found[0]))
    for path in found:
        path.rename(kept / path.name)


def drop_links(folder: Path) -> None:
    """Remove links in place of a run's files, as in a copy of ``reports/out``: they point to another run."""
    for path in _files(folder):
        if path.is_symlink():
            path.unlink()


def _files(folder: Path) -> list[Path]:
    return [path for name in (*FILES, LOGS) if os.path.lexists(path := folder / name)]


def _began(path: Path) -> tuple[datetime, object]:
    """Start and seed of the run of a file, if the file has them."""
    try:
        with path.open("rb") as stream:
            head = json.loads(stream.readline())
        return datetime.fromisoformat(head["start"]), int(head["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC), "unknown"


def show(out: Path, folder: Path) -> None:
    """Have ``out`` show the run in ``folder``: all of it changes at one moment; raises OSError."""
    _link(out / NEWEST, f"{RUNS}/{folder.name}")
    for name in FILES:
        target = f"{NEWEST}/{name}"
        if not (out / name).is_symlink() or (out / name).readlink() != Path(target):
            _link(out / name, target)


def _link(path: Path, target: str) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)


def prune(runs: Path, keep: int, linked_from: Iterable[Path]) -> list[Path]:
    """Drop all runs but the newest ``keep``, those that continue, and those that a link in ``linked_from`` names.

    Returns what was dropped. What cannot be removed stays.
    """
    old = _folders(runs)[:-keep]
    linked = {target for top in linked_from for target in _links_below(top)} if old else set()
    dropped = []
    for folder in old:
        place = folder.resolve()
        if any(target == place or place in target.parents for target in linked):
            continue
        try:
            lock = Lock(folder)
        except (BusyError, OSError):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        if not folder.exists():
            dropped.append(folder)
    return dropped


def _folders(runs: Path) -> list[Path]:
    """The folders of runs, oldest first."""
    try:
        found = [path for path in runs.iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda path: _NUMBER.sub(lambda number: number[0].zfill(20), path.name))


def _links_below(top: Path) -> Iterator[Path]:
    """Targets of the links in a folder, except those inside of runs."""
    for where, folders, files in os.walk(top):
        for name in (*folders, *files):
            if (path := Path(where, name)).is_symlink():
                yield path.resolve()
        if Path(where).name in (RUNS, EARLIER):
            folders.clear()


class State(Enum):
    """State of a run."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    NOT_STARTED = "did not start"


@dataclass(frozen=True)
class Listed:
    """A run in a list."""

    folder: Path
    run: Run

    @property
    def state(self) -> State:
        """State of the run."""
        if holder(self.folder):
            return State.RUNNING
        outcomes = self.counts
        if self.run.exit in (0, 1) and not outcomes[Outcome.NOTRUN]:
            return State.FINISHED
        return State.INTERRUPTED if outcomes or not self.run.end else State.NOT_STARTED

    @property
    def counts(self) -> Counter[Outcome]:
        """Number of results of each outcome."""
        return Counter(result.outcome for result in self.run.results)


def listed(folder: Path) -> list[Listed]:
    """The runs of ``reports/out``, or of a folder that was named, oldest first; raises OSError."""
    own = [folder] if (folder / STREAM).exists() and not (folder / STREAM).is_symlink() else []
    folders = [*_folders(folder / RUNS), *_folders(folder / EARLIER), *own]
    runs = [Listed(path, read(path)) for path in folders if (path / STREAM).exists()]
    return sorted(runs, key=lambda entry: entry.run.start)
