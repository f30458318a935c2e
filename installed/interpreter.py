# SPDX-License-Identifier: MIT
"""Prints the Python to make an environment with: ``python3 installed/interpreter.py``.

That is the Python that runs this, unless it was built without optimisation (as by pyenv) and the distribution's was
built with it: the suite takes a quarter longer with the former, on the mock and in a guest.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

DISTRIBUTION = "/usr/bin/python3"
MAPS = Path("/proc/self/maps")


def optimized() -> bool:
    """Whether this Python was built by profiles, or at least without a call through a table for each of its functions.

    Distributions use profiles without the option of ``configure``, and link the program as a whole.
    """
    if "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS")):
        return True
    return "/libpython" not in MAPS.read_text(encoding="utf-8")


def suitable() -> bool:
    """Whether environments can be made with this Python, and it is a fast one."""
    return sys.version_info >= (3, 11) and importlib.util.find_spec("ensurepip") is not None and optimized()


def choose() -> str:
    """The Python to use."""
    if not optimized():
        try:
            if subprocess.run([DISTRIBUTION, __file__, "suitable"], check=False).returncode == 0:
                return DISTRIBUTION
        except OSError:  # there is none
            pass
    return sys.executable


if __name__ == "__main__":
    if sys.argv[1:] == ["suitable"]:
        sys.exit(not suitable())
    chosen = choose()
    if chosen != sys.executable:
        print(
            f"svm-cts: {sys.executable} was built without optimisation: {chosen} is used "
            f"(the other one: make PYTHON={sys.executable})",
            file=sys.stderr,
        )
    print(chosen)
