# SPDX-License-Identifier: MIT
"""Build hook of hatchling for the wheel: its files, its commit and its requirements."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

HERE = Path(__file__).resolve().parent.parent
PACKAGE = "svm_cts"
FOLDERS = (
    *("behaviours", "common", "docs", "fixtures", "gpu", "guest", "ioctl", "mock", "reports", "reproduce"),
    *("requirements", "sensitivity", "suites"),
)
FILES = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "conftest.py", "pytest.ini", "svmcts")
MANUAL = "share/man/man1/svmcts.1"
"""Below the environment that the wheel is installed into."""
LEFT_OUT = ("__pycache__", "reports/out", "docs/pictures")


def shipped(root: Path) -> list[str]:
    """The files of the suite, by their paths in the checkout."""
    found = [path for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file()]
    names = [str(path.relative_to(root)) for path in found if path.suffix != ".pyc"]
    return sorted(
        [name for name in names if not any(f"/{out}/" in f"/{name}" for out in LEFT_OUT)] + [*FILES]
    )


def needed(root: Path) -> list[str]:
    """Requirements of a run: the packages of run.in, in releases that are compatible with those of run.lock."""
    wanted = (root / "requirements/run.in").read_text(encoding="utf-8")
    names = [line for line in wanted.splitlines() if line and not line.startswith("#")]
    lock = dict(
        re.findall(
            r"^([\w.-]+)==([\w.]+)",
            (root / "requirements/run.lock").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )
    return [
        re.sub(r"^[\w.-]+", lambda name: f"{name[0]}~={lock[name[0].replace('.', '-')]}", line)
        for line in names
    ]


def version(root: Path) -> Any:
    """common.version of the checkout."""
    sys.path.insert(0, str(root))
    try:
        from common import version as found
    finally:
        sys.path.remove(str(root))
    return found


class Metadata(MetadataHookInterface):
    """Version and dependencies have one definition each, elsewhere."""

    def update(self, metadata: dict[str, Any]) -> None:
        metadata["version"] = version(HERE).VERSION
        metadata["dependencies"] = needed(HERE)


def manual(root: Path) -> str:
    """svmcts(1), which is made from the options of all commands; raises CalledProcessError."""
    command = [sys.executable, "-c", "from common.manual import page; print(page(), end='')"]
    return subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout


class Build(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the suite below one package, with its commit, and the manual where man looks for it."""

    def dependencies(self) -> list[str]:
        """Packages of a run: the manual is made by all commands."""
        return needed(HERE)

    def initialize(self, version_: str, build_data: dict[str, Any]) -> None:
        commit = Path(self.directory) / "COMMIT"
        commit.parent.mkdir(parents=True, exist_ok=True)
        commit.write_text("\n".join(version(HERE).commit(HERE)) + "\n", encoding="utf-8")
        page = Path(self.directory) / MANUAL.rpartition("/")[2]
        page.write_text(manual(HERE), encoding="utf-8")
        build_data["shared_data"][str(page)] = MANUAL
        build_data["force_include"] |= {
            str(HERE / "installed/entry.py"): f"{PACKAGE}/__init__.py",
            str(commit): f"{PACKAGE}/tree/{commit.name}",
            **{str(HERE / name): f"{PACKAGE}/tree/{name}" for name in shipped(HERE)},
        }
