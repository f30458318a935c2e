# SPDX-License-Identifier: MIT
"""Report formats: one module each, from reports.merge.Report to text."""
