# SPDX-License-Identifier: MIT
"""Address spaces of clients: implements kernel.Mm with /proc/PID/mem, userfaultfd and an adviser."""
