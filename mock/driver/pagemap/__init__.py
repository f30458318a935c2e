# SPDX-License-Identifier: MIT
"""Memory of processes that may be in VRAM: who has it where, migration, whose VRAM is in reach (drm_pagemap.c)."""
