# SPDX-License-Identifier: MIT
"""Kernels built here, from a source and the options of the project (guest/kconfig).

The build tree stays in the cache, in a directory for each source and configuration: the next build makes only what
has changed, and continues an interrupted one. A complete kernel becomes an entry of its own, which guests boot.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from guest import GuestError, cache, kconfig, kernels, sources
from guest.kbuild import Make, Progress
from guest.kconfig import depends
from guest.sources import Source

TOOLS = {
    "gcc": "gcc", "make": "make", "bison": "bison", "flex": "flex", "bc": "bc", "perl": "perl", "tar": "tar",
    "xz": "xz-utils", "zstd": "zstd",
}  # fmt: skip
"""Programs that a build needs, and Debian's package of each."""
HEADERS = {"gelf.h": "libelf-dev", "openssl/opensslv.h": "libssl-dev"}
ROOM = 3_000_000_000
"""Upper bound of the bytes that a build needs."""
LONGEST_RELEASE = 64
"""Characters (include/uapi/linux/utsname.h: __NEW_UTS_LEN)."""
USUAL_STEPS = 2800
"""Steps of a build of a plain 7.3, to show the progress of a first build."""
FACTS, STEPS = "build.json", "steps"
NOTES = "notes"
"""Folder of a kernel, or next to modules, with the files that are needed to read coverage."""
KEPT = (kernels.IMAGE, ".config", "modules.order", "Module.symvers")
"""Files of a built tree that guests use, besides its modules."""


@dataclass(frozen=True)
class Build:
    """A kernel that was built."""

    name: str
    source: str
    profiles: tuple[str, ...]
    digest: str
    """Hash of the requested configuration."""
    release: str
    """Output of ``uname -r``."""
    time: str
    """Time of the build, as in ISO 8601."""
    seconds: int
    """Duration of its last build."""
    compiler: str
    out: str
    """Folder of make's other output."""

    @property
    def directory(self) -> Path:
        return directory(self.name)

    @property
    def changed(self) -> bool:
        """Whether its source has changes that no commit has, by its name (sources.py)."""
        return bool(re.search(r"-d[0-9a-f]{8}(-|$)", self.name))

    @property
    def current(self) -> bool:
        """Whether the folder of make's output has this kernel still, and not one that was built there since."""
        release = Path(self.out) / "include/config/kernel.release"
        return release.is_file() and release.read_text().strip() == self.release


def directory(name: str) -> Path:
    return cache.cache_root() / kernels.BUILT / name


def find(name: str) -> Build | None:
    """The kernel of that name, if it was built."""
    return _read(file) if (file := directory(name) / FACTS).is_file() else None


def every() -> list[Build]:
    """All kernels that were built, newest first."""
    files = directory("x").parent.glob(f"*/{FACTS}")
    found = (_read(file) for file in files if not file.parent.name.endswith((".partial", ".old")))
    return sorted(found, key=lambda build: build.time, reverse=True)


def _read(file: Path) -> Build:
    facts = json.loads(file.read_text())
    return Build(**{**facts, "profiles": tuple(facts["profiles"])})


def check_tools() -> None:
    """Raise GuestError if programs that a build needs are not installed: their names, and their packages."""
    lacking = {program: package for program, package in TOOLS.items() if not shutil.which(program)}
    if "gcc" not in lacking:
        lacking |= {header: package for header, package in HEADERS.items() if not _has_header(header)}
    if lacking:
        packages = " ".join(dict.fromkeys(lacking.values()))
        raise GuestError(f"kernels cannot be built without {', '.join(lacking)}: apt-get install {packages}")


def _has_header(name: str) -> bool:
    done = subprocess.run(
        ["gcc", "-E", "-x", "c", "-o", os.devnull, "-"],
        input=f"#include <{name}>\n".encode(),
        capture_output=True,
        check=False,
    )
    return not done.returncode


