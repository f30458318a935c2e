# SPDX-License-Identifier: MIT
"""The project's measures: what a call, a fault, a test and a run cost. ``python -m benchmarks``, or ``make bench``.

Figures are compared within one run, as ratios: absolute times are those of this machine at this moment, and say so.
No test depends on a time.
"""
