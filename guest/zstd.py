# SPDX-License-Identifier: MIT
"""Decompression of zstd by the library, which apt and rpm both need anyway; Python has no module for it before 3.14."""

import ctypes

UNKNOWN = (1 << 64) - 2  # ZSTD_CONTENTSIZE_ERROR and, above it, ZSTD_CONTENTSIZE_UNKNOWN (zstd.h)


def decompress(data: bytes, size: int | None = None) -> bytes:
    """One frame, of ``size`` bytes if it does not say so itself. Raises ValueError if it is not one, OSError
    without the library.
    """
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
    library.ZSTD_getFrameContentSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    library.ZSTD_decompress.restype = ctypes.c_size_t
    library.ZSTD_decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    if size is None:
        size = library.ZSTD_getFrameContentSize(data, len(data))
        if size >= UNKNOWN:
            raise ValueError("no zstd frame, or one without its size")
    out = ctypes.create_string_buffer(size)
    if library.ZSTD_decompress(out, size, data, len(data)) != size:
        raise ValueError("the zstd frame is damaged")
    return out.raw
