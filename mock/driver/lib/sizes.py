# SPDX-License-Identifier: MIT
"""Sizes under their kernel names (include/linux/sizes.h)."""

from __future__ import annotations

MiB = 1 << 20

SZ_4K = 1 << 12
SZ_64K = 1 << 16
SZ_2M = 1 << 21
SZ_1G = 1 << 30
