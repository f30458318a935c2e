# SPDX-License-Identifier: MIT
"""Kernel modules: what they are called, what they depend on, and the order to load them in."""

from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.near import near_path
from guest import GuestError, zstd

SUFFIXES = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")


def module_name(path: Path) -> str:
    """The kernel's name of the module in ``path``: no suffix, underscores (kernel/module: modname in struct module)."""
    return path.name.split(".ko", 1)[0].replace("-", "_")


def read_module(path: Path) -> bytes:
    """The module as an ELF object, uncompressed. Raises GuestError if the file is not one."""
    data = path.read_bytes()
    try:
        if path.name.endswith(".xz"):
            data = lzma.decompress(data)
        elif path.name.endswith(".gz"):
            data = gzip.decompress(data)
        elif path.name.endswith(".zst"):
            data = zstd.decompress(data)
    except (lzma.LZMAError, gzip.BadGzipFile, EOFError, zstd.ZstdError) as error:
        raise GuestError(f"{path} is damaged: {error}") from error
    if data[:4] != b"\x7fELF":
        raise GuestError(f"{path} is not a kernel module")
    return data


def sections(elf: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each section of a 64-bit little-endian ELF file."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    entry_size, count, names_index = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + index * entry_size) for index in range(count)]
    names_offset = headers[names_index][4]
    for name, _, _, _, offset, size in headers:
        start = names_offset + name
        yield elf[start : elf.index(b"\0", start)].decode(), elf[offset : offset + size]


def modinfo(elf: bytes) -> dict[str, list[str]]:
    """The tags of a module's .modinfo section (MODULE_INFO in include/linux/moduleparam.h)."""
    tags: dict[str, list[str]] = {}
    for name, content in sections(elf):
        if name == ".modinfo":
            for item in content.split(b"\0"):
                key, equals, value = item.decode(errors="replace").partition("=")
                if equals:
                    tags.setdefault(key, []).append(value)
    return tags


@dataclass(frozen=True)
class Module:
    name: str
    elf: bytes
    tags: Mapping[str, list[str]]
    path: Path | None = None
    """The file with exactly these bytes; None if it is compressed."""

    @classmethod
    def read(cls, path: Path) -> Module:
        elf = read_module(path)
        tags = modinfo(elf)
        name = tags.get("name", [module_name(path)])[0].replace("-", "_")
        return cls(name, elf, tags, path.absolute() if path.suffix == ".ko" else None)

    @property
    def needs(self) -> tuple[str, ...]:
        """Modules to load before this one: its dependencies and the soft ones it wants first."""
        names = [name for value in self.tags.get("depends", []) for name in value.split(",") if name]
        for value in self.tags.get("softdep", []):
            words = value.split()
            if "pre:" in words:
                rest = words[words.index("pre:") + 1 :]
                names += rest[: rest.index("post:")] if "post:" in rest else rest
        return tuple(name.replace("-", "_") for name in names)

    @property
    def release(self) -> str:
        """The kernel release it was built for: the first word of its version magic."""
        return (self.tags.get("vermagic", [""])[0].split() or [""])[0]


def module_files(directory: Path) -> Iterator[Path]:
    """Every module below ``directory``; from the build's own list if there is one, as a kernel tree is large."""
    order = directory / "modules.order"
    if not order.is_file():
        yield from (path for path in sorted(directory.rglob("*.ko*")) if path.name.endswith(SUFFIXES))
        return
    for line in order.read_text().split():
        stem = directory / line.rsplit(".", 1)[0]
        for suffix in SUFFIXES:
            if (path := stem.with_name(stem.name + suffix)).is_file():
                yield path
                break


def split_parameters(
    options: Iterable[str], modules: Iterable[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """Parameters for these modules, by name, and the rest: kernel parameters as modprobe(8) understands them.

    A module that init loads gets only what it is loaded with.
    """
    own: dict[str, list[str]] = {name: [] for name in modules}
    rest = []
    for option in options:
        module, dot, parameter = option.partition(".")
        if dot and (name := module.replace("-", "_")) in own:
            own[name].append(parameter)
        else:
            rest.append(option)
    return own, rest


class Tree:
    """The modules below ``directory``; single ones replaced by the files in ``replacements``.

    ``ready`` has some of them decompressed.
    """

    def __init__(self, directory: Path, replacements: Iterable[Path] = (), ready: Path | None = None) -> None:
        self.directory = directory
        self._paths = {module_name(path): path for path in module_files(directory)}
        if ready is not None:
            self._paths.update({module_name(path): path for path in module_files(ready)})
        for path in replacements:
            if not path.is_file():
                raise GuestError(f"--module {path}: no such file{near_path(path)}")
            self._paths[Module.read(path).name] = path

    def __contains__(self, name: str) -> bool:
        return name in self._paths

    def load_order(self, names: Iterable[str]) -> list[Module]:
        """``names`` and their dependencies, in load order. What is not a module is assumed to be built in."""
        ordered: dict[str, Module] = {}
        visited: set[str] = set()

        def visit(name: str) -> None:
            if name in visited or name not in self._paths:
                return
            visited.add(name)
            module = Module.read(self._paths[name])
            for needed in module.needs:
                visit(needed)
            ordered[name] = module

        for name in names:
            visit(name)
        return list(ordered.values())
