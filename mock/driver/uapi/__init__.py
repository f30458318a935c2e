# SPDX-License-Identifier: MIT
"""The ioctls: how a request gets to its handler, and the handlers.

Read table.py first. A module that is called after an object has `_ioctl` in its name: vm and queue are variables.
"""
