# SPDX-License-Identifier: MIT
"""What is written from a results stream and the ledger; imports nothing else of the project."""
