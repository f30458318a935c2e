# SPDX-License-Identifier: MIT
"""Python in the guest, started before its task is known: it imports what every pytest worker imports.

Runs from the initramfs, in the packed part of the project (guest/project.py). init tells it what to become by one line
on the descriptor that is its first argument; it tells init that it is ready on the second.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.metadata
import inspect
import json
import os
import platform
import random
import sys
import traceback
from pathlib import Path
from typing import Any

USED_BY_TESTS = ("fixtures", "fixtures/xe", "ioctl", "gpu")


def warm_up() -> None:
    """Import pytest, the installed plugins and the project's own, in the way that pytest does it.

    Their assertions are rewritten then, and the later worker finds them loaded. A single --version would import
    nothing. What tests use is imported in a hook of pytest: only there does pytest rewrite packages with a plugin
    (hypothesis), and a later session refuses one that was not rewritten.

    Raises ImportError if pytest cannot import something: it prints that and imports nothing else.
    """
    saved = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    try:
        import pytest

        status = pytest.main(["--version", "--version"], plugins=[Importing()])
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(null)
    if status:
        raise ImportError(f"pytest --version: status {int(status)}, see above")
    # The conftest of a run may be another one of the same name.
    sys.modules.pop("conftest", None)


class Importing:
    """A plugin of pytest that imports what tests import of the project, before pytest does anything."""

    def pytest_cmdline_main(self) -> None:
        import_project(Path.cwd())


def import_project(project: Path) -> None:
    """Import what tests import of ``project``, and read its ledger: each is done once per process."""
    for folder in USED_BY_TESTS:
        for path in sorted((project / folder).glob("[!_]*.py")):
            with contextlib.suppress(ImportError):  # its files are not all packed: imported later
                importlib.import_module(f"{folder.replace('/', '.')}.{path.stem}")
    with contextlib.suppress(ImportError):
        importlib.import_module("fixtures.ledger").load(project / "behaviours")


def remember_distributions() -> None:
    """Cache the metadata of the installed distributions: pytest reads all of it for each plugin by name.

    It also prints the version of each plugin. They cannot change while the process runs, as they are in its initramfs.
    """
    known = importlib.metadata.PathDistribution
    for name in ("entry_points", "metadata"):
        cached = functools.cached_property(getattr(known, name).fget)
        cached.__set_name__(known, name)
        setattr(known, name, cached)
    of_path, found = importlib.metadata.distributions, list(importlib.metadata.distributions())
    importlib.metadata.distributions = lambda **where: of_path(**where) if where else iter(found)
    for one in found:
        if one.entry_points:
            one.metadata  # noqa: B018 (read now)


def become(told: dict[str, Any]) -> None:
    """Change to the guest's root, and become the interpreter that the host requests."""
    os.chroot(told["root"])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        port = os.open(told["ports"][name], os.O_RDONLY if name == "stdin" else os.O_WRONLY)
        os.dup2(port, number)
        os.close(port)
    os.chdir(told["directory"])
    os.environ.clear()
    os.environ.update(told["environment"])
    sys.dont_write_bytecode = "-B" in told["flags"]
    sys.argv = ["-c"]
    sys.path[0] = ""
    for name in [name for name in sys.modules if name.partition(".")[0] in told["forget"]]:
        del sys.modules[name]
    importlib.invalidate_caches()
    random.seed()  # other processes are copies of the same saved one


def main() -> str:
    orders, answers = (int(word) for word in sys.argv[1:3])
    remember_distributions()
    try:
        warm_up()
    except ImportError:  # with the host's files it will work, slowly: an empty answer
        traceback.print_exc()
        os.close(answers)
        return program(orders)
    platform.platform()  # cached by the module: xdist needs it, and it starts a program
    # Tracebacks look for the file of each module, once: over 9p that takes seconds of the first test that fails.
    inspect.getmodule(warm_up.__code__)
    gc.freeze()  # imported objects stay: later collections need not look at them
    os.write(answers, b"warm\n")
    os.close(answers)
    return program(orders)


def program(orders: int) -> str:
    """The program to run, as soon as it is known; ends the process if there is none."""
    with os.fdopen(orders) as file:
        line = file.readline()
    if not line:
        os._exit(0)
    told = json.loads(line)
    become(told)
    code: str = told["code"]
    return code


if __name__ == "__main__":
    exec(main())
