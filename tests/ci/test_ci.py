# SPDX-License-Identifier: MIT
"""The CI templates: all files and commands in them exist, and their scripts work."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.reports import streams

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ("gitlab.yml", "github.yml", "lava.yml")


def strings(node: Any) -> Iterator[str]:
    match node:
        case str():
            yield node
        case list():
            for item in node:
                yield from strings(item)
        case dict():
            for item in node.values():
                yield from strings(item)


def commands(template: str) -> str:
    return "\n".join(strings(yaml.safe_load((ROOT / "ci-templates" / template).read_text())))


@pytest.mark.parametrize("template", TEMPLATES)
def test_targets_commands_and_scripts_exist(template: str) -> None:
    text = commands(template)
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|&& )make ([a-z]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for command in re.findall(r"\./svmcts (\w+)", text):
        assert f'"{command}": (' in (ROOT / "svmcts").read_text(), command
    scripts = re.findall(r"ci-templates/([a-z-]+)(?![a-z.-])", text)
    assert scripts
    for script in scripts:
        assert os.access(ROOT / "ci-templates" / script, os.X_OK), script


def stream(folder: Path, *results: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    head = [streams.run(environments=["mock/bmg"]), streams.environment(tests=len(results))]
    events = [*head, *results, streams.end()]
    (folder / "results.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def verdict(tmp_path: Path, *runs: Path) -> subprocess.CompletedProcess[str]:
    places = {"VERDICT": "verdict", "BASELINE": "baseline", "WAIVERS": "waivers.toml"}
    environment = {**os.environ, **{name: str(tmp_path / place) for name, place in places.items()}}
    command = [ROOT / "ci-templates/verdict", *runs]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


GOOD = streams.result()
BAD = streams.result("suites/bind/test_cam.py::test_unmap", "FAIL", message="EINVAL: DRM_IOCTL_XE_VM_BIND")
WAIVER = """\
[[waiver]]
test = "suites/bind/test_cam.py::test_unmap"
signature = "EINVAL: *"
owner = "Jane Doe <jane@example.org>"
link = "https://example.org/1"
reason = "being repaired"
expires = 2999-12-31
"""


def test_a_run_without_a_failure_is_accepted(tmp_path: Path) -> None:
    done = verdict(tmp_path, stream(tmp_path / "run", GOOD))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "verdict/index.html").exists()
    assert (tmp_path / "verdict/summary.md").exists()


def test_one_refused_run_among_several_refuses_all(tmp_path: Path) -> None:
    runs = stream(tmp_path / "a", GOOD), stream(tmp_path / "b", GOOD, BAD), stream(tmp_path / "c", GOOD)
    done = verdict(tmp_path, *runs)
    assert done.returncode == 1
    assert "test_unmap" in done.stdout + done.stderr


def test_a_waiver_excuses(tmp_path: Path) -> None:
    (tmp_path / "waivers.toml").write_text(WAIVER)
    done = verdict(tmp_path, stream(tmp_path / "run", GOOD, BAD))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_baseline_of_the_same_name_is_compared_with(tmp_path: Path) -> None:
    other = streams.result("suites/bind/test_cam.py::test_other")
    stream(tmp_path / "baseline/run", GOOD, other)
    skipped = streams.result(
        "suites/bind/test_cam.py::test_other",
        "UNTESTED",
        reason={"code": "DEADLINE", "text": "too late"},
        acts={},
    )
    assert verdict(tmp_path, stream(tmp_path / "run", GOOD, other)).returncode == 0
    assert verdict(tmp_path, stream(tmp_path / "run", GOOD, skipped)).returncode == 1


@pytest.mark.parametrize(
    ("left", "why"),
    [(0, "the stream is empty"), (1, "the run did not start"), (-1, "no end event: the run did not finish")],
    ids=["empty", "cut-off", "without-its-end"],
)
def test_a_baseline_that_is_not_whole_is_no_answer(tmp_path: Path, left: int, why: str) -> None:
    """Compared with a smaller run, a run that lost tests would be accepted."""
    baseline = stream(tmp_path / "baseline/run", GOOD) / "results.jsonl"
    baseline.write_text("".join(baseline.read_text().splitlines(keepends=True)[:left]))
    done = verdict(tmp_path, stream(tmp_path / "run", GOOD))
    assert done.returncode == 2
    assert str(baseline) in done.stderr
    assert why in done.stderr


def test_a_run_that_left_nothing_is_no_answer(tmp_path: Path) -> None:
    done = verdict(tmp_path, tmp_path / "nothing")
    assert done.returncode == 2
    assert "nothing: no such file: name a results.jsonl" in done.stderr


def test_lava_hears_of_every_test(tmp_path: Path) -> None:
    run = stream(
        tmp_path / "run",
        streams.result("suites/bind/test_cam.py::test_map[a-0x10, b]"),
        BAD,
        streams.result(
            "suites/bind/test_cam.py::test_two", "NOT-CLAIMED", reason={"code": "NEEDS:vram", "text": "none"}
        ),
    )
    heard = tmp_path / "heard"
    program = tmp_path / "bin/lava-test-case"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {heard}\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "SVMCTS_UPLOAD": "wc -l"}
    done = subprocess.run(
        [ROOT / "ci-templates/lava-results", run], env=environment, capture_output=True, text=True, check=True
    )
    assert heard.read_text().splitlines() == [
        "test_cam.py::test_map_a-0x10__b_ --result pass",
        "test_cam.py::test_unmap --result fail",
        "test_cam.py::test_two --result skip",
    ]
    assert done.stdout.split()[0] == "6"


def test_scripts_are_bash() -> None:
    for script in (ROOT / "ci-templates").iterdir():
        if os.access(script, os.X_OK) and script.is_file():
            subprocess.run(["bash", "-n", script], check=True)


def ci_run(directory: Path, make: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """.ci/run with a shell script as make."""
    script = directory / "make"
    script.write_text(f"#!/bin/sh\n{make}\n")
    script.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{directory}:{os.environ['PATH']}",
        "ARGS": "",
        "KERNEL_SOURCE": "linux",
    }
    command = [str(ROOT / ".ci/run"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("argument", ["--help", "suites/vm"])
def test_run_refuses_arguments(tmp_path: Path, argument: str) -> None:
    done = ci_run(tmp_path, "echo make ran", argument)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: .ci/run, without arguments: ")


def test_run_makes_each_target_once(tmp_path: Path) -> None:
    done = ci_run(tmp_path, 'echo "$@"')
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["conformance", "guest KERNEL=7.3", "test"]


@pytest.mark.parametrize(("passes", "status"), [(True, 0), (False, 1)], ids=["then-passes", "fails-again"])
def test_run_tries_what_failed_once_more(tmp_path: Path, passes: bool, status: int) -> None:
    """A failed target runs its failures once more, and that result counts."""
    again = "exit 0" if passes else "exit 1"
    done = ci_run(tmp_path, f'echo "$@"\ncase "$*" in *--lf*) {again} ;; guest*) exit 1 ;; esac')
    assert done.returncode == status
    made = ["conformance", "guest KERNEL=7.3", "guest KERNEL=7.3 ARGS=--lf --lfnf=none "]
    assert done.stdout.splitlines() == made + ["test"] * passes
    assert done.stderr == "svm-cts CI: the suite in a guest: failed tests run once more, alone\n"
