# SPDX-License-Identifier: MIT
"""Address spaces of clients: what kernel.Mm promises, by /proc/PID/mem, userfaultfd and io_uring."""
