# SPDX-License-Identifier: MIT
"""The ioctls: dispatch and handlers.

Read table.py first. Some modules end in ``_ioctl``, as vm and queue are names of variables.
"""
