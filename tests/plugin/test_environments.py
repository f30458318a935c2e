# SPDX-License-Identifier: MIT
"""Environments of the command line, and one clear line if one is not available."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from fixtures.plugin.arguments import joined
from fixtures.plugin.environment import Environment

MARKED = '@behaviour("demo.works")\n@acts("ioctl")\n'
CODE = """
@behaviour("demo.works")
@acts("ioctl")
@pytest.mark.parametrize("n", range(6))
def test_x(n, request, worker_id):
    count("ioctl")
    print("ran by", worker_id)
"""


def refusal(result):
    """The line with which an impossible run ended."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.stderr.lines if line]
    assert not any("Traceback" in line for line in result.stdout.lines)
    return line


def test_one_platform_runs_without_workers(project):
    project.suite(CODE)
    result = project.run("--platform", "lnl")
    assert set(project.outcomes()) == {f"mock/lnl test_x[{n}]" for n in range(6)}
    result.stdout.no_fnmatch_line("ran by gw*")
    result.stdout.no_fnmatch_line("created: *")


def test_several_platforms_run_every_test_on_each(project):
    project.suite(CODE)
    result = project.run_apart("--platform", "lnl", "--platform", "bmg")
    assert result.ret == 0
    assert set(project.outcomes()) == {f"mock/{p} test_x[{n}]" for p in ("lnl", "bmg") for n in range(6)}
    result.stdout.fnmatch_lines(["mock/lnl: 6 PASS in *", ""])
    result.stdout.fnmatch_lines(["mock/bmg: 6 PASS in *", ""])
    # The project's own directory has the name of a worker in it when this test runs in one.
    assert "gw0" not in result.stdout.str().replace(str(project.path), "")


@pytest.mark.parametrize("where", ["command line", "environment"])
def test_folder_of_results_is_no_path_of_tests(project, tmp_path_factory, monkeypatch, where):
    """The run has created it when workers look for pytest.ini and conftest.py at each path."""
    project.suite(CODE)
    place = tmp_path_factory.mktemp("elsewhere") / "run"
    words = ["--results", str(place)]
    if where == "environment":
        monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(words))
        words = []
    result = project.run_apart("-n", "1", "--platform", "lnl", *words)
    assert result.ret == 0, result.stderr.str()
    assert (place / "index.html").exists()


@pytest.mark.parametrize(
    ("given", "handed"),
    [
        (["--expect", "/a.toml", "suites"], ["--expect=/a.toml", "suites"]),
        (["--module", "/xe.ko", "--module=/b.ko"], ["--module=/xe.ko", "--module=/b.ko"]),
        (["-k", "a", "--junitxml", "/x y"], ["-k", "a", "--junitxml=/x y"]),
        (["--adversary", "suites", "-x", "--co"], ["--adversary", "suites", "-x", "--co"]),
        (["--", "--expect", "a"], ["--", "--expect", "a"]),
        (["--expect"], ["--expect"]),
    ],
)
def test_value_is_handed_to_workers_with_its_option(pytestconfig, given, handed):
    assert list(joined(given, pytestconfig._parser.optparser)) == handed


LIMITED = """
from fixtures.timeouts import scale_timeout
from fixtures.plugin.deadline import limit_of

@behaviour("demo.works")
@acts("ioctl")
@pytest.mark.timeout(20)
def test_x(request):
    count("ioctl")
    assert scale_timeout(2) == {expected}
    assert limit_of(request.node) == {expected} * 10
"""


def test_patience_stretches_the_deadlines_of_every_environment(project):
    project.suite(LIMITED.format(expected=5))
    result = project.run_apart("--platform", "lnl", "--platform", "bmg", "--timeout-scale", "2.5")
    assert set(project.outcomes().values()) == {"PASS"}
    result.stdout.fnmatch_lines(["  deadlines are 2.5 times as long"])


def test_without_patience_deadlines_are_what_they_say(project):
    project.suite(LIMITED.format(expected=2))
    project.run()
    assert set(project.outcomes().values()) == {"PASS"}


def test_impatience_is_refused(project):
    project.suite(LIMITED.format(expected=2))
    result = project.run("--timeout-scale", "0.5")
    result.stderr.fnmatch_lines(["*--timeout-scale: 0.5 is not from 1 to 1000"])


def test_n_gives_each_platform_that_many_workers(project):
    project.suite(CODE)
    result = project.run_apart("--platform", "lnl", "--platform", "bmg", "-n", "2", "-v")
    assert len(project.outcomes()) == 12
    for platform in ("lnl", "bmg"):
        for number in range(2):
            result.stdout.fnmatch_lines([rf"[[]{platform}.{number}[]]*PASSED*"])


def test_a_platform_is_run_once_however_often_it_is_named(project):
    project.suite(CODE)
    project.run("--platform", "lnl", "--platform", "lnl")
    assert len(project.outcomes()) == 6


