# SPDX-License-Identifier: MIT
"""The Python environment as an initramfs archive: interpreter, libraries, standard library, locked packages.

The guest sees the host's files over 9p, but importing pytest that way takes tens of seconds under TCG. The archive
holds the files of this very environment at the same paths, compiled; the guest lays it over the host's files, so what
is left out here is still found, only slower.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import re
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from guest import GuestError, cache, compiled
from guest.cpio import Writer

PROJECT_FOLDERS = {"fixtures": True, "suites": True, "ioctl": False, "gpu": False, "reports": False}
WHOLE = "/svmcts/whole"  # as in guest/init.py
FORMAT = "7"  # part of the key: a change of what is packed makes new archives
# Never imported by a run in the guest; together three quarters of a standard library.
LEFT_OUT = {
    "__pycache__", "config-3", "distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test",
    "tests", "tkinter", "turtledemo",
}  # fmt: skip
LEFT_OUT_OBJECTS = re.compile(r"_tkinter|_?(curses|test|dbm|gdbm|xx|nis|sqlite3|ctypes_test)")


def standard_library() -> Iterator[Path]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for directory, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith("config-")]
        for name in files:
            if name.endswith(".py") or (name.endswith(".so") and not LEFT_OUT_OBJECTS.match(name)):
                yield Path(directory) / name


def packages(lock: Path) -> Iterator[tuple[Path, bool]]:
    """Files of the distributions that pytest imports, and whether these bring a pytest plugin.

    These are the distributions of the lock file, and all other installed plugins with their requirements: pytest loads
    all of them, and a waiting worker that lacks one has imported nothing.
    """
    tested = tested_packages()
    found: dict[str, importlib.metadata.Distribution] = {}
    for name in re.findall(r"^([\w.-]+)==", lock.read_text(), re.MULTILINE):
        try:
            found[canonicalize_name(name)] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise GuestError(f"{name} of {lock.name} is not installed in {sys.prefix}: make setup") from error
    for name in sorted(tested):
        add_with_needs(found, name)
    for name, distribution in found.items():
        for file in distribution.files or ():
            path = Path(os.path.normpath(str(file.locate())))
            if path.suffix != ".pyc" and path.is_file():
                yield path, name in tested


def add_with_needs(found: dict[str, importlib.metadata.Distribution], name: str) -> None:
    """Add the distribution ``name`` and its requirements; those that are not installed are skipped."""
    name = canonicalize_name(name)
    if name in found:
        return
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found[name] = importlib.metadata.distribution(name)
        for text in found[name].requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                add_with_needs(found, needed.name)


def small_files(site: Path) -> Iterator[Path]:
    """Files that Python and pytest read from every distribution: start-up files and metadata."""
    for pattern in ("*.pth", "*.dist-info/*", "_distutils_hack/*.py"):
        yield from (path for path in site.glob(pattern) if path.is_file())


def names() -> list[Path]:
    """Names of the interpreter, ours included: the archive is the same whichever one started us."""
    usual = {"python", "python3", f"python3.{sys.version_info.minor}", Path(sys.executable).name}
    return [path for name in sorted(usual) if (path := Path(sys.prefix) / "bin" / name).exists()]


def interpreter() -> Iterator[Path]:
    yield from names()
    yield Path(sys.prefix) / "pyvenv.cfg"
    for name in ("libpython3.so", f"libpython{sysconfig.get_config_var('LDVERSION')}.so.1.0"):
        if (path := Path(sysconfig.get_config_var("LIBDIR") or "/nowhere") / name).exists():
            yield path
    for path in (Path("/etc/ld.so.cache"), Path("/etc/localtime")):
        if path.exists():
            yield path


def libraries(objects: list[Path]) -> set[Path]:
    """The shared libraries that ``objects`` load, with the dynamic loader."""
    done = subprocess.run(["ldd", *objects], capture_output=True, text=True, check=False)
    return {Path(path) for path in re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", done.stdout, re.MULTILINE)}


def tested_packages() -> set[str]:
    """Distributions that bring a pytest plugin: pytest rewrites the assertions of all their modules."""
    points = importlib.metadata.entry_points(group="pytest11")
    return {canonicalize_name(point.dist.name) for point in points if point.dist is not None}


def loaded_part(elf: bytes) -> bytes:
    """A 64-bit ELF object without symbols and debugging information, which are never loaded."""
    (table,) = struct.unpack_from("<Q", elf, 0x20)
    entry_size, count = struct.unpack_from("<HH", elf, 0x36)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + index * entry_size) for index in range(count)]
    end = max(offset + size for _, _, offset, _, _, size in headers)
    # No section headers either: they are beyond the new end.
    return elf[:0x28] + bytes(8) + elf[0x30:0x3A] + bytes(6) + elf[0x40:end]


def contents(lock: Path) -> dict[Path, bool]:
    """Every host file of the environment, and whether pytest compiles it in its own way."""
    site = Path(sysconfig.get_paths()["purelib"])
    files = dict.fromkeys([*interpreter(), *standard_library(), *small_files(site)], False)
    for path, tested in packages(lock):
        files[path] = tested
    return {path: tested for path, tested in files.items() if path.exists()}


def digest(files: Iterable[Path]) -> str:
    """Inputs of the archive: the interpreter, and path, size and time of every file."""
    total = hashlib.sha256(f"{FORMAT} {sys.version} {sys.prefix}".encode())
    for path in files:
        status = path.stat()
        total.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return total.hexdigest()[:16]


def provide(lock: Path) -> Path:
    """The archive of this environment, made when the cache does not have it."""
    files = contents(lock)
    directory = cache.provide(f"environment/{digest(files)}", lambda path: build(files, path))
    cache.keep_newest(directory, 4)
    return directory / "environment.cpio"


def is_here(entry: Path, writer: Writer, whole: set[PurePosixPath]) -> bool:
    """Whether the archive has all that the host has in ``entry``, except for what Python compiled there."""
    if entry.name == "__pycache__" or entry.suffix == ".pyc":
        return True
    is_directory = entry.is_dir() and not entry.is_symlink()
    return PurePosixPath(entry) in (whole if is_directory else writer.paths)


def add_whole_directories(writer: Writer, name: str) -> None:
    """Tell init which directories are complete in the archive, so that it need not look on the host.

    Without that, every import looks for the package's directory on the host, too, to join it with the archive's.
    """
    whole: set[PurePosixPath] = set()
    # From the deepest up: what hides the host's directory hides everything below it.
    for path in sorted(writer.paths, key=lambda path: len(path.parts), reverse=True):
        directory = Path(path)
        if not directory.is_dir() or directory.is_symlink():
            continue
        if all(is_here(entry, writer, whole) for entry in directory.iterdir()):
            whole.add(path)
    writer.text(f"{WHOLE}/{name}", "".join(f"{path}\n" for path in sorted(whole)))


def build(files: Mapping[Path, bool], directory: Path) -> None:
    with cache.at_work(f"packing the Python environment {sys.prefix} for the guest"):
        _build(files, directory)


def _build(files: Mapping[Path, bool], directory: Path) -> None:
    objects = [Path(sys.executable).resolve(), *(path for path in files if path.suffix == ".so")]
    with (directory / "environment.cpio").open("wb") as file:
        writer = Writer(file)
        for path in (*sorted(libraries(objects)), *objects):
            writer.host(path, loaded_part(path.read_bytes()))
        for path, tested in files.items():
            writer.host(path)
            if path.suffix == ".py":
                for name, content in compiled.forms(path.resolve(), tested=tested):
                    writer.data(PurePosixPath(name), content)
        add_whole_directories(writer, "environment")
        writer.close()


def project_sources(project: Path) -> Iterator[tuple[Path, bool]]:
    """The project's modules that a run in the guest imports, and whether pytest compiles them in its own way."""
    yield project / "conftest.py", True
    for folder, tested in PROJECT_FOLDERS.items():
        for path in sorted((project / folder).rglob("*.py")):
            yield path, tested
