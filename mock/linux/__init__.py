# SPDX-License-Identifier: MIT
"""Linux system calls that Python lacks, one small module for each facility."""
