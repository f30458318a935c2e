# SPDX-License-Identifier: MIT
"""Shared virtual memory (xe_svm.c, drm_gpusvm.c, drm_pagemap.c).

What the driver keeps of a process, the ranges of its mirrors, migration between system memory and VRAM, and GPU
page faults.
"""
