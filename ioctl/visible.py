# SPDX-License-Identifier: MIT
"""Text of others, made safe for a terminal."""


def visible(text: str) -> str:
    """``text`` with a replacement for each character that is not printable, line ends aside."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text)
