# SPDX-License-Identifier: MIT
"""Kernel sources to build: a git tree at a commit, a tarball, or Debian's package.

Each is copied to a directory in the cache, because a work tree may change while it is built. Only the objects of a git
tree are read, and nothing is written to it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from common.kernels import Version
from common.near import near_path
from guest import GuestError, cache, debian
from guest.kernels import OLDEST, RELEASES, matches, revision

PACKAGE = r"linux-source-(?P<series>\d+\.\d+)"
ROOM = 2_500_000_000
"""Maximum size of an unpacked source, in bytes."""
SHORT = 12


class Source(Protocol):
    """Origin of a kernel."""

    @property
    def origin(self) -> str:
        """Names the directory for builds of it."""

    @property
    def label(self) -> str:
        """Distinguishes its kernels from others of the same version."""

    @property
    def about(self) -> str:
        """Description for users."""

    def put(self, place: Path) -> Path:
        """Put the source below ``place``, where builds of this origin expect it. Returns its directory."""


@dataclass(frozen=True)
class GitTree:
    """A commit of a git tree, or its work tree if that was changed."""

    origin: str
    label: str
    about: str
    tree: Path
    content: str
    """Git object: a commit, or a tree object in our own ``git`` directory."""

    @classmethod
    def find(cls, tree: Path, revision: str | None = None) -> GitTree:
        """The work tree as it is, or a revision. Raises GuestError."""
        no_tree = f"{tree} is not a git tree: give one, or a tarball of it, or --debian VERSION"
        top = _git(tree, "rev-parse", "--show-toplevel", missing=no_tree)
        if Path(top) != tree.resolve():
            raise GuestError(f"{tree} is not the top of a git tree ({top} is): give that, or a tarball")
        commit = _git(
            tree,
            "rev-parse",
            "--verify",
            "--quiet",
            f"{revision or 'HEAD'}^{{commit}}",
            missing=f"{tree} has no commit {revision or 'HEAD'}",
        )
        origin = f"{tree.resolve().name}-{hashlib.sha256(str(tree.resolve()).encode()).hexdigest()[:8]}"
        label, about = f"g{commit[:SHORT]}", f"{tree} at {commit[:SHORT]}"
        made = cls(origin, label, about, tree, commit)
        _check_version(
            _git(
                tree,
                "show",
                f"{commit}:Makefile",
                missing=f"{tree} is not the source of a kernel: it has no Makefile",
            ),
            tree,
        )
        if revision or not _git(tree, "status", "--porcelain"):
            return made
        changed = made.changed()
        return cls(origin, f"{label}-d{changed[:8]}", f"{about} with changes", tree, changed)

    @property
    def _own(self) -> Path:
        return cache.cache_root() / "builds" / self.origin / "git"

    def _environment(self) -> dict[str, str]:
        """Makes git store our objects separately, and read those of the tree."""
        if not (self._own / "HEAD").exists():
            self._own.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["git", "init", "--quiet", "--bare", self._own], check=True)
        objects = _git(self.tree, "rev-parse", "--path-format=absolute", "--git-path", "objects")
        return {
            "GIT_OBJECT_DIRECTORY": str(self._own / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
        }

    def changed(self) -> str:
        """The work tree as a tree object, untracked files included."""
        index = self._own / f"index.{os.getpid()}"
        environment = {**self._environment(), "GIT_INDEX_FILE": str(index)}
        try:
            shutil.copy(_git(self.tree, "rev-parse", "--path-format=absolute", "--git-path", "index"), index)
            _git(self.tree, "add", "--all", environment=environment)
            written = _git(self.tree, "write-tree", environment=environment)
        finally:
            index.unlink(missing_ok=True)
        return written

    def applied(self, series: Path) -> list[tuple[str, GitTree]]:
        """Titles of the patches of a file, and the tree with each of them and those before it.

        The file is a diff, or mails as ``git format-patch`` writes them. Raises GuestError naming the patch that does
        not apply.
        """
        index = self._own / f"index.{os.getpid()}"
        environment = {**self._environment(), "GIT_INDEX_FILE": str(index)}
        trees = []
        with tempfile.TemporaryDirectory(prefix="svmcts-patches-") as scratch:
            patches = _split(series, Path(scratch))
            try:
                _git(self.tree, "read-tree", self.content, environment=environment)
                for number, (title, patch) in enumerate(patches, 1):
                    which = f"{series}: patch {number} of {len(patches)}, {title!r}"
                    try:
                        _git(self.tree, "apply", "--cached", str(patch), environment=environment)
                    except GuestError as error:
                        said = str(error).removeprefix(f"{self.tree}: ").removeprefix("error: ")
                        raise GuestError(f"{which}, does not apply to {self.about}: {said}") from None
                    content = _git(self.tree, "write-tree", environment=environment)
                    label = f"{self.label}-d{content[:8]}"
                    about = f"{self.about} with {title!r}"
                    trees.append(
                        (title, dataclasses.replace(self, label=label, about=about, content=content))
                    )
            finally:
                index.unlink(missing_ok=True)
        return trees

    def diff(self, other: GitTree) -> str:
        """Changes from this commit to another one, as a patch."""
        arguments = ("diff", "--no-ext-diff", "--no-color", "--no-renames", self.content, other.content)
        # A last line may be a blank one of the context.
        return _git(self.tree, *arguments, "--", environment=self._environment()) + "\n"

    def show(self, file: str) -> str:
        """A file of this commit. Raises GuestError."""
        return _git(self.tree, "show", f"{self.content}:{file}", environment=self._environment())

    def commits(self, base: str, head: str) -> list[tuple[str, str]]:
        """(commit, title) of what ``head`` has on top of ``base``, ``head`` last. Raises GuestError."""
        said = _git(self.tree, "log", "--reverse", "--format=%H %s", f"{base}..{head}", "--")
        return [(commit, title) for commit, _, title in (line.partition(" ") for line in said.splitlines())]

    def put(self, place: Path) -> Path:
        """Write only files that differ from the last commit there, so that the next build makes only those."""
        source = place / "source"
        source.mkdir(parents=True, exist_ok=True)
        environment = {**self._environment(), "GIT_DIR": str(self._own), "GIT_WORK_TREE": str(source)}
        cache.say(f"checking out {self.about}")
        _git(source, "read-tree", "--reset", "-u", self.content, environment=environment)
        # After an interruption, files are neither in the old nor in the new state.
        _git(source, "clean", "-ffdxq", environment=environment)
        return source


@dataclass(frozen=True)
class Tarball:
    """A packed source tree, such as linux-7.3.tar.xz."""

    origin: str
    label: str
    about: str
    file: Path

    @classmethod
    def find(cls, file: Path) -> Tarball:
        """Raises GuestError."""
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()[:8]
        return cls(f"{file.name}-{digest}", f"t{digest}", str(file), file)

    def put(self, place: Path) -> Path:
        return _unpacked(self.file, place)


@dataclass(frozen=True)
class DebianSource:
    """Debian's package of a version."""

    origin: str
    label: str
    about: str
    package: debian.Package

    @classmethod
    def find(cls, wanted: str) -> DebianSource:
        """The newest package for a version such as 7.3 or 7.3.4. Raises GuestError."""
        archive = debian.Archive(*RELEASES)
        archive.refresh()
        packages = archive.packages(PACKAGE.replace("?P<series>", ""))
        fitting = [package for package in packages if matches(_upstream(package), wanted)]
        if not fitting:
            known = sorted({_upstream(p) for p in packages}, key=Version.parse)
            raise GuestError(f"Debian has no source of {wanted}; it has {', '.join(known)}")
        package = max(fitting, key=lambda one: (Version.parse(one.version), revision(one)))
        name = f"{package.name} {package.version}"
        _check_age(_upstream(package), name)
        return cls(f"debian-{package.version}", f"deb{revision(package)}", name, package)

    def put(self, place: Path) -> Path:
        if (source := place / "source").exists():
            return source
        archive = debian.Archive(*RELEASES)
        files = archive.fetch([self.package])
        unpacked = place / "package"
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir(parents=True)
        debian.unpack(files, unpacked)
        (tarball,) = unpacked.glob("usr/src/*.tar.*")
        source = _unpacked(tarball, place)
        shutil.rmtree(unpacked)
        for file in files:
            file.unlink()
        return source


