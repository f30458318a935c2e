# SPDX-License-Identifier: MIT
"""IGT GPU Tools on the real driver and the emulated GPU: a cross-check of the emulator.

``svmcts igt`` fetches the tests (Debian sid) into a private root, runs them in guests, and writes a stream of
results and a table; docs/igt.md has what came out. ``tree`` is the private root, ``selection`` which subtests run on
which machine, ``campaign`` the guests, ``inside`` what runs in them, ``transcript`` what a test prints, ``results`` the
stream, ``reasons`` why a subtest did not pass, ``table`` the report.
"""
