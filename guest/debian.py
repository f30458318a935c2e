# SPDX-License-Identifier: MIT
"""Debian packages without touching the machine's own packages: a private apt (own lists, own empty status).

apt does the fetching, so signatures, hashes, proxies and resumed downloads are apt's. Nothing is installed: packages
are unpacked into directories of the cache, which needs neither root nor chroot.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guest import GuestError, cache

KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
APT_HELPER = Path("/usr/lib/apt/apt-helper")
INDEX_AGE_S = 24 * 3600
ABANDONED_S = 7 * 24 * 3600
LISTS_SIZE = 150_000_000
"""Maximum size of the package lists while they are fetched, in bytes."""
UNPACKED = 5
"""Maximum space of packages while they are unpacked, the packages included, in sizes of the packages."""


@dataclass(frozen=True)
class Package:
    """A binary package of an archive's index. ``path`` is relative to the mirror, ``size`` is in bytes."""

    name: str
    version: str
    path: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        return Path(self.path).name


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of a deb822 text as ``{field: value}``; continuation lines are joined by newlines."""
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + line.strip()
            elif ":" in line and not line.startswith("#"):
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            yield fields


def parse_packages(text: str) -> list[Package]:
    """The packages of ``apt-cache show`` output."""
    return [
        Package(s["Package"], s["Version"], s["Filename"], int(s["Size"]), s["SHA256"])
        for s in stanzas(text)
        if s.keys() >= {"Package", "Version", "Filename", "Size", "SHA256"}
    ]


def parse_uris(text: str, mirror: str) -> list[Package]:
    """The packages of ``apt-get --print-uris``, whose URIs begin with ``mirror``."""
    line = re.compile(rf"^'{re.escape(mirror)}/([^']*)' (\S+)\.deb (\d+) SHA256:(\S+)", re.MULTILINE)
    found = []
    for path, name, size, sha256 in line.findall(text):
        package, version, _ = urllib.parse.unquote(name).split("_")
        found.append(Package(package, version, urllib.parse.unquote(path), int(size), sha256))
    return found


def debian_mirror(targets: str) -> str | None:
    """The Debian archive among the machine's apt sources, from ``apt-get indextargets`` output.

    Security and third-party archives are recognized by their Release file; where none was ever fetched, by the path.
    """
    unknown = None
    for stanza in stanzas(targets):
        uri = stanza.get("Repo-URI")
        if uri and stanza.get("Origin") == "Debian" and stanza.get("Label") == "Debian":
            return uri.rstrip("/")
        if uri and "Origin" not in stanza and uri.rstrip("/").endswith("/debian") and unknown is None:
            unknown = uri.rstrip("/")
    return unknown


@functools.cache
def mirror() -> str:
    """``$SVMCTS_MIRROR``, the machine's own Debian mirror, or debootstrap's default one."""
    if own := os.environ.get("SVMCTS_MIRROR"):
        return own.rstrip("/")
    need("apt-get")
    listed = subprocess.run(
        ["apt-get", "indextargets", "Created-By: Packages"], capture_output=True, text=True, check=False
    )
    if found := debian_mirror(listed.stdout):
        return found
    if program := shutil.which("debootstrap", path=os.environ.get("PATH", "") + ":/usr/sbin"):
        text = Path(program).read_text(errors="replace")
        if default := re.search(r'^\s*DEF_MIRROR="?([a-z]+://[^"\s]+)', text, re.MULTILINE):
            return default[1].rstrip("/")
    raise GuestError("no Debian mirror in this machine's apt sources: set SVMCTS_MIRROR to one")


def need(*programs: str) -> None:
    """Raise GuestError naming the first of ``programs`` that is not installed."""
    for program in programs:
        if not shutil.which(program):
            raise GuestError(
                f"{program} is not installed (Debian packages {{apt, dpkg}}): give --kernel a built kernel tree and "
                f"put a QEMU 10.1 or later in PATH, or install it"
            )


def keyring() -> Path:
    for path in KEYRINGS:
        if path.exists():
            return path
    raise GuestError("no Debian archive keys on this machine: apt-get install debian-archive-keyring")


class Archive:
    """Debian amd64 releases seen through a private apt.

    ``releases`` is for example ``("trixie", "trixie-backports")``; the last one is preferred.
    """

    def __init__(self, *releases: str) -> None:
        self.releases = releases
        self.directory = cache.cache_root() / "apt" / releases[-1]
        self.downloads = cache.cache_root() / "downloads"
        self.stamp = self.directory / "stamp"
        """A file whose modification time is that of the package lists."""
        self._configured = False

    def refresh(self, *, age_s: float = INDEX_AGE_S) -> None:
        """Fetch the package lists unless they are younger than ``age_s``; old lists are used if the mirror is not
        reachable.
        """
        stamp = self.stamp
        with cache.lock(f"apt-{self.releases[-1]}"):
            if stamp.exists() and time.time() - stamp.stat().st_mtime < age_s:
                return
            cache.need_room(LISTS_SIZE, "Debian's package lists")
            cache.say(f"fetching the package lists of Debian {', '.join(self.releases)}")
            done = self._apt("apt-get", "-q", "update", "--error-on=any", capture=True)
            if done.returncode == 0:
                stamp.touch()
            elif stamp.exists():
                cache.say(f"Debian cannot be reached, older lists are used: {first_error(done)}")
            else:
                raise GuestError(
                    f"Debian cannot be reached: {first_error(done)} (through apt's own proxy settings; "
                    f"SVMCTS_MIRROR=URL names another mirror)"
                )

    def packages(self, pattern: str) -> list[Package]:
        """All versions of the packages whose name matches ``pattern`` (a regular expression, whole name)."""
        listed = self._apt("apt-cache", "pkgnames", capture=True).stdout.split()
        names = sorted(name for name in listed if re.fullmatch(pattern, name))
        if not names:
            return []
        return parse_packages(self._apt("apt-cache", "show", "--all-versions", *names, capture=True).stdout)

    def fetch(self, packages: Sequence[Package]) -> list[Path]:
        """The verified .deb files of ``packages``: by the index, or from the pool by hash."""
        size = sum(package.size for package in packages)
        cache.need_room(size * UNPACKED, ", ".join(sorted({package.name for package in packages})[:3]))
        self.downloads.mkdir(parents=True, exist_ok=True)
        with cache.lock("downloads"):
            self._drop_abandoned()
            return [self._fetch_one(package) for package in packages]

    def _drop_abandoned(self) -> None:
        """Remove partial downloads that were not resumed."""
        for file in self.downloads.glob("*.deb"):
            # Not its modification time: apt sets that to the mirror's.
            if time.time() - file.stat().st_ctime > ABANDONED_S:
                file.unlink()

    def _fetch_one(self, package: Package) -> Path:
        path = self.downloads / package.file_name
        if path.exists() and path.stat().st_size == package.size:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == package.sha256:
                    return path
            path.unlink()
        need("apt-get")
        # apt-helper is what apt itself downloads with: it resumes, goes through apt's proxies, and checks the hash.
        done = self._apt(
            str(APT_HELPER),
            "download-file",
            f"{mirror()}/{package.path}",
            str(path),
            f"SHA256:{package.sha256}",
        )
        if done.returncode:
            # apt resumes a partial file; the mirror compares its time.
            if path.exists() and path.stat().st_size >= package.size:
                path.unlink()
            raise GuestError(f"apt could not fetch {package.file_name}; run the command again to resume")
        return path

    def fetch_closure(self, *names: str) -> list[Path]:
        """The .deb files of packages and everything they depend on, as on a machine with nothing installed."""
        # apt lists only what is not in its archives: those of an interrupted run would be missing.
        none = f"Dir::Cache::archives={self.directory}/no-archives"
        options = ("-o", none, "-o", "Acquire::ForceHash=SHA256")
        arguments = ("--no-install-recommends", "-t", self.releases[-1], *names)
        listed = self._apt("apt-get", "-qq", *options, "--print-uris", "install", *arguments, capture=True)
        if listed.returncode:
            raise GuestError(f"apt cannot resolve {' '.join(names)}: {last_error(listed)}")
        packages = parse_uris(listed.stdout, mirror())
        if {package.name for package in packages}.isdisjoint(names):
            raise GuestError(f"apt does not say what {' '.join(names)} needs: {listed.stdout[:200]!r}")
        megabytes = sum(package.size for package in packages) / 1e6
        with cache.at_work(f"fetching {', '.join(names)} with {len(packages)} packages, {megabytes:.0f} MB"):
            return self.fetch(packages)

    def _apt(self, *command: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        self._configure()
        need("apt-get")
        environment = {**os.environ, "APT_CONFIG": str(self.directory / "apt.conf"), "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            # Progress goes to standard error: standard output may be an execnet channel.
            stdout=subprocess.PIPE if capture else 2,
            stderr=subprocess.PIPE if capture else None,
            text=True,
            check=False,
        )

    def _configure(self) -> None:
        if self._configured:
            return
        for name in ("lists/partial", "state", "cache", "no-archives/partial"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.downloads / "partial").mkdir(parents=True, exist_ok=True)
        (self.directory / "status").touch()
        replace(self.directory / "debian.sources", sources_text(mirror(), self.releases, keyring()))
        acquire = subprocess.run(
            ["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False
        )
        replace(self.directory / "apt.conf", config_text(self.directory, self.downloads, acquire.stdout))
        self._configured = True


def sources_text(uri: str, releases: Iterable[str], keys: Path) -> str:
    return (
        f"Types: deb\nURIs: {uri}\nSuites: {' '.join(releases)}\nComponents: main\nArchitectures: amd64\n"
        f"Signed-By: {keys}\n"
    )


def config_text(directory: Path, downloads: Path, acquire: str) -> str:
    """An apt configuration that shares only the ``Acquire`` settings (proxies, timeouts) with the machine's."""
    settings: Mapping[str, str] = {
        "Dir::State": f"{directory}/state",
        "Dir::State::lists": f"{directory}/lists",
        "Dir::State::status": f"{directory}/status",
        "Dir::Cache": f"{directory}/cache",
        "Dir::Cache::archives": str(downloads),
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::sourcelist": f"{directory}/debian.sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",  # the cache may be below a home directory that apt's own user cannot enter
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "true",  # cache.lock() serialises; apt's own locks would fail instead of waiting
    }
    carried = [
        line for line in acquire.splitlines() if line.startswith("Acquire::") and "::IndexTargets" not in line
    ]
    lines = [*carried, *(f'{name} "{value}";' for name, value in settings.items())]
    return "\n".join(lines) + "\n"


def replace(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def first_error(done: subprocess.CompletedProcess[str]) -> str:
    """The first error without apt's prefix: further ones are its consequences."""
    for line in done.stderr.splitlines():
        if line.startswith("E:"):
            return " ".join(line.removeprefix("E:").split())
    return last_error(done)


def last_error(done: subprocess.CompletedProcess[str]) -> str:
    errors = [line for line in done.stderr.splitlines() if line.startswith("E:")]
    return (errors or done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1]


def unpack(files: Iterable[Path], directory: Path) -> None:
    """Unpack .deb files into ``directory``, then drop them from the cache: what was unpacked is never fetched again."""
    need("dpkg-deb")
    for file in files:
        done = subprocess.run(
            ["dpkg-deb", "-x", file, directory], capture_output=True, text=True, check=False
        )
        if done.returncode:
            file.unlink(missing_ok=True)
            raise GuestError(f"{file.name} does not unpack ({done.stderr.strip()}); run the command again")
