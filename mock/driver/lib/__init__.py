# SPDX-License-Identifier: MIT
"""What the rest of the driver stands on, as drivers do on the kernel's own library and on that of DRM.

Errnos, fences, syncobjs, reservations, sleeping, intervals, ids, user memory, fault injection. Knows nothing of GPUs.
"""
