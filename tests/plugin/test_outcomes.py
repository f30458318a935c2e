# SPDX-License-Identifier: MIT
"""Outcomes of tests, and the exit status of the run."""

from __future__ import annotations

import pytest

MARKS = '@behaviour("demo.works")\n@acts("ioctl")\n'

CASES = [
    ("def test_x():\n    count('ioctl')\n", "PASS", 0),
    ("def test_x():\n    assert 1 == 2\n", "FAIL", 1),
    ("def test_x():\n    raise OSError(errno.EIO, 'EIO')\n", "FAIL", 1),
    ("def test_x():\n    pytest.fail('so')\n", "FAIL", 1),
    ("def test_x():\n    {}['key']\n", "ERROR", 1),
    ("@pytest.mark.xfail(reason='known')\n" + MARKS + "def test_x():\n    assert 1 == 2\n", "ERROR", 1),
    ("def test_x():\n    pytest.xfail('so')\n", "ERROR", 1),
    ("@pytest.mark.xfail(reason='known')\n" + MARKS + "def test_x():\n    count('ioctl')\n", "XPASS", 1),
    (
        "@pytest.fixture\ndef f():\n    raise OSError(errno.EIO, 'EIO')\n"
        + MARKS
        + "def test_x(f):\n    pass\n",
        "ERROR",
        1,
    ),
    (
        "@pytest.fixture\ndef f():\n    yield\n    raise OSError(errno.EIO, 'EIO')\n"
        + MARKS
        + "def test_x(f):\n    count('ioctl')\n",
        "ERROR",
        1,
    ),
]


@pytest.mark.parametrize(("code", "outcome", "status"), CASES)
def test_outcome_and_exit_status(project, code, outcome, status):
    project.suite(code if "def f" in code or "mark.xfail" in code else MARKS + code)
    result = project.run()
    assert project.outcomes() == {"mock/bmg test_x": outcome}
    assert result.ret == status


KNOWN = (
    "from fixtures.marks import known\n"
    "@known('A finding', first='6.18', last='7.3', signature='expected EBUSY, the call gave *'{})\n" + MARKS
)
FAILS_SO = "    raise AssertionError('expected EBUSY, the call gave 0x5')\n"


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("def test_x():\n    count('ioctl')\n" + FAILS_SO, "KNOWN"),
        ("def test_x():\n    count('ioctl')\n", "XPASS"),
        ("def test_x():\n    pass\n", "ERROR"),
        ("def test_x():\n" + FAILS_SO, "FAIL"),
        ("def test_x():\n    count('ioctl')\n    assert 1 == 2\n", "FAIL"),
        ("def test_x():\n    count('ioctl')\n    {}['key']\n", "ERROR"),
        ("@pytest.fixture\ndef f():\n" + FAILS_SO + "MARKSdef test_x(f):\n    pass\n", "ERROR"),
        (
            "@pytest.fixture\ndef f():\n    yield\n"
            + FAILS_SO
            + "MARKSdef test_x(f):\n    count('ioctl')\n"
            + FAILS_SO,
            "ERROR",
        ),
        (
            "def test_x():\n    count('ioctl')\n    error = AssertionError('expected EBUSY, the call gave 0x5')\n"
            "    error.add_note('the kernel complained:\\nBUG')\n    raise error\n",
            "FAIL",
        ),
        ("def test_x():\n    count('ioctl')\n    pytest.skip('no')\n", "ERROR"),
        ("def test_x():\n    untested('SO', 'no')\n", "UNTESTED"),
    ],
)
def test_known_is_one_failure(project, code, outcome):
    mark = KNOWN.format("")
    project.suite(code.replace("MARKS", mark) if "MARKS" in code else mark + code)
    project.run()
    assert project.outcomes() == {"mock/bmg test_x": outcome}


def test_known_failure_is_kept_whole(project):
    project.suite(KNOWN.format("") + "def test_x():\n    count('ioctl')\n" + FAILS_SO)
    project.run().assert_outcomes(xfailed=1)
    result = project.results()["mock/bmg test_x"]
    assert result["message"] == "expected EBUSY, the call gave 0x5"
    assert result["reason"] == {"code": "KNOWN", "text": "docs/findings.md: A finding"}
    assert "raise AssertionError(" in result["longrepr"]
    page = (project.path / "reports/out/index.html").read_text()
    assert "expected EBUSY, the call gave 0x5</p>" in page
    assert "KNOWN: docs/findings.md: A finding" in page


@pytest.mark.parametrize(
    ("arguments", "acts", "outcome"),
    [
        ((), ", acts=('store',)", "FAIL"),
        ((), ", log='the kernel complained: *BUG*'", "KNOWN"),
        (("--level", "6.17"), "", "FAIL"),
        (("--level", "6.18"), "", "KNOWN"),
        (("--runxfail",), "", "FAIL"),
    ],
)
def test_known_holds_for_kernels_and_acts(project, arguments, acts, outcome):
    project.suite(KNOWN.format(acts) + "def test_x():\n    count('ioctl')\n" + FAILS_SO)
    project.run(*arguments)
    assert list(project.outcomes().values()) == [outcome]


