# SPDX-License-Identifier: MIT
"""Linux system calls that Python has no names for, one small module for each facility."""
