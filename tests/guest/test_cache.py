# SPDX-License-Identifier: MIT
"""The cache: entries are complete or absent, even if the builder fails."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from guest import GuestError, cache


def build(directory: Path) -> None:
    (directory / "file").write_text("content")


def test_an_entry_is_built_once() -> None:
    built = []

    def counting(directory: Path) -> None:
        built.append(directory)
        build(directory)

    first = cache.provide("group/entry", counting)
    assert cache.provide("group/entry", counting) == first
    assert (first / "file").read_text() == "content"
    assert len(built) == 1


def test_a_build_that_fails_leaves_nothing(own_cache: Path) -> None:
    def failing(directory: Path) -> None:
        build(directory)
        raise GuestError("the mirror is away")

    with pytest.raises(GuestError, match="the mirror is away"):
        cache.provide("entry", failing)
    assert cache.find("entry") is None
    assert [path.name for path in own_cache.iterdir()] == ["locks"]


def test_what_a_killed_builder_left_is_not_taken_for_finished(own_cache: Path) -> None:
    (own_cache / "entry.partial").mkdir(parents=True)
    (own_cache / "entry.partial/half").write_text("cut o")
    assert sorted(path.name for path in cache.provide("entry", build).iterdir()) == ["file"]


def _builder(log: Path) -> None:
    def slow(directory: Path) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.2)  # long enough for the others to arrive
        build(directory)

    cache.provide("entry", slow)


def test_parallel_builders_wait_for_the_first(tmp_path: Path) -> None:
    log = tmp_path / "builders"
    context = multiprocessing.get_context("fork")
    builders = [context.Process(target=_builder, args=(log,)) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(20)
    assert [builder.exitcode for builder in builders] == [0, 0, 0]
    assert len(log.read_text().split()) == 1


def test_the_newest_entries_are_kept(own_cache: Path) -> None:
    for age, name in enumerate(("used", "new", "old", "older")):
        entry = own_cache / "group" / name
        entry.mkdir(parents=True)
        os.utime(entry, (1000 - age, 1000 - age))
    cache.keep_newest(own_cache / "group/older", 2)
    assert {path.name for path in (own_cache / "group").iterdir()} == {"older", "used"}


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVMCTS_CACHE", "/proc/cache")
    with pytest.raises(GuestError, match=r"the cache /proc/cache cannot be written .*: set SVMCTS_CACHE"):
        cache.provide("entry", build)


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({"SVMCTS_CACHE": "/own"}, "/own"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/svm-cts"),
        ({"HOME": "/home/u"}, "/home/u/.cache/svm-cts"),
    ],
)
def test_the_place_of_the_cache(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], where: str
) -> None:
    for name in ("SVMCTS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache.cache_root()) == where
