# SPDX-License-Identifier: MIT
"""Seeded faults: small edits that break the real driver, to see which tests notice (sensitivity/README.md)."""
