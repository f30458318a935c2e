# SPDX-License-Identifier: MIT
"""index.html: the conformance matrix, behaviours by environments; one file, no network, a table without script."""

from __future__ import annotations

from reports.page.document import page
from reports.page.texts import MAX_TEXTS

__all__ = ["MAX_TEXTS", "page"]
