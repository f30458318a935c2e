# SPDX-License-Identifier: MIT
"""``svmcts reproduce``: a C program of the steps of a test that failed, and the words to send it with."""
