# SPDX-License-Identifier: MIT
"""The wheel: its files, and the suite running from it without a checkout, with output in its caller's folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from common import version
from common.place import COMMIT
from common.run import placed
from tests.git_tree import GitTree

ROOT = Path(__file__).resolve().parents[2]
LEFT = shutil.ignore_patterns(".git", ".*_cache", ".venv*", ".hypothesis", "__pycache__", "out", "dist")
TESTS = "suites/atomic"
ABSENT = "suites/atomic/test_absent.py"


@dataclass
class Installed:
    """The wheel, and an environment that has it and what it depends on, no more."""

    wheel: Path
    commit: str
    prefix: Path

    @property
    def site(self) -> Path:
        return Path(sysconfig.get_path("purelib", vars={"base": str(self.prefix)}))

    @property
    def tree(self) -> Path:
        return self.site / "svm_cts" / "tree"

    def svmcts(self, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST", "PYTHON", "SVM"))
        }
        return subprocess.run(
            [self.prefix / "bin" / "svmcts", *words],
            cwd=folder,
            env={**kept, "XDG_CACHE_HOME": str(folder / "cache")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built in a copy of the checkout, which is gone before the wheel is used."""
    folder = tmp_path_factory.mktemp("wheel")
    copy, prefix = folder / "copy", folder / "environment"
    shutil.copytree(ROOT, copy, ignore=LEFT, symlinks=True)
    commit = GitTree(copy).commit("the state under test")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", folder, copy], check=True)
    shutil.rmtree(copy)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    subprocess.run([*pip, "--python", prefix / "bin" / "python", "install", *offline, wheel], check=True)
    made = Installed(wheel, commit, prefix)
    (made.site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made


def state(folder: Path) -> dict[Path, int]:
    """The files below a folder and when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_only_one_package_is_importable(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = wheel.namelist()
    folders = {"svm_cts", *(f"svm_cts-{version.VERSION}.{kind}" for kind in ("dist-info", "data"))}
    assert {name.partition("/")[0] for name in names} == folders
    assert [name for name in names if name.count("/") == 1 and name.startswith("svm_cts/")] == [
        "svm_cts/__init__.py"
    ]
    assert not [name for name in names if name.endswith(".pyc")]


def test_version_has_the_commit_it_was_built_from(installed: Installed, tmp_path: Path) -> None:
    assert (installed.tree / COMMIT).read_text().split()[1] == installed.commit
    done = installed.svmcts("--version", folder=tmp_path)
    described = done.stdout.strip().removeprefix(f"svm-cts {version.VERSION} (").removesuffix(")")
    assert len(described) >= 7
    assert installed.commit.startswith(described), done


def test_manual_is_where_man_looks_for_it(installed: Installed) -> None:
    page = (installed.prefix / "share/man/man1/svmcts.1").read_text(encoding="utf-8")
    assert f"svm-cts {version.VERSION}" in page
    assert r"\-\-baseline" in page


def test_suite_runs_anywhere_and_writes_to_its_caller(installed: Installed, tmp_path: Path) -> None:
    before = state(installed.prefix)
    done = installed.svmcts("run", "-q", "-n", "1", TESTS, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"\b([1-9]\d*) passed", done.stdout)
    assert passed is not None
    assert (tmp_path / "reports/out/results.jsonl").exists()
    assert (tmp_path / ".pytest_cache").is_dir()
    stream = (tmp_path / "reports/out/results.jsonl").read_text()
    assert '"svmcts run --platform bmg' in stream
    assert f'"command":["svmcts","run","-q","-n","1","{TESTS}"]' in stream

    for words, says in (
        (("gate", "reports/out"), ": accepted ("),
        (("report", "reports/out", "-o", "page"), "page/index.html"),
        (("runs",), f"{passed[1]} PASS"),
        (("runs",), f"    svmcts run -q -n 1 {TESTS}\n"),
        (("compare", "reports/out", "reports/out"), "unchanged: "),
        (("behaviours", "atomic.*"), f"{TESTS}/"),
        (("mock", "--", "ls", "/dev/dri"), "renderD128"),
        (("doctor",), "The mock runs"),
        (("abi", "--help"), "usage: svmcts abi"),
        (("completion", "bash"), "_shtab_svmcts svmcts\n"),
        (("spec", "--check"), ": no dead links or names"),
    ):
        done = installed.svmcts(*words, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert says in done.stdout + done.stderr
    assert len(list((tmp_path / "reports/out/runs").iterdir())) == 1, "only the first of them is a run"
    assert state(installed.prefix) == before


def test_interrupted_run_goes_on_as_it_is_told(installed: Installed, tmp_path: Path) -> None:
    done = installed.svmcts("run", "-x", "--mock-defect", "atomics-lost", TESTS, folder=tmp_path)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    last = done.stdout.splitlines()[-1].removeprefix("continue this run: ")
    command, run, resume = shlex.split(last)
    assert (command, run) == ("svmcts", "run")
    assert resume.startswith("--resume=reports/out/runs/")

    done = installed.svmcts(run, resume, "--maxfail=30", folder=tmp_path)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    results = [
        line
        for line in (tmp_path / "reports/out/results.jsonl").read_text().splitlines()
        if '"result"' in line
    ]
    listed = installed.svmcts("run", "-q", "--co", TESTS, folder=tmp_path).stdout.splitlines()
    assert sorted(json.loads(line)["test"] for line in results) == sorted(
        line for line in listed if line.startswith(TESTS)
    )
    assert "NOTRUN" not in "".join(results)


def test_absent_test_is_not_the_whole_suite(installed: Installed, tmp_path: Path) -> None:
    done = installed.svmcts("run", "-q", ABSENT, folder=tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{ABSENT}" in done.stderr
    done = installed.svmcts("run", "--platform", "lnl", "suites/atmic", folder=tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr == "ERROR: file or directory not found: suites/atmic (did you mean suites/atomic?)\n"


def test_command_line_without_a_test_names_the_suite() -> None:
    suites = str(ROOT / "suites")
    assert list(placed(["-q", "--guest", "7.3"])) == ["-q", "--guest", "7.3", suites]
    assert list(placed(["suites/gc::test_x", "-x"])) == [f"{suites}/gc::test_x", "-x"]
    assert list(placed(["-k", "suites"])) == ["-k", "suites", suites]
    assert list(placed(["--resume=reports/out"])) == ["--resume=reports/out", suites]
    assert list(placed([f"{suites}/gc"])) == [f"{suites}/gc"]


def test_wheel_is_built_by_the_release_that_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (wanted,) = project["build-system"]["requires"]
    assert f"\n{wanted} " in (ROOT / "requirements/dev.lock").read_text(encoding="utf-8")
