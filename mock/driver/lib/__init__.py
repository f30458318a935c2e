# SPDX-License-Identifier: MIT
"""What the rest of the driver stands on, as drivers do on the kernel's own library.

Errnos, fences, reservations, sleeping, intervals, ids, user memory, fault injection. Knows nothing of the GPU.
"""
