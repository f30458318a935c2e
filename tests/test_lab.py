# SPDX-License-Identifier: MIT
"""svmcts.toml: its keys, its use by commands, and errors in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common import lab
from common.answers import status_of
from reports.commands import gate, report
from tests.reports import streams

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs/lab.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a run that fails, one that passed, and waivers for the failure."""
    monkeypatch.chdir(tmp_path)
    for name in ("new", "runs/accepted"):
        (tmp_path / name).mkdir(parents=True)
    failed = streams.result(outcome="FAIL", message="the value is lost")
    streams.write(
        tmp_path / "new" / "results.jsonl", streams.run(), streams.environment(), failed, streams.end(exit=1)
    )
    passed = [
        streams.environment(),
        streams.result(),
        streams.environment("mock/lnl"),
        streams.result(env="mock/lnl"),
    ]
    streams.write(tmp_path / "runs/accepted" / "results.jsonl", streams.run(), *passed, streams.end())
    (tmp_path / "waivers.toml").write_text(
        '[[waiver]]\ntest = "*"\nsignature = "the value is lost"\nowner = "o"\nlink = "l"\nreason = "r"\n'
        "expires = 2999-12-31\n"
    )
    return tmp_path


def write(folder: Path, *lines: str) -> None:
    (folder / lab.NAME).write_text("\n".join(lines) + "\n")


def said(capsys: pytest.CaptureFixture[str], command: object, *words: str) -> tuple[int, str]:
    status = status_of("svmcts", lambda: command(list(words)))  # type: ignore[operator]
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_example_of_the_document_has_every_key(tmp_path: Path) -> None:
    example = re.search(r"^```toml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert example is not None
    (tmp_path / lab.NAME).write_text(example[1])
    found = lab.find(None, tmp_path)
    assert {*found.words, lab.DEVICES} == set(lab.KEYS)
    assert list(found.devices) == ["left", "right"]
    assert found.word("baseline") == "runs/accepted"
    rows = re.findall(r"^\| (`.*?) \|", DOCUMENT, re.MULTILINE)
    assert sorted(key for row in rows for key in re.findall(r"`(\w+)`", row)) == sorted(lab.KEYS)


def test_folder_without_a_file_says_nothing(folder: Path) -> None:
    assert lab.find(None) == lab.Lab()
    assert lab.find(None).file("waivers") is None


def test_gate_takes_waivers_and_baseline(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, gate.main, "new")
    assert (status, "the value is lost" in text) == (1, True)
    write(folder, 'waivers = "waivers.toml"')
    status, text = said(capsys, gate.main, "new")
    assert (status, "waivers.toml:1 excuses 1 result" in text) == (0, True)
    write(folder, 'waivers = "waivers.toml"', 'baseline = "runs/accepted"')
    status, text = said(capsys, gate.main, "new")
    assert (status, "environment mock/lnl of the baseline is missing" in text) == (1, True)


def test_command_line_counts_more(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, 'waivers = "waivers.toml"')
    other = folder / "other.toml"
    other.write_text((folder / "waivers.toml").read_text().replace("is lost", "is another"))
    assert said(capsys, gate.main, "new", "--waivers=other.toml")[0] == 1
    assert said(capsys, gate.main, "new", "--lab=/dev/null")[0] == 1
    assert said(capsys, gate.main, "new")[0] == 0


def test_paths_are_relative_to_the_file(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, 'waivers = "waivers.toml"')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        assert said(capsys, gate.main, str(folder / "new"))[0] == 1
        assert said(capsys, gate.main, str(folder / "new"), f"--lab={folder / lab.NAME}")[0] == 0


def test_report_takes_origin_and_tree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, 'origin = "ourlab"', 'tree = "drm-tip"', 'baseline = "runs/accepted"')
    assert said(capsys, report.main, "new", "-o", "out")[0] == 0
    document = (folder / "out/kcidb.json").read_text()
    assert '"origin":"ourlab"' in document
    assert '"tree_name":"drm-tip"' in document
    assert "1 possible regression" in (folder / "out/mail.txt").read_text()
    assert said(capsys, report.main, "new", "-o", "out", "--origin=theirs")[0] == 0
    assert '"origin":"ourlab"' not in (folder / "out/kcidb.json").read_text()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["# one", 'baselin = "x"'], "svmcts.toml:2: baselin: no such key (did you mean baseline?)"),
        (
            ['xyzzy = "x"'],
            "svmcts.toml:1: xyzzy: no such key: there are devices, expect, waivers, baseline, ",
        ),
        (
            ["baseline = 3"],
            'svmcts.toml:1: baseline: has to be text, the path of a file, as in baseline = "runs/',
        ),
        (['tree = ""'], 'svmcts.toml:1: tree: has to be text, a name, as in tree = "mainline"'),
        (['devices = "x"'], "svmcts.toml:1: devices: has to be a table of names and paths"),
        (["[devices]"], "svmcts.toml:1: devices: has to be a table of names and paths"),
        (["[devices]", "left = 3"], "svmcts.toml:2: left: a device has a name and a path"),
        (["", "a = = 3"], "svmcts.toml:2: not TOML: Invalid value (at line 2, column 5)"),
        (['baseline = "runs/acepted"'], "baseline: runs/acepted: no such file (did you mean runs/accepted?)"),
        (['waivers = "waiver.toml"'], "waivers: waiver.toml: no such file (did you mean waivers.toml?)"),
        (['origin = "Our Lab"'], "svmcts.toml:1: origin: origin 'Our Lab' has to be lower-case letters"),
    ],
)
def test_what_is_wrong_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], lines: list[str], says: str
) -> None:
    write(folder, *lines)
    status, text = said(capsys, report.main, "new", "-o", "out")
    assert status == 2
    (line,) = text.splitlines()
    assert says in line


def test_file_that_is_not_there_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder)
    status, text = said(capsys, gate.main, "new", "--lab=svmct.toml")
    assert status == 2
    assert text == "svmcts: --lab svmct.toml: No such file or directory (did you mean svmcts.toml?)\n"