def find(tree: str | None, version: str | None, revision: str | None) -> Source:
    """Source given by a user: a git tree (at a revision), a tarball, or a version of Debian's. Raises GuestError."""
    if version is not None:
        return DebianSource.find(version)
    path = Path(tree or "")
    if path.is_file():
        return Tarball.find(path)
    if not path.is_dir():
        raise GuestError(f"{tree}: no such file or directory{near_path(path)}")
    return GitTree.find(path, revision)


def version_of(makefile: str) -> str:
    """The version in a kernel's Makefile, as make kernelversion prints it; empty if it is not a kernel's."""
    found = dict(
        re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\d*|-.*?) *$", makefile, re.MULTILINE)
    )
    if not (found.get("VERSION") and found.get("PATCHLEVEL")) or "SUBLEVEL" not in found:
        return ""
    numbers = (found["VERSION"], found["PATCHLEVEL"], found["SUBLEVEL"])
    return f"{'.'.join(filter(None, numbers))}{found.get('EXTRAVERSION', '')}"


def _check_version(makefile: str, place: object) -> str:
    found = version_of(makefile)
    if not found:
        raise GuestError(f"{place} is not the source of a kernel: its Makefile has no version")
    _check_age(found, place)
    return found


def _check_age(version: str, place: object) -> None:
    if Version.parse(version) < OLDEST:
        raise GuestError(f"{place} is Linux {version}: {OLDEST} is the first whose xe knows the emulated GPU")


