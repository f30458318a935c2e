# SPDX-License-Identifier: MIT
"""The progress of a run is written to a log once per minute."""

from __future__ import annotations

import pytest

TWO = """
@behaviour("demo.works")
@acts("ioctl")
@pytest.mark.parametrize("n", range(3))
def test_x(n):
    count("ioctl")
"""
AT_ONCE = "\nimport common.heartbeat\npatch.setattr(common.heartbeat, 'EVERY_S', {every})\n"


@pytest.mark.parametrize("words", [[], ["-n", "1"], ["--platform", "lnl", "--platform", "bmg"]])
def test_log_says_how_far_each_environment_is(project, words):
    project.suite(TWO)
    stub = project.path / "stub.py"
    stub.write_text(stub.read_text() + AT_ONCE.format(every=0.05 if words else 0))
    result = project.run_apart(*words)
    assert result.ret == 0
    lines = [line for line in result.outlines if line.startswith("svm-cts: ")]
    names = ["mock/lnl", "mock/bmg"] if "lnl" in words else ["mock/bmg"]
    assert lines
    for line in lines:
        assert ", 0 failed" in line
        assert all(f"{name} " in line for name in names)
    if not words:
        assert [line.split(", ")[1] for line in lines] == [f"mock/bmg {n}/3" for n in (1, 2, 3)]
        assert lines[2].endswith(", writes the reports")
    else:
        assert any(" starts" in line for line in lines)


def test_quick_run_says_nothing_of_the_kind(project):
    project.suite(TWO)
    assert not [line for line in project.run_apart("-n", "1").outlines if line.startswith("svm-cts: ")]
