# SPDX-License-Identifier: MIT
"""The cache directory: everything fetched or built, shared by all checkouts and runs of this user.

An entry is a directory that is complete or absent: it is built under another name and renamed, under a lock, so that
parallel builders wait for each other and an interrupted one leaves nothing that looks finished.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from common.heartbeat import Heartbeat, since
from guest import GuestError


def cache_root() -> Path:
    """``$SVMCTS_CACHE``, or ``svm-cts`` in the user's cache directory (XDG base directories)."""
    if own := os.environ.get("SVMCTS_CACHE"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(base).expanduser() / "svm-cts").absolute()


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the cache's lock ``name``; prints a line if another process holds it."""
    path = cache_root() / "locks" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("w")
    except OSError as error:
        raise GuestError(
            f"the cache {cache_root()} cannot be written ({error.strerror}): set SVMCTS_CACHE"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another svmcts that prepares {name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def need_room(size: int, what: str) -> None:
    """Raise GuestError unless the cache's file system has ``size`` bytes for ``what``: apt hangs on a full one."""
    root = cache_root()
    place = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < size:
        raise GuestError(
            f"no room for {what}: it takes {size / 1e6:.0f} MB, {root} has {free / 1e6:.0f} MB: "
            "free some, or set SVMCTS_CACHE to a directory elsewhere"
        )


def find(key: str) -> Path | None:
    """The finished entry ``key`` (a relative path), if there is one."""
    path = cache_root() / key
    return path if path.exists() else None


def provide(key: str, build: Callable[[Path], None]) -> Path:
    """The entry ``key``; made by ``build(directory)`` if the cache does not have it.

    ``build`` gets a fresh directory on the cache's file system. If it raises, the cache is unchanged.
    """
    if found := find(key):
        return found
    with lock(key.replace("/", "-")):
        if found := find(key):
            return found
        final = cache_root() / key
        partial = final.with_name(final.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            build(partial)
            os.sync()  # a rename must not reach the disk before the files it publishes
            partial.rename(final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return final


def keep_newest(entry: Path, count: int = 8) -> None:
    """Mark ``entry`` as used now and drop its oldest siblings; readers keep the files that they have open.

    Others may do the same at the same time, and a cache that cannot be written is left as it is.
    """
    with contextlib.suppress(OSError):
        os.utime(entry)
    for old in sorted(entry.parent.iterdir(), key=last_used)[:-count]:
        shutil.rmtree(old, ignore_errors=True)


def last_used(entry: Path) -> float:
    """When an entry was used last, in seconds since the epoch; 0 for one that has just been dropped."""
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def say(text: str) -> None:
    """One line of progress for the user; never on standard output, which may be a channel."""
    print(f"svmcts: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def at_work(text: str) -> Iterator[None]:
    """Print the current action, and once per minute that it continues."""
    say(text)
    start = time.monotonic()
    with Heartbeat(lambda: f"{text}: {since(start)} so far", say):
        yield
