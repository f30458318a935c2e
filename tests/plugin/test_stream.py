# SPDX-License-Identifier: MIT
"""results.jsonl, and the reports that are made next to it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

MARKS = '@behaviour("demo.works")\n@acts("ioctl")\n'
PASSES = MARKS + "def test_passes():\n    count('ioctl')\n"
FAILS = MARKS + "def test_fails():\n    assert 1 == 2\n"


def test_the_events_of_a_run_in_order(project):
    project.suite(PASSES + FAILS)
    result = project.run()
    kinds = [event["event"] for event in project.events()]
    assert kinds == ["run", "environment", "start", "result", "start", "result", "end"]
    head, *_, end = project.events()
    assert (head["schema"], head["seed"]) == (1, 7)
    assert head["command"] == ["pytest", "--seed", "7"] or head["command"][-2:] == ["--seed", "7"]
    assert end["exit"] == result.ret == 1


def test_a_result_has_all_its_fields(project):
    project.suite(FAILS)
    project.run()
    event = project.results()["mock/bmg test_fails"]
    assert event.keys() == {
        "event", "env", "test", "behaviours", "acts", "declared", "vacuous", "outcome", "apart", "reason", "duration",
        "message", "longrepr", "transcript", "steps", "kernel_log", "seed", "area", "replay", "time",
    }  # fmt: skip
    assert event["test"] == "suites/demo/test_demo.py::test_fails"
    assert event["area"] == "demo"
    assert event["message"] == "assert 1 == 2"
    assert event["replay"] == "pytest --platform bmg --seed 7 suites/demo/test_demo.py::test_fails"
    assert "def test_fails():" in event["longrepr"]


def test_each_event_is_flushed_at_once(project):
    project.suite(
        PASSES + MARKS + "def test_reads():\n    count('ioctl')\n"
        "    from pathlib import Path\n    text = Path('reports/out/results.jsonl').read_text()\n"
        "    assert 'test_passes' in text and text.endswith('\\n')\n"
    )
    project.run().assert_outcomes(passed=2)


def test_a_run_with_workers_has_the_same_events_and_reports(project):
    project.suite(PASSES + FAILS)
    project.run_apart("--platform", "lnl", "--platform", "bmg")
    assert project.outcomes() == {
        f"mock/{platform} test_{name}": outcome
        for platform in ("lnl", "bmg")
        for name, outcome in (("passes", "PASS"), ("fails", "FAIL"))
    }
    assert [event["env"] for event in project.events("environment")].count("mock/lnl") == 1
    assert len(project.events("start")) == 4
    assert project.results()["mock/lnl test_fails"]["replay"].startswith("pytest --platform lnl ")
    # JUnit has the environment in the class,
    cases = ET.parse(project.path / "reports/out/junit.xml").iter("testcase")
    assert {case.get("classname") for case in cases} == {
        "mock/lnl.suites.demo.test_demo",
        "mock/bmg.suites.demo.test_demo",
    }
    # and Allure one test case with a history for each.
    results = allure_results(project)
    assert len(results) == 4
    for name in ("test_passes", "test_fails"):
        both = [results[name, platform] for platform in ("lnl", "bmg")]
        assert len({result["historyId"] for result in both}) == 2
        assert len({result["testCaseId"] for result in both}) == 1


def test_ioctls_of_a_failed_test_are_in_its_result(project):
    project.suite(
        MARKS
        + "def test_x():\n    import ioctl\n    from ioctl import xe\n    fd = os.open('/dev/null', os.O_RDWR)\n"
        "    ioctl.call(fd, xe.DRM_IOCTL_XE_VM_CREATE, xe.drm_xe_vm_create(flags=3))\n"
    )
    result = project.run()
    event = project.results()["mock/bmg test_x"]
    assert event["outcome"] == "FAIL"
    assert event["message"].startswith("ENOTTY: DRM_IOCTL_XE_VM_CREATE on fd ")
    assert "VM_CREATE" in event["transcript"]
    assert "ENOTTY" in event["transcript"]
    result.stdout.fnmatch_lines(["ioctl(*, DRM_IOCTL_XE_VM_CREATE, {"])


def test_ioctls_of_the_test_before_are_not(project):
    code = (
        "    import ioctl\n    from ioctl import xe\n"
        "    ioctl.call(9999, xe.DRM_IOCTL_XE_VM_CREATE, xe.drm_xe_vm_create())\n"
    )
    project.suite(MARKS + "def test_1():\n" + code + FAILS)
    project.run()
    assert project.results()["mock/bmg test_fails"]["transcript"] is None


def test_results_option_moves_all_reports(project):
    project.suite(PASSES)
    project.run("--results", "elsewhere")
    written = {path.name for path in (project.path / "elsewhere").iterdir()}
    assert written == {"results.jsonl", "index.html", "junit.xml", "allure-results"}
    assert not (project.path / "reports").exists()


def test_collect_only_writes_nothing_and_starts_nothing(project):
    project.suite(PASSES)
    result = project.run("--collect-only", "--platform", "broken", "--platform", "lnl")
    assert result.ret == 0
    assert not (project.path / "reports").exists()


def allure_results(project):
    directory = project.path / "reports" / "out" / "allure-results"
    results = [json.loads(path.read_text()) for path in directory.glob("*-result.json")]
    return {(result["name"], _labels(result)["platform"][0]): result for result in results}


def _labels(result):
    labels = {}
    for label in result["labels"]:
        labels.setdefault(label["name"], []).append(label["value"])
    return labels


def test_allure_labels_and_status(project):
    project.suite(PASSES + FAILS + '@needs("vram")\n' + MARKS + "def test_skips():\n    pass\n")
    project.run()
    results = allure_results(project)
    assert {name: result["status"] for (name, _), result in results.items()} == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_skips": "skipped",
    }
    labels = _labels(results["test_fails", "bmg"])
    assert labels["epic"] == ["demo"]
    assert labels["story"] == ["demo.works: it works"]
    assert labels["outcome"] == ["FAIL"]
    assert labels["backend"] == ["mock"]
    assert _labels(results["test_skips", "bmg"])["outcome"] == ["NOT-CLAIMED"]
    titles = [attachment["name"] for attachment in results["test_fails", "bmg"]["attachments"]]
    assert titles == ["again"]


def test_allure_results_of_the_run_before_are_gone(project):
    project.suite(PASSES + FAILS)
    project.run()
    project.run("-k", "passes")
    assert [name for name, _ in allure_results(project)] == ["test_passes"]


def test_a_directory_for_allure_that_the_user_named_is_kept(project):
    project.suite(PASSES)
    for _ in range(2):
        project.run("--alluredir", "mine")
    assert len(list((project.path / "mine").glob("*-result.json"))) == 2
    project.run("--alluredir", "mine", "--clean-alluredir")
    assert len(list((project.path / "mine").glob("*-result.json"))) == 1


@pytest.mark.parametrize("plugin", ["xdist", "allure_pytest", "timeout", "junitxml", "terminal"])
def test_the_plugin_does_without_others(project, plugin):
    project.suite(PASSES)
    assert project.run("-p", f"no:{plugin}").ret == 0
    assert project.outcomes() == {"mock/bmg test_passes": "PASS"}


COMPLAINT = (
    "from fixtures.plugin.kernel import KernelComplaintError\n"
    + MARKS
    + "def test_x(request):\n    count('ioctl')\n"
    "    request.node.add_report_section('call', 'kernel log', '[   12.3] xe: GT0 <hung>')\n"
    "    raise KernelComplaintError('the kernel complained:\\nWARNING: at drm_gpusvm.c:7\\nRIP: 0010')\n"
)


def test_what_the_kernel_said_is_in_the_message_and_its_log_in_the_result(project):
    project.suite(
        COMPLAINT
        + PASSES.replace(
            "count", "request.node.add_report_section('call', 'kernel log', 'x')\n    count"
        ).replace("()", "(request)", 1)
    )
    project.run()
    event = project.results()["mock/bmg test_x"]
    assert event["message"] == "the kernel complained: WARNING: at drm_gpusvm.c:7"
    assert event["kernel_log"] == "[   12.3] xe: GT0 <hung>"
    assert project.results()["mock/bmg test_passes"]["kernel_log"] is None


def test_junit_goes_where_the_user_wants_it_too(project):
    project.suite(FAILS)
    project.run("--junitxml=there/results.xml")
    texts = [(project.path / name).read_text() for name in ("there/results.xml", "reports/out/junit.xml")]
    assert texts[0] == texts[1]
    assert 'classname="mock/bmg.suites.demo.test_demo"' in texts[0]
