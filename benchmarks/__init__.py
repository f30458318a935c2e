# SPDX-License-Identifier: MIT
"""Benchmarks: the cost of a call, a fault, a test and a run. ``python -m benchmarks``, or ``make bench``.

Figures are compared within one run, as ratios: absolute times depend on the machine and its load, which are printed. No
test depends on a time.
"""