def version(source: Path, about: str) -> str:
    """The version of a source tree that can be used. Raises GuestError."""
    try:
        return _check_version((source / "Makefile").read_text(errors="replace"), about)
    except FileNotFoundError:
        raise GuestError(f"{about} is not the source of a kernel: it has no Makefile") from None


def _upstream(package: debian.Package) -> str:
    return package.version.partition("-")[0]


def _unpacked(tarball: Path, place: Path) -> Path:
    """The source in a tarball; unpacked once."""
    source = place / "source"
    if source.exists():
        return source
    cache.need_room(ROOM, f"the source of {tarball.name}")
    cache.say(f"unpacking {tarball.name}")
    partial = place / "source.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    command = ["tar", "-xf", str(tarball.absolute()), "-C", str(partial), "--strip-components=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(partial)
        said = (done.stderr.splitlines() or [f"tar ended with status {done.returncode}"])[0]
        raise GuestError(f"{tarball} does not unpack: {said}")
    os.sync()
    partial.rename(source)
    return source


def _git(
    tree: Path, *arguments: str, environment: Mapping[str, str] | None = None, missing: str | None = None
) -> str:
    """Output of git in ``tree``. Raises GuestError, with the line ``missing`` if git fails."""
    debian.need("git")
    done = subprocess.run(
        ["git", *arguments],
        cwd=tree,
        env={**_without_git(os.environ.items()), **(environment or {})},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"git {arguments[0]} gives {done.returncode}"
        raise GuestError(missing or f"{tree}: {said.removeprefix('fatal: ')}")
    return done.stdout.strip()


def _split(series: Path, scratch: Path) -> list[tuple[str, Path]]:
    """(title, patch) of each mail in a file, in their order; a diff without a mail's head is one patch."""
    try:
        text = series.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise GuestError(f"{series}: {error.strerror}: name a patch or a mailbox") from None
    if not re.match(r"From |[\w-]+: ", text):
        return [(series.name, series.absolute())]
    _git(scratch, "mailsplit", "-b", f"-o{scratch}", str(series.absolute()))
    found = []
    for mail in sorted(scratch.glob("[0-9]" * 4)):
        patch = mail.with_suffix(".patch")
        done = subprocess.run(
            ["git", "mailinfo", os.devnull, patch],
            input=mail.read_bytes(),
            capture_output=True,
            check=False,
            cwd=scratch,
        )
        head = done.stdout.decode(errors="replace")
        title = re.search(r"^Subject: (.*)", head, re.MULTILINE)
        if not done.returncode and patch.stat().st_size:  # a cover letter has no patch
            found.append((title[1] if title else mail.name, patch))
    if not found:
        raise GuestError(f"{series}: no patch in it: name a diff, or mails as git format-patch writes them")
    return found


def _without_git(variables: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The environment without variables of a git hook, which name another tree."""
    return {name: value for name, value in variables if not name.startswith("GIT_")}
