# SPDX-License-Identifier: MIT
"""Small kernels, modules and archives, made for tests."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from pathlib import Path

from guest import zstd
from guest.kconfig import wanted

RELEASE = "7.3.4-test"


def module(name: str, *, depends: str = "", softdep: str = "", release: str = RELEASE) -> bytes:
    """A kernel module: an ELF object with only a .modinfo section."""
    tags = [f"name={name}", f"depends={depends}", f"vermagic={release} SMP preempt mod_unload "]
    if softdep:
        tags.append(f"softdep={softdep}")
    info = b"".join(tag.encode() + b"\0" for tag in tags)
    names = b"\0.modinfo\0.shstrtab\0"
    header = 64
    table = header + len(info) + len(names)

    def section(name_at: int, offset: int, size: int) -> bytes:
        return struct.pack("<IIQQQQIIQQ", name_at, 1, 0, 0, offset, size, 0, 0, 1, 0)

    elf = b"\x7fELF\x02\x01\x01" + bytes(9)
    elf += struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2)
    sections = section(0, 0, 0) + section(1, header, len(info)) + section(10, header + len(info), len(names))
    return elf + info + names + sections


def bzimage(release: str = RELEASE, payload: bytes | None = None) -> bytes:
    """A bzImage: a set-up header, the release, and a payload."""
    data = bytearray(512 * 4)
    content = gzip.compress(b"\x7fELF kernel") if payload is None else payload
    data[0x1F1] = 3  # setup sectors after the first
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x20E, 0x400 - 512)
    struct.pack_into("<II", data, 0x248, 16, len(content))
    text = f"{release} (someone@somewhere) #1".encode() + b"\0"
    data[0x400 : 0x400 + len(text)] = text
    return bytes(data) + bytes(16) + content


def config(*without: str) -> str:
    """The .config of a kernel that has what the suite needs, except for ``without``."""
    return "".join(f"CONFIG_{name}={value}\n" for name, value in wanted().items() if name not in without)


def sized(compressed: bytes, size: int) -> bytes:
    """As the kernel's build does for most formats: the uncompressed size behind the compressed data."""
    return compressed + size.to_bytes(4, "little")


def payloads(kernel: bytes) -> dict[str, bytes]:
    return {
        "gzip": gzip.compress(kernel),
        "xz": sized(lzma.compress(kernel, check=lzma.CHECK_CRC32), len(kernel)),
        "bzip2": sized(bz2.compress(kernel), len(kernel)),
        "zstd": sized(zstd.compress(kernel), len(kernel)),
        "none": kernel,
    }


def built_tree(directory: Path, *without: str) -> Path:
    """A kernel tree after ``make bzImage modules``."""
    boot = directory / "arch/x86/boot"
    boot.mkdir(parents=True)
    (boot / "bzImage").write_bytes(bzimage())
    (directory / ".config").write_text(config(*without))
    modules = {
        "fs/overlayfs/overlay": module("overlay"),
        "fs/9p/9p": module("9p", depends="9pnet"),
        "net/9p/9pnet": module("9pnet"),
        "net/9p/9pnet_virtio": module("9pnet_virtio", depends="9pnet"),
        "drivers/gpu/drm/drm": module("drm"),
        "drivers/gpu/drm/drm_gpusvm_helper": module("drm_gpusvm_helper", depends="drm"),
        "drivers/gpu/drm/xe/xe": module("xe", depends="drm,drm-gpusvm-helper"),
    }
    for path, data in modules.items():
        file = directory / f"{path}.ko"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (directory / "modules.order").write_text("".join(f"{path}.o\n" for path in modules))
    return directory
