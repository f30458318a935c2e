# SPDX-License-Identifier: MIT
"""Process memory in VRAM: location of pages, migration, and access to the VRAM of other GPUs (drm_pagemap.c)."""
