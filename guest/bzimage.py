# SPDX-License-Identifier: MIT
"""x86 kernel images: which release one is, and the ELF kernel inside (Documentation/arch/x86/boot.rst)."""

import bz2
import hashlib
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

from guest import GuestError, zstd

SECTOR = 512


def unpack(payload: bytes) -> bytes:
    """A kernel payload decompressed.

    The build appends the size to formats that do not carry it (size_append in scripts/Makefile.lib), which all of
    these decompressors but zstd's take as the end.
    """
    size = int.from_bytes(payload[-4:], "little")
    formats: dict[bytes, Callable[[], bytes]] = {
        b"\x28\xb5\x2f\xfd": lambda: zstd.decompress(payload[:-4], size),
        b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31).decompress(payload),
        b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor().decompress(payload),
        b"BZh": lambda: bz2.BZ2Decompressor().decompress(payload),
        b"\x7fELF": lambda: payload,
    }
    for magic, decompress in formats.items():
        if payload.startswith(magic):
            return decompress()
    raise ValueError("compression not known")


class Image:
    """A bzImage. Raises GuestError if ``path`` is not one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise GuestError(f"kernel image {path}: {error.strerror}") from error
        if self.data[0x202:0x206] != b"HdrS":
            raise GuestError(f"{path} is not an x86 kernel image (bzImage)")

    def _number(self, offset: int, size: int) -> int:
        return int.from_bytes(self.data[offset : offset + size], "little")

    @property
    def release(self) -> str:
        """Output of ``uname -r`` in this kernel."""
        start = self._number(0x20E, 2) + SECTOR
        return self.data[start : self.data.index(b"\0", start)].decode().split()[0]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()[:16]

    def vmlinux(self) -> bytes | None:
        """The ELF kernel, or None if it cannot be extracted.

        QEMU starts it by its PVH entry: without the decompression in the guest, the slowest part of a start in TCG.
        """
        start = (self._number(0x1F1, 1) + 1) * SECTOR + self._number(0x248, 4)
        try:
            return unpack(self.data[start : start + self._number(0x24C, 4)])
        except (ValueError, OSError, EOFError, lzma.LZMAError, zlib.error):
            return None
