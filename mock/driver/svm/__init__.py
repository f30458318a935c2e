# SPDX-License-Identifier: MIT
"""Mirrors of a process: ranges, notifier, garbage collector, page faults (xe_svm.c, drm_gpusvm.c, xe_pagefault.c)."""
