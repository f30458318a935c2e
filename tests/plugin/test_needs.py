# SPDX-License-Identifier: MIT
"""Capabilities: a skip has a code and a reason, and --require makes it a failure."""

from __future__ import annotations

import pytest

from fixtures.plugin import case

MARKS = '@behaviour("demo.works")\n@acts("ioctl")\n'
BODY = 'def test_x():\n    count("ioctl")\n'


def test_a_capability_of_the_device_that_is_absent_is_not_claimed(project):
    project.suite(MARKS + '@needs("vram")\n' + BODY)
    project.run().assert_outcomes(skipped=1)
    event = project.results()["mock/bmg test_x"]
    assert event["outcome"] == "NOT-CLAIMED"
    assert event["reason"] == {"code": "NEEDS:vram", "text": "the stub has none"}


def test_what_a_fixture_needs_its_test_needs(project, monkeypatch):
    monkeypatch.setitem(case.NEEDS_OF_FIXTURES, "lent", "vram")
    fixture = (
        "@pytest.fixture\ndef lent():\n    raise OSError\n\n@pytest.fixture\ndef used(lent):\n    pass\n"
    )
    project.suite(fixture + MARKS + 'def test_x(used):\n    count("ioctl")\n')
    project.run().assert_outcomes(skipped=1)
    assert project.results()["mock/bmg test_x"]["reason"]["code"] == "NEEDS:vram"


def test_a_capability_of_the_machine_that_is_absent_leaves_the_claim_untested(project):
    project.suite(MARKS + '@needs("swap")\n' + BODY)
    project.run()
    event = project.results()["mock/bmg test_x"]
    assert event["outcome"] == "UNTESTED"
    assert event["reason"]["code"] == "NEEDS:swap"


def test_what_a_backend_had_to_leave_out_is_absent(project):
    project.suite(MARKS + '@needs("fork-events")\n' + BODY)
    project.run()
    assert project.results()["mock/bmg test_x"]["reason"]["text"] == "the stub cannot"


def test_a_capability_that_is_there_lets_the_test_run(outcomes_of):
    assert outcomes_of(MARKS + '@needs("page-faults")\n' + BODY) == {"mock/bmg test_x": "PASS"}


@pytest.mark.parametrize("required", ["vram", "all"])
def test_require_turns_the_skip_into_a_failure(project, required):
    project.suite(MARKS + '@needs("vram")\n' + BODY)
    result = project.run("--require", required)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    event = project.results()["mock/bmg test_x"]
    assert (event["outcome"], event["reason"]["code"]) == ("FAIL", "REQUIRED:vram")
    assert event["message"] == "--require vram: the stub has none"


def test_require_of_another_capability_leaves_the_skip(project):
    project.suite(MARKS + '@needs("vram")\n' + BODY)
    assert project.run("--require", "swap").ret == 0


def test_require_of_no_capability_is_a_usage_error(project):
    project.suite(MARKS + BODY)
    result = project.run("--require", "vrum")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --require vrum: no such capability (did you mean vram?)"])


def test_a_behaviour_younger_than_the_kernel_is_not_claimed(project):
    project.suite('@behaviour("demo.newer")\n@acts("ioctl")\n' + BODY)
    project.run("--level", "7.1")
    event = project.results()["mock/bmg@7.1 test_x"]
    assert (event["outcome"], event["reason"]["code"]) == ("NOT-CLAIMED", "SINCE:7.2")
    project.run("--level", "7.2")
    assert project.outcomes() == {"mock/bmg@7.2 test_x": "PASS"}


def test_a_younger_behaviour_can_be_asked_for_all_the_same(project):
    project.suite('@behaviour("demo.newer")\n@acts("ioctl")\n' + BODY)
    project.run("--level", "7.1", "--any-kernel")
    assert project.outcomes() == {"mock/bmg@7.1 test_x": "PASS"}


def test_a_skip_without_a_code_is_an_error(project):
    project.suite(MARKS + 'def test_x():\n    pytest.skip("no mood")\n')
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    event = project.results()["mock/bmg test_x"]
    assert event["outcome"] == "ERROR"
    assert "without a reason code" in event["message"]


def test_untested_is_a_skip_with_a_code(project):
    project.suite(MARKS + 'def test_x():\n    untested("MACHINE:cpus", "one CPU only")\n')
    assert project.run().ret == 0
    event = project.results()["mock/bmg test_x"]
    assert (event["outcome"], event["reason"]) == (
        "UNTESTED",
        {"code": "MACHINE:cpus", "text": "one CPU only"},
    )


def test_the_environment_is_described_before_its_tests(project):
    project.suite(MARKS + BODY)
    result = project.run()
    result.stdout.fnmatch_lines(
        ["mock/bmg: /dev/null 8086:0000, no VRAM*", "*has *page-faults*", "*lacks *vram*"]
    )
    (event,) = project.events("environment")
    assert event["capabilities"]["vram"] is False
    assert event["capabilities"]["page-faults"] is True
    assert event["reductions"] == ["no fork-events: the stub cannot"]
