# SPDX-License-Identifier: MIT
"""Shell completion and the manual page: made from the options of all commands, and read by a real shell and by man."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from common import completion, manual
from common import parsers as parsers_module
from common.parsers import commands, parsers
from common.place import ROOT
from tests.reports.conftest import called

ASK = """
source "$1"; shift
complete -p svmcts > /dev/null || exit 1
function=$(complete -p svmcts | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
$function svmcts "${@: -1}" "${@: -2:1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
MAN = shutil.which("man")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The script of each shell."""
    folder = tmp_path_factory.mktemp("completion")
    made = {}
    for shell in completion.SHELLS:
        made[shell] = folder / shell
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("builtins.print", lambda text, to=made[shell]: to.write_text(text))
            assert called(completion.main, shell) == 0
    return made


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("ga", "gate"),
        ("gate --base", "--baseline"),
        ("run --topology ", "far near"),
        ("run --platf", "--platform"),
        ("run --maxf", "--maxfail"),  # pytest's own
        ("kernel ", "build list source"),
        ("kernel build --prof", "--profile"),
        ("completion ", "bash fish zsh"),
        ("gate --waivers REA", "README.md"),
        ("gate REA", "README.md"),
    ],
)
def test_bash_completes(scripts: dict[str, Path], tmp_path: Path, words: str, answer: str) -> None:
    (tmp_path / "README.md").touch()
    command = ["bash", "-c", ASK, "bash", str(scripts["bash"]), "svmcts", *words.split(" ")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert sorted(done.stdout.split()) == answer.split(), done.stderr


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_script_is_one_of_its_shell_and_has_all_commands(scripts: dict[str, Path], shell: str) -> None:
    text = scripts[shell].read_text()
    assert not [name for name in commands() if not re.search(rf"\b{name}\b", text)]
    if program := shutil.which(shell):
        subprocess.run([program, "-n", scripts[shell]], timeout=60, check=True)


def test_no_command_runs_to_tell_its_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SVMCTS_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    names = [name for name in parsers() if name != "guest kernels"]
    assert names == list(commands())
    assert not list(tmp_path.iterdir())


def test_manual_has_every_option_of_every_command() -> None:
    found = parsers()
    sections = dict(
        section.partition("\n")[::2]
        for section in manual.page().replace("\\-", "-").split('.SS "svmcts ')[1:]
    )
    assert [title.rstrip('"') for title in sections] == list(found)
    for name, parser in found.items():
        said = set(re.findall(r"--[\w-]+", sections[f'{name}"']))
        shown = {
            option
            for group in parser._action_groups
            for action in group._group_actions
            for option in action.option_strings
            if option.startswith("--") and action.help != "==SUPPRESS==" and action.dest != "help"
            if name != "run" or str(group.title).startswith(manual.OURS)
        }
        assert shown <= said, name


def test_manual_has_every_option_of_the_readme() -> None:
    """The suite's own, by another list than the titles that the manual goes by."""
    rows = re.findall(r"^\| (`--.*?) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    options = set(re.findall(r"--[a-z-]+", " ".join(rows)))
    assert {"--behaviour", "--timeout-scale", "--topology"} <= options
    run = manual.page().replace("\\-", "-").partition('.SS "svmcts run"')[2].partition(".SS")[0]
    assert options <= set(re.findall(r"--[\w-]+", run))


@pytest.mark.skipif(not MAN, reason="needs man (Debian: man-db)")
def test_man_shows_the_manual_without_complaint(tmp_path: Path) -> None:
    page = tmp_path / "svmcts.1"
    page.write_text(manual.page(), encoding="utf-8")
    done = subprocess.run(
        [str(MAN), "--warnings", "-P", "cat", "-l", page],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    text = re.sub(r".\x08", "", done.stdout)
    assert "svmcts gate" in text
    assert re.search(r"^ +--baseline RUN\n +a run", text, re.MULTILINE)


def test_text_that_roff_would_obey_is_shown() -> None:
    assert manual._text(".TH x\n'a \\fB-\n\n  indented\n  twice") == [
        r"\&.TH x 'a \efB\-",
        ".PP",
        ".nf",
        "  indented",
        "  twice",
        ".fi",
    ]


def test_reading_options_begins_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fixtures.plugin.start.new_folder", lambda *_: pytest.fail("a run begins"))
    assert parsers_module._of_pytest().prog == "svmcts run"
