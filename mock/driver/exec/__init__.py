# SPDX-License-Identifier: MIT
"""Queues, how their jobs get to the engines, and what signals when they are done (xe_exec_queue.c, xe_sync.c)."""
