# SPDX-License-Identifier: MIT
"""The commands of svmcts that read results: one module each, with ``main(arguments) -> exit status``.

They raise ``NoAnswerError`` for what cannot be read; common.answers makes an exit status of it.
"""
