# SPDX-License-Identifier: MIT
"""Python that waits in a guest to become a worker, run here without a root of its own."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guest import worker

# Its root is a directory that only a guest has.
PROGRAM = "import os, runpy, sys; os.chroot = lambda root: print('root', root); sys.argv = sys.argv[1:]; "
PROGRAM += "runpy.run_path(sys.argv[0], run_name='__main__')"


READ_TWICE = """
import importlib.metadata, pathlib, runpy, sys
before = [one.name for one in importlib.metadata.distributions()]
runpy.run_path(sys.argv[1])["remember_distributions"]()
assert [one.name for one in importlib.metadata.distributions()] == before
assert [one.name for one in importlib.metadata.distributions(name="pytest")] == ["pytest"]
points = [one.entry_points for one in importlib.metadata.distributions()]
assert any(points)
plugins = [one for one in importlib.metadata.distributions() if one.entry_points]
pathlib.Path.read_text = None
assert [one.entry_points for one in importlib.metadata.distributions()] == points
assert all(one.version for one in plugins)
"""


class Waiting:
    """A worker, and the pipes to it."""

    def __init__(self, **environment: str) -> None:
        orders, self.orders = os.pipe()
        self.answers, answers = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, worker.__file__, str(orders), str(answers)],
            pass_fds=(orders, answers),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        os.close(orders)
        os.close(answers)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self.answers)


def told(directory: Path, flags: list[str], code: str) -> dict[str, object]:
    """Instructions as init gives them."""
    (directory / "in").write_text("input")
    return {
        "root": "/svmcts/root",
        "ports": {"stdin": str(directory / "in"), "stdout": "/dev/fd/1", "stderr": "/dev/null"},
        "directory": str(directory),
        "environment": {"A": "of the host", "PATH": os.environ["PATH"]},
        "flags": flags,
        "forget": ["ioctl"],
        "code": code,
    }


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    made = Waiting()
    yield made
    made.end()


def test_it_says_when_it_is_warm(waiting: Waiting) -> None:
    assert os.read(waiting.answers, 100) == b"warm\n"
    assert os.read(waiting.answers, 100) == b""
    os.close(waiting.orders)


def test_one_that_cannot_import_does_not_say_that_it_is_warm(tmp_path: Path) -> None:
    """It runs its program anyway, only later."""
    made = Waiting(PYTEST_PLUGINS="no_such_plugin")
    try:
        assert os.read(made.answers, 100) == b""
        with os.fdopen(made.orders, "w") as orders:
            orders.write(json.dumps(told(tmp_path, ["-u"], "print('it runs')")) + "\n")
        out, errors = made.process.communicate(timeout=60)
    finally:
        made.end()
    assert out.splitlines()[-1] == "it runs"
    assert "no_such_plugin" in errors


def test_it_ends_when_nobody_needs_it(waiting: Waiting) -> None:
    os.close(waiting.orders)
    assert waiting.process.wait(60) == 0


@pytest.mark.parametrize("flags", [["-u"], ["-u", "-B"]], ids=" ".join)
def test_it_becomes_what_it_is_told(waiting: Waiting, tmp_path: Path, flags: list[str]) -> None:
    code = "import os, sys; print(sys.stdin.read(), os.getcwd(), os.environ['A'], sys.argv, __name__, "
    code += "sys.dont_write_bytecode, 'pytest' in sys.modules, 'HOME' in os.environ, repr(sys.path[0]), "
    code += "[name for name in ('fixtures.memory', 'ioctl', 'ioctl.xe') if name in sys.modules])"
    with os.fdopen(waiting.orders, "w") as orders:
        orders.write(json.dumps(told(tmp_path, flags, code)) + "\n")
    out, _ = waiting.process.communicate(timeout=60)
    assert out.splitlines() == [
        "root /svmcts/root",
        f"input {tmp_path} of the host ['-c'] __main__ {'-B' in flags} True False '' ['fixtures.memory']",
    ]


def test_distributions_are_read_once() -> None:
    """All of them are found as before, also by name; no file is read again for entry points."""
    done = subprocess.run(
        [sys.executable, "-c", READ_TWICE, worker.__file__], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_it_needs_the_standard_library_and_pytest_only() -> None:
    tree = ast.parse(Path(worker.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert {name.partition(".")[0] for name in imported} <= {*sys.stdlib_module_names, "pytest"}
