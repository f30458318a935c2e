# SPDX-License-Identifier: MIT
"""The library below the driver, in place of the kernel's own and DRM's.

Errnos, fences, syncobjs, reservations, sleeping, intervals, ids, user memory, fault injection. None of it knows GPUs.
"""
