# SPDX-License-Identifier: MIT
"""Seeds are printed and replayable, and those of a test do not depend on its place or on earlier tests."""

from __future__ import annotations

import pytest

MARKS = '@behaviour("demo.works")\n@acts("ioctl")\n'
DRAWS = (
    MARKS
    + "@pytest.mark.parametrize('n', range(3))\ndef test_x(n, sentinel, rng):\n    count('ioctl')\n"
    + "    with open('drawn', 'a') as file:\n        print(n, sentinel(), rng.random(), file=file)\n"
)


def drawn(project):
    path = project.path / "drawn"
    lines = sorted(path.read_text().splitlines())
    path.unlink()
    return lines


def test_the_same_seed_gives_the_same_numbers(project):
    project.suite(DRAWS)
    project.run()
    first = drawn(project)
    project.run()
    assert drawn(project) == first
    assert len({line.split()[1] for line in first}) == 3


def test_another_seed_gives_others(project):
    project.suite(DRAWS)
    project.run()
    first = drawn(project)
    project.run("--seed", "8")
    assert not set(drawn(project)) & set(first)


def test_a_test_draws_the_same_alone_and_on_a_worker(project):
    project.suite(DRAWS)
    project.run()
    first = drawn(project)
    project.run("suites/demo/test_demo.py::test_x[1]")
    assert drawn(project) == [first[1]]
    project.run_apart("-n", "2")
    assert drawn(project) == first


def test_a_seed_is_chosen_and_told_and_each_run_has_its_own(project):
    project.suite(DRAWS)
    seeds = set()
    for _ in range(2):
        result = project.pytester.runpytest_inprocess()
        (head,) = project.events("run")
        seeds.add(head["seed"])
        result.stdout.fnmatch_lines([f"svm-cts *, seed {head['seed']} (again: --seed {head['seed']})"])
    assert len(seeds) == 2


@pytest.mark.parametrize("ci", ["", "true"], ids=["", "in-ci"])
def test_hypothesis_draws_from_the_seed(project, monkeypatch, ci):
    monkeypatch.setenv("CI", ci) if ci else monkeypatch.delenv("CI", raising=False)
    project.suite(
        "from hypothesis import given, settings, strategies\n"
        + MARKS
        + "def test_x():\n    numbers = []\n    @settings(max_examples=5, database=None)\n"
        + "    @given(strategies.integers())\n    def draw(n):\n        numbers.append(n)\n    draw()\n"
        + "    count('ioctl')\n    open('drawn', 'a').write(f'{numbers}\\n')\n".replace(
            "open('drawn', 'a').write(f'{numbers}\\n')",
            "with open('drawn', 'a') as file:\n        print(numbers, file=file)",
        )
    )
    first, second = (project.run_apart() and drawn(project) for _ in range(2))
    assert first == second
    project.run_apart("--seed", "8")
    assert drawn(project) != first