def make(source: Source, profiles: Iterable[str], jobs: int) -> Build:
    """Build a kernel, unless it was built before. Raises GuestError."""
    chosen = set(profiles)
    making = _Making(source, [name for name in kconfig.PROFILES if name in chosen], jobs)
    if known := making.known():
        return known
    check_tools()
    cache.need_room(ROOM, "a build")
    with _lock(making.place) as lock:
        return making.run(lock)


def make_modules(source: Source, base: Build, modules: Iterable[str], jobs: int, into: Path) -> list[Path]:
    """Build modules of another source of the same origin for an existing kernel, and copy them to ``into``.

    ``modules`` are paths below the build tree. Raises GuestError.
    """
    check_tools()
    making = _Making(source, base.profiles, jobs)
    with _lock(making.place) as lock:
        return making.modules(base, tuple(modules), into, lock)


def unpack(source: Source) -> Path:
    """The directory of a source, where builds of it have it. Raises GuestError."""
    place = _place(source)
    with _lock(place):
        return source.put(place)


def _place(source: Source) -> Path:
    return cache.cache_root() / "builds" / source.origin


@contextlib.contextmanager
def _lock(place: Path) -> Iterator[int]:
    """Lock of a build, which its make still holds if the build is killed."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            cache.say(f"waiting for a running build in {place}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


class _Making:
    """One build."""

    def __init__(self, source: Source, profiles: Sequence[str], jobs: int) -> None:
        self.source = source
        self.profiles = tuple(profiles)
        self.joined = "+".join(profiles)
        self.jobs = jobs
        self.place = _place(source)
        self.out = self.place / (self.joined or "plain")
        self.suffix = f"-{source.label}" + (f"-{self.joined}" if self.joined else "")
        self.needed = kconfig.asked(profiles)
        self.options = kconfig.read("base") | self.needed
        self.covered = kconfig.COVERED if "gcov" in profiles else ()
        asked = json.dumps([sorted(self.options.items()), self.covered])
        self.digest = hashlib.sha256(asked.encode()).hexdigest()[:16]

    def known(self) -> Build | None:
        """The kernel, if it was built from this source."""
        built = (
            build for build in every() if build.name.endswith(self.suffix) and build.digest == self.digest
        )
        return next((build for build in built if build.source == self.source.about), None)

    def run(self, lock: int) -> Build:
        """Build it. The descriptor of the lock is for make, which may outlive a build that is killed."""
        tree = self.source.put(self.place)
        name = sources.version(tree, self.source.about) + self.suffix
        if (there := find(name)) and there.digest == self.digest:
            return there  # another checkout of the same commit, or one that was built in the meantime
        suffix = self.suffix if len(name) <= LONGEST_RELEASE else f"-{self.source.label}-{self.digest[:8]}"
        begun = time.monotonic()
        cache.say(f"building {name} in {self.out}")
        self._make(tree, suffix, lock, "bzImage", "modules")
        (self.out / STEPS).write_text(str(_made(self.out)))
        release = (self.out / "include/config/kernel.release").read_text().strip()
        built = Build(
            name,
            self.source.about,
            self.profiles,
            self.digest,
            release,
            datetime.datetime.now(datetime.UTC).isoformat(),
            round(time.monotonic() - begun),
            _compiler(),
            str(self.out),
        )
        self._publish(built, tree)
        return built

    def modules(self, base: Build, names: Sequence[str], into: Path, lock: int) -> list[Path]:
        """Build modules with the release of ``base``, so that it loads them, and copy those in ``names``."""
        tree = self.source.put(self.place)
        version = sources.version(tree, self.source.about)
        if not base.release.startswith(f"{version}-"):
            raise GuestError(f"{self.source.about} is Linux {version}: {base.name} does not load its modules")
        cache.say(f"building modules of {self.source.about} for {base.name} in {self.out}")
        self._make(tree, base.release.removeprefix(version), lock, "modules")
        into.mkdir(parents=True, exist_ok=True)
        copies = []
        for name in names:
            copy = into / Path(name).name
            partial = copy.with_suffix(".partial")
            shutil.copyfile(self.out / name, partial)
            partial.rename(copy)
            copies.append(copy)
        self._keep_notes(tree, into / NOTES)
        return copies

    def _make(self, tree: Path, suffix: str, lock: int, *targets: str) -> None:
        """Configure, and make the targets. Raises GuestError."""
        self.out.mkdir(exist_ok=True)
        variables = {"LOCALVERSION": suffix, **({"CC": "ccache gcc"} if shutil.which("ccache") else {})}
        for pattern in self.covered:
            # kbuild asks for this of every object (scripts/Makefile.lib): no Makefile has to be changed.
            variables |= {f"GCOV_PROFILE_{file.stem}.o": "y" for file in sorted(tree.glob(pattern))}
        try:
            make = Make(tree, self.out, variables, [lock])
            self._configure(make)
            make(f"-j{self.jobs}", *targets, progress=Progress(_made(self.out), self._steps()))
        except GuestError as error:
            raise GuestError(f"{self.source.about}: {error}") from None

    def _steps(self) -> int:
        """Estimated number of steps of a whole build."""
        file = self.out / STEPS
        return int(file.read_text()) if file.exists() else USUAL_STEPS

    def _configure(self, make: Make) -> None:
        """Make the configuration, and check that all options were kept. Raises GuestError."""
        config = self.out / ".config"
        # Options that are not listed are off. Those that become visible only then have their default.
        make("-s", "allnoconfig")
        others = [line for line in config.read_text().splitlines() if kconfig.name(line) not in self.options]
        ours = [kconfig.line(name, value) for name, value in self.options.items()]
        config.write_text("\n".join((*others, *ours)) + "\n")
        make("-s", "olddefconfig")
        options = kconfig.parse(config.read_text())
        lost = [
            name for name, value in self.options.items() if not kconfig.does(options.get(name, "n"), value)
        ]
        for name in lost:
            if name in self.needed:
                what = f"CONFIG_{name}={self.needed[name]}"
                reason = depends.reason(make.source, name, options)
                raise GuestError(
                    f"the configuration loses {what}{kconfig.purpose(name, self.profiles)}: {reason}"
                )
        if lost:
            cache.say(f"this kernel has no {', '.join(lost)}, which guests do not need")

    def _keep_notes(self, tree: Path, into: Path) -> None:
        """Copy the files that are needed to read coverage: the compiler's notes, and the sources that they refer to."""
        for pattern in self.covered:
            for source in tree.glob(pattern):
                name = source.relative_to(tree)
                if (note := (self.out / name).with_suffix(".gcno")).is_file():
                    for file, target in ((source, into / name), (note, (into / name).with_suffix(".gcno"))):
                        target.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(file, target)

    def _publish(self, built: Build, tree: Path) -> None:
        """Publish a complete build under the kernel's name: all of it or nothing."""
        final = built.directory
        partial, old = (final.with_name(f"{final.name}.{word}") for word in ("partial", "old"))
        shutil.rmtree(partial, ignore_errors=True)
        modules = [
            line.rsplit(".", 1)[0] + ".ko" for line in (self.out / "modules.order").read_text().split()
        ]
        for name in (*KEPT, *modules):
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.out / name, partial / name)
        self._keep_notes(tree, partial / NOTES)
        (partial / FACTS).write_text(json.dumps(asdict(built), indent=1) + "\n")
        os.sync()
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
            final.rename(old)
        partial.rename(final)
        shutil.rmtree(old, ignore_errors=True)


def _made(out: Path) -> int:
    """Number of files that kbuild has made there: it saves the command of each."""
    return sum(name.endswith(".cmd") for _, _, names in os.walk(out) for name in names)


def _compiler() -> str:
    done = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]
