# SPDX-License-Identifier: MIT
"""Origin of a header: a file, a pipe, or a revision of a git repository, ``v7.3:include/uapi/drm/xe_drm.h``."""

from __future__ import annotations

import io
import os
import re
import select
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from common.answers import NoAnswerError

SIZE = 4 << 20  # bytes; the xe_drm.h of Linux 7.3 has 93,000
SECONDS = 10  # for a pipe to be written; git is given more
GIT_SECONDS = 60


class HeaderError(NoAnswerError):
    """A header that cannot be read; the message is one line with the place."""


@dataclass(frozen=True)
class Source:
    """A header's text, and what is around it.

    ``label``: what the user called it. ``name``: its file's name. ``folder``: where the headers next to it are, None
    for a pipe. ``kernel``: the version of the kernel that it belongs to and the source of that, if it is known.
    """

    label: str
    name: str
    text: str
    folder: Path | None = None
    kernel: tuple[str, str] | None = None


def find(wanted: str, scratch: Path) -> Source:
    """The header that the user means; what git has is put into ``scratch``. HeaderError says why there is none."""
    path = Path(wanted)
    revision, colon, inside = wanted.partition(":")
    if colon and revision and inside and not path.exists():
        return _of_git(wanted, revision, inside, scratch)
    text = _decoded(wanted, _read(path))
    try:
        resolved = path.resolve()
        regular = resolved.is_file()
    except OSError:
        regular = False
    if not regular:
        return Source(wanted, "header.h", text)
    name = path.name if re.fullmatch(r"[\w.+-]+\.h", path.name) else "header.h"
    return Source(wanted, name, text, resolved.parent, _kernel_around(resolved))


def _decoded(label: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise HeaderError(f"{label}: not text") from None


def _read(path: Path) -> bytes:
    """All of a file or a pipe; refuses one that is endless or never written to."""
    try:
        kind = path.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
            raise HeaderError(f"{path}: not a file" + (", a directory" if stat.S_ISDIR(kind) else ""))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            return _drain(path, descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise HeaderError(f"{path}: {error.strerror}") from None
    except ValueError:  # a name with a NUL in it
        raise HeaderError(f"{path}: not the name of a file") from None


def _drain(path: Path, descriptor: int) -> bytes:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + SECONDS
    data = bytearray()
    while len(data) <= SIZE:
        left = deadline - time.monotonic()
        if left <= 0 or not waiting.poll(1000 * left):
            raise HeaderError(f"{path}: not written to its end within {SECONDS} s")
        piece = os.read(descriptor, SIZE)
        if not piece:
            return bytes(data)
        data += piece
    raise HeaderError(f"{path}: more than {SIZE >> 20} MiB, not a header")


def _of_git(wanted: str, revision: str, inside: str, scratch: Path) -> Source:
    """A file of a revision, with the headers next to it."""
    place = PurePosixPath(inside)
    folder = str(place.parent) + "/" if place.parent.name else "./" if inside.startswith("./") else ""
    tree = _git(wanted, "rev-parse", "--verify", "--end-of-options", f"{revision}:{folder}").decode().strip()
    archive = _git(wanted, "archive", "--format=tar", tree)
    unpacked = scratch / tree
    unpacked.mkdir(exist_ok=True)
    found: bytes | None = None
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for member in files:
            content = files.extractfile(member) if member.isreg() and "/" not in member.name else None
            if content is not None and member.size <= SIZE:
                data = content.read()
                (unpacked / member.name).write_bytes(data)
                found = data if member.name == place.name else found
    if found is None:
        raise HeaderError(f"{wanted}: no file {place.name} in {revision}:{folder}")
    name = place.name if re.fullmatch(r"[\w.+-]+\.h", place.name) else "header.h"
    return Source(wanted, name, _decoded(wanted, found), unpacked, _kernel_of(revision))


def _kernel_of(revision: str) -> tuple[str, str] | None:
    """The version in the Makefile of a revision."""
    try:
        text = _git(revision, "show", "--end-of-options", f"{revision}:Makefile").decode(errors="replace")
    except HeaderError:
        return None
    version = _makefile_version(text)
    return (version, f"{revision}:Makefile") if version else None


def _git(label: str, *arguments: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=GIT_SECONDS,
            env={**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
        )
    except FileNotFoundError:
        raise HeaderError(f"{label}: no such file, and git, which has revisions, is not installed") from None
    except subprocess.TimeoutExpired:
        raise HeaderError(f"{label}: git did not answer within {GIT_SECONDS} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines() or [f"git ended with {done.returncode}"]
        raise HeaderError(f"{label}: no such file, and git says: {lines[0]}")
    return done.stdout


def _kernel_around(path: Path) -> tuple[str, str] | None:
    """The version of the kernel tree that a header is in, or of the headers installed around it."""
    tries: list[tuple[Path, Callable[[str], str | None]]] = []
    if path.match("include/uapi/drm/*.h"):
        tries.append((path.parents[3] / "Makefile", _makefile_version))
    if len(path.parents) > 1:
        tries.append((path.parents[1] / "linux" / "version.h", _installed_version))
    for file, version_in in tries:
        try:
            version = version_in(file.read_text(errors="replace")) if file.is_file() else None
        except OSError:
            continue
        if version:
            return version, str(file)
    return None


def _makefile_version(text: str) -> str | None:
    found = re.search(r"^VERSION = (\d+)\nPATCHLEVEL = (\d+)$", text, re.MULTILINE)
    return f"{found[1]}.{found[2]}" if found else None


def _installed_version(text: str) -> str | None:
    major = re.search(r"LINUX_VERSION_MAJOR (\d+)", text)
    minor = re.search(r"LINUX_VERSION_PATCHLEVEL (\d+)", text)
    return f"{major[1]}.{minor[1]}" if major and minor else None