def test_a_lenient_unexpected_pass_is_no_clean_run_either(project):
    project.suite(MARKS + "@pytest.mark.xfail(strict=False)\ndef test_x():\n    count('ioctl')\n")
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    assert project.outcomes() == {"mock/bmg test_x": "XPASS"}


def test_a_failure_in_the_body_outweighs_one_in_the_tear_down(project):
    project.suite(
        "@pytest.fixture\ndef f():\n    yield\n    raise KeyError\n"
        + MARKS
        + "def test_x(f):\n    assert 1 == 2\n"
    )
    project.run()
    assert project.outcomes() == {"mock/bmg test_x": "FAIL"}


def test_what_was_not_begun_is_notrun(project):
    project.suite(
        MARKS + "def test_1():\n    assert 1 == 2\n" + MARKS + "def test_2():\n    count('ioctl')\n"
    )
    project.run("-x")
    assert project.outcomes() == {"mock/bmg test_1": "FAIL", "mock/bmg test_2": "NOTRUN"}
    assert project.results()["mock/bmg test_2"]["behaviours"] == ["demo.works"]


def test_last_failed_runs_what_failed_in_any_environment(project):
    project.suite(
        MARKS
        + "def test_1(request):\n    count('ioctl')\n    env = request.config.stash\n"
        + "    from fixtures.plugin.backend import environment_of\n"
        + "    assert environment_of(request.config).platform != 'lnl'\n"
        + MARKS
        + "def test_2():\n    count('ioctl')\n"
    )
    project.run_apart("--platform", "lnl", "--platform", "bmg")
    project.run("--lf").assert_outcomes(passed=1, deselected=0)
    assert list(project.outcomes()) == ["mock/bmg test_1"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("seen = 3\n    assert seen == 2 + 2", "assert seen == 2 + 2: 3 == (2 + 2)"),
        ("seen = [3]\n    assert (seen[0]  # why\n        == 4)", "assert seen[0] == 4: 3 == 4"),
        ("assert 1 == 2", "assert 1 == 2"),
        ("left = b'\\x01'\n    assert left == b'\\x02'", "assert left == b'\\x02'"),
        ("ready = False\n    assert ready", "assert ready: False"),
        ("assert 1 == 2, 'the GPU sees 5'", "the GPU sees 5"),
        ("raise AssertionError('so')", "so"),
        ("raise AssertionError", "AssertionError"),
    ],
)
def test_message_of_an_assert_names_what_was_compared(project, body, message):
    project.suite(MARKS + f"def test_x():\n    count('ioctl')\n    {body}\n")
    project.run()
    assert project.results()["mock/bmg test_x"]["message"] == message


@pytest.mark.parametrize(
    ("log", "outcome"), [("*WARNING: * at xe_vm_alloc_vma*", "KNOWN"), ("*BUG*", "FAIL"), (None, "FAIL")]
)
def test_known_complaint_of_the_kernel_belongs_to_the_failure(project, log, outcome):
    project.suite(
        KNOWN.format(f", log={log!r}" if log else "")
        + "def test_x():\n    count('ioctl')\n    error = AssertionError('expected EBUSY, the call gave 0x5')\n"
        "    error.add_note('the kernel complained:\\n[1.5] WARNING: xe_vm.c:4782 at xe_vm_alloc_vma+0x1\\n\\nx')\n"
        "    raise error\n"
    )
    project.run()
    assert project.outcomes() == {"mock/bmg test_x": outcome}


@pytest.mark.parametrize(
    ("needs", "body", "outcome"),
    [
        (("page-faults",), FAILS_SO, "KNOWN"),
        (("page-faults",), "", "XPASS"),
        (("page-faults", "vram"), FAILS_SO, "FAIL"),
        (("page-faults", "vram"), "", "PASS"),
    ],
    ids=["fails-there", "passes-there", "fails-elsewhere", "passes-elsewhere"],
)
def test_known_holds_on_machines_that_show_it(project, needs, body, outcome):
    project.suite(KNOWN.format(f", needs={needs}") + "def test_x():\n    count('ioctl')\n" + body)
    project.run()
    assert project.outcomes() == {"mock/bmg test_x": outcome}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("signature='*'", "the signature '*' has no word that says what fails"),
        ("signature='assert # == #'", "the signature 'assert # == #' has no word"),
        ("signature='so it is', log='*'", "the log '*' has no word that says"),
        ("signature='so it is', acts=('stor',)", "the act 'stor' is not a kind of act (did you mean store?)"),
        ("signature='so it is', last='new'", "'new' is not a kernel version"),
        ("signature='so it is', needs=('iomu',)", "'iomu' is not a capability (did you mean iommu?)"),
    ],
)
def test_known_that_fits_too_much_is_refused(project, given, why):
    project.suite(
        f"from fixtures.marks import known\n@known('A finding', first='6.18', {given})\n"
        f"{MARKS}def test_x():\n    pass\n"
    )
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"@known('A finding'): {why}" in result.stderr.str()
