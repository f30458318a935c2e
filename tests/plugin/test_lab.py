# SPDX-License-Identifier: MIT
"""svmcts.toml in pytest: devices by name, and their expected capabilities."""

from __future__ import annotations

import pytest

TEST = '@behaviour("demo.works")\n@acts("ioctl")\ndef test_x():\n    count("ioctl")\n'
STARTS = """
def start_driver(environment):
    return Backend(list(environment.devices), "7.3", expected=environment.expected)

patch.setitem(backend.STARTERS, "driver", start_driver)
patch.setattr(backend, "_problem", lambda node: None)
import fixtures.plugin.main
"""


@pytest.fixture
def lab(project):
    """A project whose devices are /dev/null and /dev/zero, of which one has a link for a name."""
    project.suite(TEST)
    stub = project.path / "stub.py"
    stub.write_text(stub.read_text() + STARTS)
    (project.path / "link").symlink_to("/dev/zero")
    (project.path / "svmcts.toml").write_text(
        f'expect = "expect.toml"\n[devices]\nleft = "/dev/null"\nright = "{project.path}/link"\n'
    )
    (project.path / "expect.toml").write_text('[[expect]]\nenvironment = "driver"\nhas = ["thp"]\n')
    return project


def test_driver_runs_on_the_devices_of_the_lab(lab):
    result = lab.run("--backend", "driver")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["lab: svmcts.toml"])
    (event,) = lab.events("result")
    assert "--device=/dev/null --device=/dev/zero" in event["replay"]


@pytest.mark.parametrize(("asked", "node"), [("right", "/dev/zero"), ("/dev/full", "/dev/full")])
def test_device_is_chosen_by_name_or_path(lab, asked, node):
    lab.run("--backend", "driver", f"--device={asked}").assert_outcomes(passed=1)
    (event,) = lab.events("result")
    assert f"--backend driver --device={node} " in event["replay"]


def test_what_the_lab_expects_and_is_not_there_is_an_error(lab):
    (lab.path / "expect.toml").write_text('[[expect]]\nenvironment = "driver"\nhas = ["vram"]\n')
    assert lab.run("--backend", "driver").ret == pytest.ExitCode.TESTS_FAILED
    (event,) = lab.events("environment")
    assert "recorded in" in event["missing"]["vram"]


def test_mock_runs_beside_what_the_lab_expects_of_hardware(lab):
    result = lab.run()
    result.assert_outcomes(passed=1)
    refused = lab.run("--expect=expect.toml")
    refused.stderr.fnmatch_lines(["ERROR: --expect expect.toml: no entry is about environment mock/bmg"])


@pytest.mark.parametrize(
    ("words", "text", "says"),
    [
        (
            ["--device=lft"],
            None,
            "--device lft: not in *svmcts.toml, and no node of /dev/dri (did you mean left?)",
        ),
        (
            [],
            '[devices]\nleft = "/dev/nul"\n',
            "*svmcts.toml:2: left: /dev/nul: no such node (did you mean /dev/null*",
        ),
        ([], 'expect = "expct.toml"\n', "*svmcts.toml:1: expect: *expct.toml: no such file (did you mean *"),
        ([], "[device]\n", "*svmcts.toml:1: device: no such key (did you mean devices?)"),
        (
            ["--lab=svmcts.tml"],
            None,
            "--lab svmcts.tml: No such file or directory (did you mean *svmcts.toml?)",
        ),
    ],
)
def test_what_is_wrong_is_refused(lab, words, text, says):
    if text is not None:
        (lab.path / "svmcts.toml").write_text(text)
    result = lab.run("--backend", "driver", *words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in result.errlines if line]
    assert len(errors) == 1
    result.stderr.fnmatch_lines([f"ERROR: {says}"])
