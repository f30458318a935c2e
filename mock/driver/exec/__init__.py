# SPDX-License-Identifier: MIT
"""Exec queues, scheduling of their jobs on engines, and syncs (xe_exec_queue.c, xe_sync.c)."""
