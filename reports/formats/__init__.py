# SPDX-License-Identifier: MIT
"""A report as others read it: one module a format, each from reports.merge.Report to text."""
