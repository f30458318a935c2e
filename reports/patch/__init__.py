# SPDX-License-Identifier: MIT
"""From a patch of the kernel to a verdict: build what changes, run the suite on both kernels, compare.

``changes`` finds out what is to be tried, ``kernels`` builds it, ``trial`` runs the suite and keeps its runs,
``header`` looks at a new uAPI header, ``letter`` writes the answer as a mail. As in reports.bisect, the suite is run
as a user would run it, by calling pytest.
"""
