# SPDX-License-Identifier: MIT
"""The Python environment as an initramfs archive: interpreter, libraries, standard library, locked packages.

The guest sees the host's files over 9p, but importing pytest that way takes tens of seconds under TCG. The archive
holds the files of this very environment at the same paths, compiled; the guest lays it over the host's files, so what
is left out here is still found, only slower.
"""

import hashlib
import importlib.metadata
import os
import py_compile
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from guest import GuestError, cache
from guest.cpio import Writer

FORMAT = "1"  # part of the key: a change of what is packed makes new archives
# Never imported by a run in the guest; together three quarters of a standard library.
LEFT_OUT = {
    "__pycache__", "config-3", "distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test",
    "tests", "tkinter", "turtledemo",
}  # fmt: skip
LEFT_OUT_OBJECTS = re.compile(r"_tkinter|_?(curses|test|dbm|gdbm|xx|readline|nis|sqlite3|ctypes_test)")


def standard_library() -> Iterator[Path]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for directory, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith("config-")]
        for name in files:
            if name.endswith(".py") or (name.endswith(".so") and not LEFT_OUT_OBJECTS.match(name)):
                yield Path(directory) / name


def locked_packages(lock: Path) -> Iterator[Path]:
    """The files of the distributions that the lock file names."""
    for name in re.findall(r"^([\w.-]+)==", lock.read_text(), re.MULTILINE):
        try:
            files = importlib.metadata.distribution(name).files or ()
        except importlib.metadata.PackageNotFoundError as error:
            raise GuestError(f"{name} of {lock.name} is not installed in {sys.prefix}: make setup") from error
        for file in files:
            path = Path(os.path.normpath(str(file.locate())))
            if path.suffix != ".pyc" and path.is_file():
                yield path


def interpreter() -> Iterator[Path]:
    yield Path(sys.executable)
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


def contents(lock: Path) -> list[Path]:
    """Every host file of the environment, in the order of the archive."""
    files = [*interpreter(), *standard_library(), *locked_packages(lock)]
    return list(dict.fromkeys(path for path in files if path.exists()))


def digest(files: list[Path]) -> str:
    """What the archive depends on: the interpreter, and path, size and time of every file."""
    total = hashlib.sha256(f"{FORMAT} {sys.version} {sys.prefix}".encode())
    for path in files:
        status = path.stat()
        total.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return total.hexdigest()[:16]


def provide(lock: Path) -> Path:
    """The archive of this environment, made when the cache does not have it."""
    files = contents(lock)
    name = digest(files)
    directory = cache.provide(f"environment/{name}", lambda path: build(files, path))
    cache.keep_newest(directory)
    return directory / "environment.cpio"


def build(files: list[Path], directory: Path) -> None:
    cache.say(f"packing the Python environment {sys.prefix} for the guest")
    objects = [Path(sys.executable).resolve(), *(path for path in files if path.suffix == ".so")]
    with (directory / "environment.cpio").open("wb") as file:
        writer = Writer(file)
        for path in [*files, *sorted(libraries(objects))]:
            writer.host(path)
            if path.suffix == ".py":
                add_compiled(writer, path, directory / "module.pyc")
        writer.close()
    (directory / "module.pyc").unlink(missing_ok=True)


def add_compiled(writer: Writer, source: Path, scratch: Path) -> None:
    """Pack the compiled form of ``source``. Unchecked: the archive is made anew when the source changes."""
    try:
        py_compile.compile(
            str(source),
            cfile=str(scratch),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except py_compile.PyCompileError:
        return  # templates and test data that are not Python of this version
    resolved = source.resolve()
    compiled = resolved.parent / "__pycache__" / f"{resolved.stem}.{sys.implementation.cache_tag}.pyc"
    writer.data(PurePosixPath(compiled), scratch.read_bytes())
