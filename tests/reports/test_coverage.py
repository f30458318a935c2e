# SPDX-License-Identifier: MIT
"""Coverage: counts of runs, with programs that the compiler instruments in place of a kernel."""

from __future__ import annotations

import difflib
import json
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from common.answers import NoAnswerError
from guest.builds import NOTES
from reports.coverage import cli, functions, reasons
from reports.coverage.changed import changed
from reports.coverage.gcda import Counts, CountsError
from reports.coverage.store import FILE, Stored, Writer
from reports.event import NO_TEST
from reports.stream import read
from tests.reports import streams

SOURCE = """\
static int twice(int number)
{
	if (number > 5)
		return 0;
	return number * 2;
}

int unused(void)
{
	return 1;
}

int main(int count, char **words)
{
	return twice(count) - 4;
}
"""
NAME = "drivers/gpu/drm/xe/xe_svm"
KERNEL, ENV = "7.3.4-deb1-gcov", "guest/7.3.4-deb1-gcov"
FIRST, SECOND = "suites/gc/test_a.py::test_first", "suites/bind/test_b.py::test_second[x]"


class Kernel:
    """A program with gcov, in place of a built kernel."""

    def __init__(self, cache: Path, name: str = KERNEL, source: str = SOURCE, optimised: str = "-O0") -> None:
        self.name = name
        self.directory = cache / "built" / name
        self.notes = self.directory / NOTES / f"{NAME}.gcno"
        self.source = cache / "builds/source" / f"{NAME}.c"
        for file in (self.notes, self.source):
            file.parent.mkdir(parents=True, exist_ok=True)
        self.source.write_text(source)
        self.notes.with_suffix(".c").write_text(source)
        self._call("gcc", optimised, "--coverage", "-c", str(self.source))
        self._call("gcc", "--coverage", f"{self.source.stem}.o", "-o", "program")
        facts = dict.fromkeys(("source", "digest", "release", "time", "compiler", "out"), "")
        facts |= {"name": name, "profiles": ["gcov"], "seconds": 1}
        (self.directory / "build.json").write_text(json.dumps(facts))

    def _call(self, *command: str) -> None:
        subprocess.run(command, cwd=self.notes.parent, check=True)

    def run(self, *words: str) -> None:
        """Count on."""
        subprocess.run(["./program", *words], cwd=self.notes.parent, check=False)

    def counts(self) -> bytes:
        return self.notes.with_suffix(".gcda").read_bytes()

    def read(self) -> dict[str, bytes]:
        """The counts in the form in which a guest sends them."""
        return {f"/root/builds/out/{NAME}.gcda": zlib.compress(self.counts())}


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setenv("SVMCTS_CACHE", str(tmp_path / "cache"))
    return Kernel(tmp_path / "cache")


@pytest.fixture
def run(kernel: Kernel, tmp_path: Path) -> Callable[..., Path]:
    """Makes a run of two tests on the kernel: both branches are taken by the second only."""

    def make(folder: str = "run", tests: tuple[str, ...] = (FIRST, SECOND), env: str = ENV) -> Path:
        place = tmp_path / folder
        place.mkdir()
        events = [streams.run(), streams.environment(env), *(streams.result(t, env=env) for t in tests)]
        lines = [json.dumps(event) for event in [*events, streams.end()]]
        (place / "results.jsonl").write_text("\n".join(lines) + "\n")
        writer = Writer(place)
        writer.environment(env, ("--guest", kernel.name, "--gpus", "1"))
        kernel.run()
        writer.add("a", env, NO_TEST, kernel.read())
        kernel.run()
        writer.add("a", env, FIRST, kernel.read())
        kernel.run("2", "3", "4", "5", "6")
        writer.add("a", env, SECOND, kernel.read())
        writer.close()
        return place

    return make


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    assert cli.main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out.splitlines()


def row(lines: list[str]) -> str:
    return next(" ".join(line.split()) for line in lines if line.startswith("xe_svm.c "))


def test_lines_branches_and_functions(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, run())
    assert row(lines) == "xe_svm.c 6 of 8, 75.0 % 6 of 8, 75.0 % 2 of 2, 100.0 % 2 of 3, 66.7 %"
    assert "xe_svm.c:unused: not executed" in lines
    assert "    no reason is kept" in lines


@pytest.mark.parametrize(
    ("asked", "branches"),
    [
        ("suites/gc", "1 of 2"),
        (FIRST, "1 of 2"),
        ("suites/bind/test_b.py", "1 of 2"),
        (SECOND.partition("[")[0], "1 of 2"),
    ],
    ids=["suite", "test", "file", "all-parameters"],
)
def test_only_what_a_test_executed(
    run: Callable[..., Path], capsys: pytest.CaptureFixture[str], asked: str, branches: str
) -> None:
    assert branches in row(printed(capsys, run(), "--tests", asked))


