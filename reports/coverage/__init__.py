# SPDX-License-Identifier: MIT
"""What the tests execute of the kernel (docs/coverage.md)."""
