# SPDX-License-Identifier: MIT
"""Answers to misspelt words."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.near import near, near_glob, near_or_all, near_path

IDS = ("bind.cam.over-bo", "bind.cam.full-va", "bind.map.bo", "gc.async")


def test_near_words_are_named_the_nearest_first() -> None:
    assert near("vrum", ["vram", "root"]) == " (did you mean vram?)"
    assert near("bmg22", ["bmg", "lnl", "bmg2"]) == " (did you mean bmg2 or bmg?)"
    assert near("xyz", ["vram", "root"]) == ""
    assert near("", ["vram"]) == ""


def test_all_are_named_where_none_is_near() -> None:
    assert near_or_all("lnk", ["lnl", "pvc"]) == " (did you mean lnl?)"
    assert near_or_all("a770", ["lnl", "pvc"]) == ": there are lnl, pvc"


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("bind.cma.*", " (did you mean bind.map.* or bind.cam.* or bind.*?)"),
        ("bnd.*", " (did you mean bind.* or bind.map.* or bind.cam.*?)"),
        ("gc.asinc", " (did you mean gc.async?)"),
        ("*.nothing", ""),
    ],
)
def test_globs_are_answered_with_globs(pattern: str, says: str) -> None:
    assert near_glob(pattern, IDS) == says


def test_paths_are_answered_from_where_they_end_to_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "suites/atomic").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert near_path(Path("suites/atomc")) == " (did you mean suites/atomic?)"
    assert near_path(Path("suite/atomic/test_x.py")) == " (did you mean suites?)"
    assert near_path(tmp_path / "suites/atomc") == f" (did you mean {tmp_path}/suites/atomic?)"
    assert near_path(Path("atomc"), Path("suites")) == " (did you mean atomic?)"
    assert near_path(Path("suites/xyz")) == ""
    assert near_path(Path("suites")) == ""
