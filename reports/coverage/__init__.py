# SPDX-License-Identifier: MIT
"""Code of the kernel that tests execute (docs/coverage.md)."""
