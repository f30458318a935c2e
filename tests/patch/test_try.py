# SPDX-License-Identifier: MIT
"""svmcts try, with kernels that are not built and invented runs: its runs, messages, files and exit statuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from common.answers import NoAnswerError, status_of
from common.place import COMMIT
from guest import GuestError, builds
from guest.builds import Build
from guest.sources import Source
from reports.patch import cli, trial
from reports.stream import STREAM
from tests.git_tree import GitTree
from tests.patch.conftest import MADVISE, changed
from tests.reports import streams

BASE, OTHER = "7.3.4-gbase", "7.3.4-gother"
TEST = "suites/madvise/test_pat.py::test_index_beyond_the_table_is_refused"


class Fakes:
    """Arguments and results."""

    def __init__(self) -> None:
        self.runs: list[list[str]] = []
        self.outcomes: dict[bool, str] = {False: "PASS", True: "PASS"}
        """Outcome of the test on the base (False) and on the change (True)."""
        self.exit = 0
        self.broken = ""
        """Trees that do not build."""

    def make(self, source: Source, profiles: Sequence[str], jobs: int) -> Build:
        return Build(BASE, source.about, tuple(profiles), "", BASE, "", 0, "", "")

    def make_modules(
        self, source: Source, base: Build, modules: Sequence[str], jobs: int, into: Path
    ) -> list[Path]:
        if self.broken:
            raise GuestError(f"{source.about}: does not build: {self.broken}")
        return [into / Path(module).name for module in modules]

    def call(self, arguments: Sequence[str], folder: Path) -> trial.Run:
        self.runs.append(list(arguments))
        changed = any("modules/" in word or word == OTHER for word in arguments)
        outcome = self.outcomes[changed]
        name = f"guest/{BASE}{'+xe' * changed}"
        fields: dict[str, Any] = {"behaviours": ["madvise.pat.args"]}
        if outcome != "PASS":
            fields |= {"message": "expected EINVAL, but the call succeeded"}
        streams.write(
            folder / STREAM,
            streams.run(),
            streams.environment(name, platform="bmg"),
            streams.result(TEST, outcome, name, **fields),
            *([] if self.exit else [streams.end(exit=int(outcome == "FAIL"))]),
        )
        run = trial.read(folder)
        trial.whole(run)
        return run


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    made = Fakes()
    monkeypatch.setattr(builds, "make", made.make)
    monkeypatch.setattr(builds, "make_modules", made.make_modules)
    monkeypatch.setattr(trial, "_call", made.call)
    monkeypatch.setattr(cli, "interruptible", lambda: None)
    return made


@pytest.fixture
def answer(linux: GitTree, tmp_path: Path, fakes: Fakes) -> Callable[..., int]:
    """The exit status of svmcts try of a change to MADVISE, or of another file."""
    changed(linux, MADVISE, "return 0", "return -22")
    linux.commit("drm/xe: refuse all advice")

    def call(*arguments: str) -> int:
        words = [str(linux.path), "base..HEAD", "-o", str(tmp_path / "out"), *arguments]
        return status_of("svmcts try", lambda: cli.main(words))

    return call


def test_nothing_gets_worse(
    answer: Callable[..., int], fakes: Fakes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The affected tests run first, then all of them on the base and on the change."""
    assert answer() == 0
    affected, base, new = fakes.runs
    module = f"--module={tmp_path / 'out/modules/xe.ko'}"
    assert affected[:3] == ["--guest", BASE, module]
    assert "--behaviour" in affected
    assert [word for word in base if not word.startswith("--results")] == ["--guest", BASE]
    assert [word for word in new if not word.startswith("--results")] == ["--guest", BASE, module]
    said = capsys.readouterr().out
    assert "1 affected tests: none fails" in said
    assert "drm/xe: refuse all advice: nothing gets worse" in said
    assert (tmp_path / "out/mail.txt").read_text().startswith("Subject: Re: drm/xe: refuse all advice\n")


