# SPDX-License-Identifier: MIT
"""Memory of buffer objects: placement, eviction, VRAM, fake offsets (TTM, xe_bo.c)."""
