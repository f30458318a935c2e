# SPDX-License-Identifier: MIT
"""The commands of svmcts that read results: one module each, with ``main(arguments) -> exit status``.

Exit statuses: 0 nothing to object to, 1 something is worse or refused, 2 no answer.
"""