def test_levels_other_than_the_default_are_in_the_name(project):
    project.suite(CODE)
    project.run("--level", "6.18")
    assert project.events("environment")[0]["env"] == "mock/bmg@6.18"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--backend", "driver", "--device", "/dev/dri/renderD999"],
            "ERROR: /dev/dri/renderD999: no such node*",
        ),
        (["--backend", "driver", "--device", "renderD999"], "ERROR: /dev/dri/renderD999: no such node*"),
        (["--backend", "driver", "--device=/dev/null"], "ERROR: /dev/null: not a DRM node*"),
        (["--backend", "driver", "--platform", "lnl"], "ERROR: --platform chooses a mock*"),
        (["--device", "/dev/dri/renderD128"], "ERROR: --device chooses a real node*"),
        (["--module=xe.ko"], "ERROR: --module is for guests: it needs --guest KERNEL"),
        (["--gpus", "2"], "ERROR: --gpus is for guests: it needs --guest KERNEL"),
        (["--gpus", "1", "--platform", "bmg2"], "ERROR: --gpus is for guests: it needs --guest KERNEL"),
        (["--topology", "far"], "ERROR: --topology is for guests: it needs --guest KERNEL"),
        (["--adversary"], "ERROR: --adversary is for guests: it needs --guest KERNEL"),
        (["--iommu"], "ERROR: --iommu is for guests: it needs --guest KERNEL"),
        (["--guest", "7.3", "--gpus", "2", "--iommu"], "ERROR: --iommu is for one GPU: *"),
        (["--adversary=off"], "ERROR: --adversary is for guests: it needs --guest KERNEL"),
        (
            ["--guest", "7.3", "--adversary=x"],
            "ERROR: --adversary x: it is one of off, mild, hard; before a folder*",
        ),
        (["--emulator", "--vram 1G"], "ERROR: --emulator is for guests: it needs --guest KERNEL"),
        (
            ["--guest", "7.3", "--topology", "far"],
            "ERROR: --topology is for two GPUs: it needs --gpus 2",
        ),
        (
            ["--guest", "7.3", "--level", "7.3"],
            "ERROR: --level is for the mock, and none was requested: it needs --platform NAME",
        ),
        (
            ["--guest", "7.3", "--mock-defect", "x"],
            "ERROR: --mock-defect is for the mock, and none was requested: it needs --platform NAME",
        ),
        (
            ["--backend", "driver", "--level", "7.0"],
            "ERROR: --level is for the mock, and none was requested: it needs --platform NAME",
        ),
        (
            ["--guest", "7.3", "--backend", "mock"],
            "ERROR: --backend mock: with --guest, a mock is chosen by --platform NAME",
        ),
        (["--platform", "broken"], "ERROR: mock/broken: the stub is broken on purpose"),
        (
            ["--platform", "lnl", "--platform", "bmg", "-p", "no:xdist"],
            "ERROR: several environments*need pytest-xdist*",
        ),
    ],
)
def test_what_cannot_be_is_told_in_one_line(project, arguments, line):
    project.suite(CODE)
    from fnmatch import fnmatchcase

    assert fnmatchcase(refusal(project.run(*arguments)), line)


def test_what_a_worker_cannot_be_is_told_in_one_line(project):
    project.suite(CODE)
    result = project.run_apart("--platform", "broken", "--platform", "lnl")
    assert refusal(result) == "ERROR: mock/broken: the stub is broken on purpose"


@pytest.mark.parametrize("how", ["loadfile", "worksteal"])
def test_the_ways_of_xdist_to_distribute_are_kept(project, how):
    project.suite(CODE)
    project.suite(CODE, "suites/demo/test_other.py")
    assert project.run_apart("--platform", "lnl", "--platform", "bmg", "--dist", how).ret == 0
    assert len(project.events("result")) == 24


def test_a_debugger_and_workers_do_not_go_together(project):
    project.suite(CODE)
    line = refusal(project.run("--platform", "lnl", "--platform", "bmg", "--pdb"))
    assert line.startswith("ERROR: --pdb needs a test in this process")


