# SPDX-License-Identifier: MIT
"""The ledger as a document to read and to send: a page for each area, an index, a search, and all of it as Markdown."""
