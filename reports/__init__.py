# SPDX-License-Identifier: MIT
"""What is made from results streams and the ledger; imports nothing else of the project.

``reports.write`` writes it; nothing is imported here, because a user of the ledger need not load a page's engine.
"""
