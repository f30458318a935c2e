# SPDX-License-Identifier: MIT
"""What every part of the project may use, and what uses none of them."""
