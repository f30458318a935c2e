# SPDX-License-Identifier: MIT
"""Find the kernel, or the commit, where a behaviour broke or began to work.

``versions`` goes through Debian's kernels, each booted in a guest; ``step`` is for ``git bisect run`` in a kernel tree.
Both run one test (``trial``), judge its result in the stream (``judge``), as often as its failure rate requires
(``rate``), and keep every step (``log``). ``search`` chooses the next kernel. This is the only part of reports that
runs tests, and it does that as a user would, by calling pytest.
"""
