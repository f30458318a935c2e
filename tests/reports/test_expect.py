# SPDX-License-Identifier: MIT
"""Files of recorded capabilities: written from a run, read with every mistake named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.commands import expect as command
from reports.expect import ExpectError, load
from tests.reports import streams
from tests.reports.conftest import called

KNOWN = ("vram", "atomic", "debugfs", "root", "two-devices")
GOOD = """\
# a comment

[[expect]]
environment = "driver"
pci_id = "8086:e2*"
has = ["vram", "atomic"]
lacks = ["two-devices"]

[[expect]]
has = ["root"]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "expect.toml"
    path.write_text(text)
    return path


def test_entries_say_what_they_are_about(tmp_path: Path) -> None:
    first, second = load(written(tmp_path, GOOD), KNOWN)
    assert (first.where, second.where) == (f"{tmp_path}/expect.toml:3", f"{tmp_path}/expect.toml:9")
    assert (first.has, first.lacks, second.has) == (("vram", "atomic"), ("two-devices",), ("root",))
    assert first.concerns("driver")
    assert not first.concerns("mock/bmg")
    assert second.concerns("mock/bmg")
    assert first.fits(["8086:64a0", "8086:e20b"])
    assert not first.fits(["8086:64a0"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1: no [[expect]] in it: svmcts expect RUN prints one"),
        (
            "[[expect]\n",
            "1: not TOML: Expected ']]' at the end of an array declaration (at line 1, column 9)",
        ),
        ('has = ["vram"]\n', "1: write each entry below an [[expect]] of its own, at the start of a line"),
        (
            '[expect]\nhas = ["vram"]\n',
            "1: write each entry below an [[expect]] of its own, at the start of a line",
        ),
        (
            'expect = [{has = ["vram"]}]\n',
            "1: write each entry below an [[expect]] of its own, at the start of a line",
        ),
        ("[[expect]]\n", "1: no has and no lacks: nothing would be expected"),
        ("\n[[expect]]\nhas = []\n", "2: no has and no lacks: nothing would be expected"),
        ('[[expect]]\nhas = "vram"\n', '1: has has to be a list of capabilities, as in has = ["vram"]'),
        ("[[expect]]\nhas = [1]\n", '1: has has to be a list of capabilities, as in has = ["vram"]'),
        ('[[expect]]\nhas = ["vrum"]\n', "1: 'vrum' is not a capability; the header of a run lists them"),
        (
            '[[expect]]\nhas = ["vram"]\nlacks = ["vram"]\n',
            "1: vram is in both has and lacks: leave it in one of them",
        ),
        ('[[expect]]\nhas = ["vram"]\nenvironment = 1\n', "1: environment has to be text"),
        ('[[expect]]\nhas = ["vram"]\npci_id = ""\n', "1: pci_id has to be text"),
        (
            '[[expect]]\nhave = ["vram"]\n',
            "1: 'have' is not a field of [[expect]]; there are: environment, pci_id, has, lacks",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ExpectError) as raised:
        load(path, KNOWN)
    assert str(raised.value) == f"{path}:{says}"


@pytest.mark.parametrize("text", ["[" * 100_000, "a = " + "[" * 100_000, "\x00", "x = '\ud800'"])
def test_hostile_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "expect.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ExpectError, match=r"expect\.toml:\d+: "):
        load(path, KNOWN)


def stream(tmp_path: Path, *events: dict[str, object]) -> str:
    return str(streams.write(tmp_path / "results.jsonl", *events))


def test_what_a_run_has_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = streams.run(), streams.environment("driver"), streams.result(env="driver"), streams.end()
    assert called(command.main, stream(tmp_path, *events)) == 0
    said = capsys.readouterr().out
    (entry,) = load(written(tmp_path, said), KNOWN)
    assert (entry.environment, entry.pci_id) == ("driver", "8086:e20b")
    assert entry.has == ("vram", "atomic", "debugfs", "root")
    assert entry.lacks == ("two-devices",)
    assert said.startswith("# From ")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"capabilities": {}}, "mock/bmg does not say what it has: no test of it began"),
        (
            {"missing": {"atomic": "atomic is expected"}},
            "mock/bmg: atomic is expected: record a run that lacks nothing",
        ),
    ],
)
def test_run_that_lacks_something_is_not_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, object], says: str
) -> None:
    path = stream(tmp_path, streams.run(), streams.environment(**fields), streams.result(), streams.end())
    assert called(command.main, path) == 2
    assert capsys.readouterr() == ("", f"svmcts expect: {path}: {says}\n")