def test_a_node_without_permission_is_told(project, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may open anything")
    node = tmp_path / "renderD128"
    node.write_text("")
    node.chmod(stat.S_IWUSR)
    assert "no permission" in refusal(project.run("--backend", "driver", f"--device={node}"))


def test_a_level_that_is_no_kernel_is_a_usage_error(project):
    project.suite(CODE)
    result = project.run("--level", "new")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*argument --level: 'new' is not a kernel version*"])


def test_help_starts_nothing(project):
    result = project.run("--help", "--backend", "driver")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*--platform=NAME*"])


def test_node_ids_and_k_select(project):
    project.suite(CODE)
    project.run("suites/demo/test_demo.py::test_x[3]")
    assert set(project.outcomes()) == {"mock/bmg test_x[3]"}
    project.run("-k", "4")
    assert set(project.outcomes()) == {"mock/bmg test_x[4]"}


def test_x_stops_all_environments(project):
    project.suite(CODE.replace('count("ioctl")', "assert False"))
    result = project.run_apart("--platform", "lnl", "--platform", "bmg", "-x")
    assert result.ret != 0
    outcomes = list(project.outcomes().values())
    assert len(outcomes) == 12
    assert {"FAIL", "NOTRUN"} == set(outcomes)


def test_an_environment_survives_the_way_to_a_worker():
    environment = Environment("mock/bmg", "mock", "bmg", "7.3", replay=("--platform", "bmg"))
    assert Environment.from_dict(environment.to_dict()) == environment
    assert environment.tx("bmg.1") == "popen//id=bmg.1//environment=mock/bmg"


@pytest.mark.parametrize(
    "option",
    [
        *("--platform=lnl", "--backend=mock", "--device=x", "--guest=7.3", "--level=7.3", "--mock-defect=x"),
        *("--behaviour=x", "--require=vram", "--any-kernel", "--results=x", "--gpus=1", "--module=x"),
    ],
)
def test_options_of_suites_are_refused_elsewhere(project, option):
    (project.path / "tests").mkdir()
    (project.path / "tests/test_x.py").write_text("def test_x():\n    pass\n")
    name = option.partition("=")[0]
    line = f"ERROR: {name} is for tests below suites/, and none was requested: leave it out"
    assert refusal(project.run("tests", option)) == line
    assert not (project.path / "reports").exists()


@pytest.mark.parametrize("paths", [["suites", "tests/test_x.py"], ["."]])
def test_tests_of_the_project_are_refused_beside_suites(project, paths):
    """They start mocks, and a process with a mock can start no other."""
    project.suite(CODE)
    (project.path / "tests").mkdir()
    (project.path / "tests/test_x.py").write_text("def test_x():\n    pass\n")
    line = "ERROR: tests/ has the project's own tests, which start mocks of their own: run them apart from suites/"
    assert refusal(project.run(*paths)) == line


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--reruns", "2"], "--reruns: a test that passes at its second try is not a PASS*"),
        (["--force-reruns", "2"], "--force-reruns: a test that passes at its second try is not a PASS*"),
        (["--forked"], "--forked: the mock belongs to the process that runs the tests*"),
    ],
)
def test_options_of_foreign_plugins_are_refused(project, options, why):
    (project.path / "foreign.py").write_text(
        "def pytest_addoption(parser):\n"
        "    for name in ('--reruns', '--force-reruns'):\n        parser.addoption(name, type=int)\n"
        "    parser.addoption('--forked', action='store_true')\n"
    )
    project.suite(CODE)
    from fnmatch import fnmatchcase

    assert fnmatchcase(refusal(project.run_apart("-p", "foreign", *options)), f"ERROR: {why}")


WARNS = """
import warnings

def pytest_configure():
    warnings.warn("configure is foreign", DeprecationWarning)

def pytest_runtest_setup():
    warnings.warn("set-up is foreign")

def pytest_runtest_logreport():
    warnings.warn("a report is foreign", FutureWarning)

def pytest_sessionfinish():
    warnings.warn("the end is foreign")
"""


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_warnings_of_foreign_plugins_fail_nothing(project, workers):
    (project.path / "foreign.py").write_text(WARNS)
    project.suite(CODE)
    assert project.run_apart("-p", "foreign", *workers).ret == 0
    assert set(project.outcomes().values()) == {"PASS"}


@pytest.mark.parametrize(
    "body",
    [
        "import warnings; warnings.warn('mine')",
        "import warnings; warnings.warn('mine', DeprecationWarning)",
        "open(os.devnull)",
        "return 1",
        "import threading; t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()",
        "int(float('1' * 400)) if 0 else request.node.warn(pytest.PytestCollectionWarning('x'))",
    ],
)
def test_warnings_of_a_test_fail_it(project, body):
    project.suite(f"{MARKED}def test_x(request):\n    count('ioctl')\n    {body}\n")
    assert project.run_apart().ret == 1
    assert set(project.outcomes().values()) <= {"FAIL", "ERROR"}


def test_a_checkout_that_cannot_be_written_is_enough(project, tmp_path_factory):
    project.suite(CODE)
    out = tmp_path_factory.mktemp("out")
    project.path.chmod(0o555)
    try:
        if os.access(project.path / "x", os.W_OK) or os.geteuid() == 0:
            command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
        else:
            command = []
        command += [sys.executable, "-m", "pytest", f"--results={out}"]
        done = subprocess.run(command, cwd=project.path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert (out / "index.html").exists()
        done = subprocess.run(command[:-1], cwd=project.path, capture_output=True, text=True, check=False)
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        (line,) = done.stderr.strip().splitlines()
        assert line.endswith(": name a folder for the results with --results=DIR")
    finally:
        project.path.chmod(0o755)
