# SPDX-License-Identifier: MIT
"""x86 kernel images: their release, and the ELF kernel inside (Documentation/arch/x86/boot.rst)."""

from __future__ import annotations

import bz2
import hashlib
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from guest import GuestError, zstd

SECTOR = 512


class Decompressor(Protocol):
    """Decompresses one stream of any of the formats, and no further: the build appends the size to some of them
    (size_append in scripts/Makefile.lib).
    """

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


FORMATS: dict[bytes, Callable[[], Decompressor]] = {
    b"\x28\xb5\x2f\xfd": zstd.ZstdDecompressor,
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
    b"\xfd7zXZ\0": lzma.LZMADecompressor,
    b"BZh": bz2.BZ2Decompressor,
}
"""By the first bytes of the payload."""


def unpack(payload: bytes) -> bytes:
    """Decompress a kernel payload. Raises ValueError if it is truncated or its format is unknown, and the errors
    of the decompressors.
    """
    if payload.startswith(b"\x7fELF"):
        return payload
    for magic, make in FORMATS.items():
        if payload.startswith(magic):
            decompressor = make()
            kernel = decompressor.decompress(payload)
            if not decompressor.eof:
                raise ValueError("the payload is truncated")
            return kernel
    raise ValueError("unknown compression")


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

        QEMU starts it at its PVH entry, without decompression in the guest: the slowest part of a start under TCG.
        """
        start = (self._number(0x1F1, 1) + 1) * SECTOR + self._number(0x248, 4)
        try:
            return unpack(self.data[start : start + self._number(0x24C, 4)])
        except (ValueError, OSError, EOFError, lzma.LZMAError, zlib.error, zstd.ZstdError):
            return None
