# SPDX-License-Identifier: MIT
"""Shared by all parts of the project; it imports none of them."""