def test_failure_is_worse(
    answer: Callable[..., int], fakes: Fakes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.outcomes[True] = "FAIL"
    assert answer() == 1
    said = capsys.readouterr().out
    assert said.startswith(f"FAIL  {TEST}")
    assert f"PASS -> FAIL  {TEST}" in said
    mail = (tmp_path / "out/mail.txt").read_text()
    assert "1 possible regression" in mail
    assert TEST in mail


def test_mail_has_coverage_where_the_kernel_counts(
    answer: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "changed", lambda patch, _: [f"Of {patch.count('+' + chr(9))} changed lines"])
    answer("--profile", "gcov")
    mail = (tmp_path / "out/mail.txt").read_text()
    assert "Coverage of the changed lines\n-----------------------------\nOf 1 changed lines\n" in mail


def test_coverage_that_cannot_be_read_takes_no_verdict_away(
    answer: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> list[str]:
        raise NoAnswerError("no notes")

    monkeypatch.setattr(cli, "changed", fail)
    assert answer() == 0
    assert "no coverage of the changed lines: no notes" in capsys.readouterr().err
    assert "Coverage" not in (tmp_path / "out/mail.txt").read_text()


def test_failure_of_both_is_not_worse(answer: Callable[..., int], fakes: Fakes) -> None:
    fakes.outcomes = {False: "FAIL", True: "FAIL"}
    assert answer() == 0


def test_waived_failure_is_not_worse(answer: Callable[..., int], fakes: Fakes, tmp_path: Path) -> None:
    fakes.outcomes[True] = "FAIL"
    waivers = tmp_path / "waivers.toml"
    waivers.write_text(
        f'[[waiver]]\ntest = "{TEST}"\nsignature = "expected EINVAL, but the call succeeded"\n'
        'reason = "a fix is posted"\nowner = "someone"\nlink = "https://example.org"\nexpires = 2999-01-01\n'
    )
    assert answer("--waivers", str(waivers)) == 0


def test_repaired_finding_is_fixed(
    answer: Callable[..., int], fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    """The finding's test passes on the change: an XPASS, as its author intends."""
    fakes.outcomes = {False: "KNOWN", True: "XPASS"}
    assert answer() == 0
    assert f"fixed: 1\n  KNOWN -> XPASS  {TEST}" in capsys.readouterr().out


def test_tests_that_are_named_are_all_that_run(answer: Callable[..., int], fakes: Fakes) -> None:
    assert answer("--", "suites/gc", "-x") == 0
    assert [[word for word in run if not word.startswith("--")] for run in fakes.runs] == [
        [BASE, "suites/gc", "-x"],
        [BASE, "suites/gc", "-x"],
    ]


def test_base_is_run_once(answer: Callable[..., int], fakes: Fakes, linux: GitTree) -> None:
    """Another change to the same base runs only the change."""
    answer()
    fakes.runs.clear()
    changed(linux, MADVISE, "return -22", "return -1")
    linux.commit("drm/xe: refuse it in another way")
    answer()
    assert all(any(word.startswith("--module") for word in run) for run in fakes.runs)
    assert len(fakes.runs) == 2


def test_nothing_is_run_twice(answer: Callable[..., int], fakes: Fakes) -> None:
    answer()
    fakes.runs.clear()
    assert answer() == 0
    assert fakes.runs == []


def test_interrupted_run_goes_on(answer: Callable[..., int], fakes: Fakes, tmp_path: Path) -> None:
    fakes.exit = 2
    assert answer("--", "suites/gc") == 2
    fakes.exit = 0
    fakes.runs.clear()
    assert answer("--", "suites/gc") == 0
    assert fakes.runs[0][0].startswith(f"--resume={tmp_path / 'cache/tried'}")


def test_affected_tests_only(answer: Callable[..., int], fakes: Fakes) -> None:
    """They are run once on the change, and on the base to compare with."""
    assert answer("--affected-only") == 0
    assert len(fakes.runs) == 2
    assert all("--behaviour" in run for run in fakes.runs)


def test_each_patch_is_tried(
    answer: Callable[..., int], fakes: Fakes, linux: GitTree, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(linux, MADVISE, "int pat = 1", "int pat = 2")
    linux.commit("drm/xe: the second PAT index")
    assert answer("--each") == 0
    said = capsys.readouterr().out
    assert said.index("patch 1 of 2: drm/xe: refuse all advice") < said.index("drm/xe: the second PAT index:")


def test_change_that_does_not_build_is_no_answer(
    answer: Callable[..., int], fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.broken = "xe_vm.c:1: error: no such thing"
    assert answer() == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.endswith("does not build: xe_vm.c:1: error: no such thing")
    assert fakes.runs == []


def test_documentation_needs_no_run(
    answer: Callable[..., int], fakes: Fakes, linux: GitTree, capsys: pytest.CaptureFixture[str]
) -> None:
    linux.git("tag", "-f", "base")
    linux.write("Documentation/gpu/xe.rst", "words\n")
    linux.commit("Documentation: words")
    assert answer() == 0
    assert "there is nothing to run" in capsys.readouterr().out
    assert fakes.runs == []


def test_other_files_take_another_kernel(
    answer: Callable[..., int], fakes: Fakes, linux: GitTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(linux, "mm/hmm.c", "hmm", "hmmm")
    linux.commit("mm: another name")
    names = iter((BASE, OTHER))
    monkeypatch.setattr(
        builds, "make", lambda source, *_: Build(next(names), source.about, (), "", BASE, "", 0, "", "")
    )
    assert answer("--", "suites/gc") == 0
    assert [run[1] for run in fakes.runs] == [BASE, OTHER]


def test_two_ways_to_name_the_change_are_refused(answer: Callable[..., int], tmp_path: Path) -> None:
    assert answer("--am", str(tmp_path / "x")) == 2


def test_suite_installed_with_changes_tries_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, linux: GitTree, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / COMMIT).write_text("abc1234-dirty abc1234567890\n")
    monkeypatch.setattr(trial, "ROOT", tmp_path)
    monkeypatch.setattr(builds, "make", lambda *_: pytest.fail("a kernel is built"))
    trial.suite.cache_clear()
    try:
        assert status_of("svmcts try", lambda: cli.main([str(linux.path), "base.."])) == 2
    finally:
        trial.suite.cache_clear()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "svmcts try: this suite was installed from a checkout with changes (abc1234-dirty), and "
    )
