# SPDX-License-Identifier: MIT
"""Reports from results streams and the ledger; imports no other part of the project.

``reports.write`` writes it; nothing is imported here, because a user of the ledger need not load a page's engine.
"""