def test_function_that_is_always_inlined_has_no_lines(
    kernel: Kernel, run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = SOURCE.replace(
        "static int twice(int number)\n{\n\tif (number > 5)\n\t\treturn 0;", "static int twice(int number)\n{"
    )
    small = Kernel(tmp_path / "cache", "7.3.4-small", source, "-O2")
    kernel.name, kernel.notes = small.name, small.notes
    lines = printed(capsys, run())
    assert row(lines).startswith("xe_svm.c 2 of 4, 50.0 % 2 of 4")
    assert "xe_svm.c:: 2 lines not executed" not in lines


def test_tests_without_counts_are_refused(run: Callable[..., Path]) -> None:
    with pytest.raises(NoAnswerError, match="no counts of suites/none"):
        cli.main([str(run()), "--tests", "suites/none"])


def test_runs_are_added_up(
    run: Callable[..., Path], kernel: Kernel, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run does not replace the counts of the other."""
    places = [run("one"), run("two", env=f"{ENV}x2")]
    totals = [counts for place in places for *_, counts in Stored(place).counts(read(place).results[0].env)]
    assert "6 of 8" in row(printed(capsys, *places))
    assert sum(sum(map(sum, counts.functions.values())) for counts in totals) > 0


def test_restarted_guest_counts_from_its_own_start(kernel: Kernel, tmp_path: Path) -> None:
    """A second guest's first counts are whole: nothing is subtracted, and nothing is lost."""
    writer = Writer(tmp_path)
    kernel.run()
    for reader in ("first", "second"):
        writer.add(reader, ENV, NO_TEST, kernel.read())
    writer.close()
    first, second = (counts for *_, counts in Stored(tmp_path).counts(ENV))
    assert first.functions == second.functions
    assert first.executed()


def test_lost_guest_is_named(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    place = run(tests=(FIRST, SECOND, "suites/gc/test_a.py::test_lost"))
    said = f"{ENV}: no counts of 1 test, in which the guest was lost: suites/gc/test_a.py::test_lost"
    assert said in printed(capsys, place)


def test_run_without_counts(tmp_path: Path) -> None:
    events = [streams.run(), streams.environment(), streams.result(), streams.end()]
    (tmp_path / "results.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    with pytest.raises(NoAnswerError, match=r"no counts: it takes a run with --guest"):
        cli.main([str(tmp_path)])
    assert not (tmp_path / FILE).exists()


def test_kernels_are_not_mixed(run: Callable[..., Path], tmp_path: Path, kernel: Kernel) -> None:
    one = run("one")
    kernel.name = Kernel(tmp_path / "cache", "7.3.4-other-gcov").name
    with pytest.raises(NoAnswerError, match="different builds"):
        cli.main([str(one), str(run("two"))])


def test_counts_of_another_build_are_refused(
    run: Callable[..., Path], kernel: Kernel, tmp_path: Path
) -> None:
    place = run()
    other = Kernel(tmp_path / "elsewhere", source=SOURCE.replace("return 1", "return twice(3)"))
    kernel.notes.write_bytes(other.notes.read_bytes())
    with pytest.raises(NoAnswerError, match="mismatch"):
        cli.main([str(place)])


def test_kernel_that_is_gone(run: Callable[..., Path], kernel: Kernel) -> None:
    place = run()
    (kernel.directory / "build.json").unlink()
    with pytest.raises(NoAnswerError, match="no longer here"):
        cli.main([str(place)])


@pytest.mark.parametrize("cut", [3, 20, -13])
def test_counts_that_are_cut_off_are_refused(kernel: Kernel, cut: int) -> None:
    kernel.run()
    with pytest.raises(CountsError):
        Counts.parse(kernel.counts()[:cut])


def test_counts_of_an_old_compiler_are_refused(kernel: Kernel) -> None:
    kernel.run()
    data = kernel.counts()
    with pytest.raises(CountsError, match="GCC 10"):
        Counts.parse(data[:4] + struct.pack("<I", int.from_bytes(b"B02*", "big")) + data[8:])


def test_counts_are_written_as_they_were_read(kernel: Kernel) -> None:
    kernel.run()
    counts = Counts.parse(kernel.counts())
    assert Counts.parse(counts.encode()) == counts


def test_step_that_a_processor_lost_is_not_a_huge_count(kernel: Kernel) -> None:
    kernel.run()
    before = Counts.parse(kernel.counts())
    kernel.run()
    after = Counts.parse(kernel.counts())
    assert not before.since(after).executed()


REASON = {"at": "xe_svm.c:unused", "kind": "impossible", "why": "No code calls it."}


@pytest.fixture
def reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def keep(**fields: object) -> None:
        (tmp_path / "reasons.yaml").write_text(json.dumps([{**REASON, **fields}]))
        known = reasons.load(tmp_path / "reasons.yaml")
        monkeypatch.setattr(reasons, "load", lambda: known)

    return keep


def test_reason_is_given_and_the_line_is_not_reachable(
    run: Callable[..., Path], reason: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    reason()
    lines = printed(capsys, run())
    assert row(lines).startswith("xe_svm.c 6 of 8, 75.0 % 6 of 6, 100.0 %")


def test_missing_test_counts_as_reachable(
    run: Callable[..., Path], reason: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    reason(kind="missing")
    lines = printed(capsys, run())
    assert row(lines).startswith("xe_svm.c 6 of 8, 75.0 % 6 of 8")
    assert "    missing: No code calls it." in lines


def test_reason_may_be_for_some_lines(
    run: Callable[..., Path], reason: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    reason(lines=["return 1"])
    lines = printed(capsys, run(), "--lines")
    assert row(lines).startswith("xe_svm.c 6 of 8, 75.0 % 6 of 7")
    assert "    no reason is kept for 1 line" in lines
    assert "    10: return 1;" in lines


def test_reason_may_be_for_several_functions(
    run: Callable[..., Path], reason: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    reason(at="xe_svm.c:twice unused")
    lines = printed(capsys, run())
    assert row(lines).startswith("xe_svm.c 6 of 8, 75.0 % 6 of 6, 100.0 %")
    assert "xe_svm.c:twice: a reason that explains nothing any more: No code calls it." in lines


def test_reason_for_what_is_executed_is_out_of_date(
    run: Callable[..., Path], reason: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    reason(at="xe_svm.c:twice")
    said = "xe_svm.c:twice: a reason that explains nothing any more: No code calls it."
    assert said in printed(capsys, run())


@pytest.mark.parametrize(
    "wrong", [{"kind": "none"}, {"at": "xe_svm.c"}, {"at": "xe_svm.c: "}, {"why": ""}, {"line": 3}]
)
def test_reason_that_makes_no_sense_is_refused(reason: Callable[..., None], wrong: dict[str, object]) -> None:
    with pytest.raises(NoAnswerError, match="entry 1"):
        reason(**wrong)


def test_reasons_are_sound() -> None:
    assert all(reason.file.endswith(".c") for reason in reasons.load())


def test_json(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    (answer,) = json.loads("\n".join(printed(capsys, run(), "--json")))
    assert answer["file"] == f"{NAME}.c"
    assert answer["lines"] == {"executed": 6, "all": 8}
    assert answer["unexecuted"] == [{"line": line, "function": "unused", "reason": None} for line in (8, 10)]


def test_html_has_the_source(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, run(), "--html", tmp_path / "html")
    assert any("unused" in page.read_text() for page in (tmp_path / "html").glob("*.html"))


def test_html_of_source_that_changed_is_refused(
    run: Callable[..., Path], kernel: Kernel, tmp_path: Path
) -> None:
    place = run()
    kernel.source.write_text("another\n")
    with pytest.raises(NoAnswerError, match="no longer what was built"):
        cli.main([str(place), "--html", str(tmp_path / "html")])


def test_map_has_the_functions_of_each_test(kernel: Kernel, run: Callable[..., Path], tmp_path: Path) -> None:
    found = cli.Counted([read(run())]).names()
    assert found == {f"{NAME}.c:twice": {FIRST, SECOND}, f"{NAME}.c:main": {FIRST, SECOND}}


def test_map_is_read_as_it_was_written(tmp_path: Path) -> None:
    tests = [f"suites/x/test_x.py::test_{number:02}" for number in range(20)]
    executed = {"a.c:few": [*tests[1:4], tests[7] + "[p]", tests[7] + "[q]"], "a.c:many": tests}
    functions.write(executed, "here", tmp_path / "map")
    assert functions.load(tmp_path / "map") == {
        "a.c:few": {*tests[1:4], tests[7]},
        "a.c:many": frozenset(),
    }


def test_changed_lines_of_a_patch(run: Callable[..., Path]) -> None:
    before = SOURCE.replace("return 0;", "return 1;").replace(
        "return 1;\n}\n\nint main", "return 2;\n}\n\nint main"
    )
    lines = (before.splitlines(keepends=True), SOURCE.splitlines(keepends=True))
    patch = "".join(difflib.unified_diff(*lines, f"a/{NAME}.c", f"b/{NAME}.c"))
    assert changed(patch, read(run())) == [
        "Of 2 changed lines with code, 1 were executed.",
        "",
        "Not executed:",
        "  xe_svm.c:10: return 1;",
    ]
