# SPDX-License-Identifier: MIT
"""What the tests execute of the kernel (docs/coverage.md)."""

NO_TEST = ""
"""Name of what is executed before the first test and after the last one, in the place of a test's."""
