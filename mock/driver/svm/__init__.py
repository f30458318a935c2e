# SPDX-License-Identifier: MIT
"""Mirrors of a process: ranges, their notifier and collector, page faults (xe_svm.c, drm_gpusvm.c, xe_pagefault.c)."""
