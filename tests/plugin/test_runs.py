# SPDX-License-Identifier: MIT
"""Each run has its own folder, and none is mistaken for another."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.answers import NO_ANSWER, NoAnswerError
from fixtures.plugin import start
from reports.commands import gate, runs
from reports.runs import BusyError, Lock, holder, new_folder, prune

MARKS = '@behaviour("demo.works")\n@acts("ioctl")\n'
PASSES = MARKS + "def test_passes():\n    count('ioctl')\n"
FAILS = MARKS + "def test_fails():\n    assert 0\n"
# Continues when the file ``go`` is there.
WAITS = (
    MARKS + "def test_waits():\n    count('ioctl')\n    open('waits', 'w').close()\n"
    "    while not os.path.exists('go'):\n        time.sleep(0.01)\n"
)
OUT = Path("reports/out")


def folders(project):
    return sorted((project.path / OUT / "runs").glob("*"))


def kinds(folder):
    return [json.loads(line)["event"] for line in (folder / "results.jsonl").read_text().splitlines()]


def judged(project, capsys):
    """The gate's status, and what it says."""
    capsys.readouterr()
    try:
        status = gate.main([str(project.path / OUT)])
    except NoAnswerError as error:
        return NO_ANSWER, str(error)
    return status, capsys.readouterr().out


@pytest.fixture
def started(project):
    """``started(*arguments)``: a process that runs pytest; it is killed at the end of the test."""
    processes = []

    def start(*arguments, **options):
        command = [sys.executable, "-m", "pytest", "--timeout=100", *arguments]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        processes.append(subprocess.Popen(command, cwd=project.path, **options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(path, process=None):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.02)


def test_each_run_has_a_folder_and_out_shows_the_newest(project):
    project.suite(PASSES + FAILS)
    project.run("-k", "passes")
    (first,) = folders(project)
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    project.run("-k", "fails")
    second = folders(project)[1]
    assert first.name.endswith("-7")
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before
    for name in ("results.jsonl", "index.html", "junit.xml", "allure-results"):
        assert (project.path / OUT / name).samefile(second / name), name


BROKEN = "import pytest\ndef {hook}():\n    raise {error}\n"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["suites/demoo"], 4),
        (["suite/demo"], 4),
        (["suites/demo/test_demo.py::test_nothing"], 4),
        (["-k", "nothing"], 5),
        (["--platform", "broken"], 4),
        (["--require", "nothing"], 4),
        (["--behaviour", "nothing.*"], 4),
        (["-n", "2", "--pdb"], 4),
        (["-p", "broken_configure"], 3),
        (["-p", "broken_sessionstart"], 3),
        (["-p", "interrupted_sessionstart"], 2),
        (["-p", "interrupted_collection"], 2),
    ],
)
def test_a_run_that_does_not_start_is_not_the_one_before(project, capsys, arguments, status):
    for name, error in (("broken", "ValueError"), ("interrupted", "KeyboardInterrupt")):
        for hook in ("pytest_configure", "pytest_sessionstart", "pytest_collection"):
            file = project.path / f"{name}_{hook.removeprefix('pytest_')}.py"
            file.write_text(BROKEN.format(hook=hook, error=error))
    project.suite(PASSES)
    project.run()
    assert judged(project, capsys)[0] == 0
    result = project.run_apart(*arguments)
    assert result.ret == status
    assert len(folders(project)) == 2
    assert kinds(folders(project)[1]) == ["run", "end"]
    assert project.events("end")[0]["exit"] == status
    refused, said = judged(project, capsys)
    assert refused == NO_ANSWER
    assert "the run did not start" in said
    resumed = project.pytester.runpytest_inprocess("--resume=reports/out")
    assert "the run is finished" not in resumed.stderr.str()


def test_a_run_that_is_killed_before_it_starts_is_not_the_one_before(project, started, capsys):
    project.suite(PASSES)
    project.run()
    (project.path / "waits.py").write_text(
        "import time\ndef pytest_sessionstart():\n    open('waits', 'w').close()\n    time.sleep(60)\n"
    )
    process = started("-p", "waits", "--platform", "lnl")
    wait_for(project.path / "waits", process)
    process.kill()
    process.communicate()
    assert judged(project, capsys)[0] == NO_ANSWER
    assert project.events()[0]["environments"] == ["mock/lnl"]
    (project.path / "waits.py").write_text("")
    assert project.pytester.runpytest_inprocess("--resume=reports/out", "-p", "waits").ret == 0
    assert project.outcomes() == {"mock/lnl test_passes": "PASS"}
    assert judged(project, capsys)[0] == 0


@pytest.mark.parametrize(
    "question",
    [
        ["--co"],
        ["--fixtures"],
        ["--fixtures-per-test"],
        ["--markers"],
        ["--help"],
        ["--version", "--version"],
        ["--cache-show"],
        ["--setup-plan"],
        ["--setup-only"],
        ["--no-such-option"],
        ["--seed", "x"],
    ],
)
def test_what_is_not_a_run_leaves_no_trace(project, question):
    project.suite(PASSES)
    project.run_apart(*question)
    assert not (project.path / "reports").exists()


def test_a_run_of_other_tests_leaves_no_trace(project):
    (project.path / "tests").mkdir()
    (project.path / "tests/test_x.py").write_text("def test_x():\n    pass\n")
    for path, status in (("tests", 0), ("tests/nothing", 4)):
        assert project.run(path).ret == status
        assert not (project.path / "reports").exists()


def test_two_runs_of_one_checkout_do_not_meet(project, started):
    project.suite(PASSES + WAITS)
    first = started("--platform", "lnl", "--platform", "bmg", "--seed", "1")
    wait_for(project.path / "waits", first)
    second = project.run_apart("-k", "passes", "--platform", "lnl", "--platform", "bmg")
    (project.path / "go").touch()
    assert (first.wait(60), second.ret) == (0, 0)
    one, two = folders(project)
    for folder, tests in ((one, 2), (two, 1)):
        assert kinds(folder).count("result") == tests * 2
        assert (kinds(folder)[0], kinds(folder)[-1], kinds(folder).count("run")) == ("run", "end", 1)
        assert len(list((folder / "allure-results").glob("*-result.json"))) == tests * 2
        assert (folder / "junit.xml").read_text().count("<testcase") == tests * 2
        assert not holder(folder)
    assert (project.path / OUT / "results.jsonl").samefile(two / "results.jsonl")


@pytest.mark.parametrize("how", ["--results=there", "--resume=there"])
def test_a_folder_in_use_is_refused_to_another_run(project, started, how):
    project.suite(WAITS)
    first = started("--results=there")
    wait_for(project.path / "waits", first)
    result = project.run_apart(how) if "results" in how else project.pytester.runpytest_subprocess(how)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.stderr.lines if line]
    assert f"a run is in progress there (process {first.pid}): " in line
    (project.path / "go").touch()
    assert first.wait(60) == 0
    assert kinds(project.path / "there") == ["run", "environment", "start", "result", "end"]


def test_a_folder_that_is_used_again_keeps_the_run_before(project):
    project.suite(PASSES + FAILS)
    for word in ("passes", "fails"):
        project.run("--results=there", "-k", word)
    (before,) = (project.path / "there/earlier").iterdir()
    assert before.name.endswith("-7")
    for folder, word in ((before, "test_passes"), (project.path / "there", "test_fails")):
        assert word in (folder / "results.jsonl").read_text()
        assert word in (folder / "junit.xml").read_text()
        assert len(list((folder / "allure-results").glob("*-result.json"))) == 1
    assert not (project.path / "reports").exists()


def test_a_copy_of_out_is_not_written_through(project):
    project.suite(PASSES + FAILS)
    project.run("-k", "passes")
    (project.path / "there").mkdir()
    (project.path / "there/results.jsonl").symlink_to(folders(project)[0] / "results.jsonl")
    project.run("--results=there", "-k", "fails")
    assert "test_passes" in (project.path / OUT / "results.jsonl").read_text()
    assert "test_fails" in (project.path / "there/results.jsonl").read_text()


def test_out_itself_is_the_default(project):
    project.suite(PASSES)
    project.run()
    project.run("--results=reports/out")
    assert len(folders(project)) == 2
    result = project.run("--results=reports/out/newest")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --results=reports/out/newest: there are the runs that pytest keeps*"]
    )


def test_what_a_checkout_had_before_runs_had_folders_is_kept(project):
    out = project.path / OUT
    (out / "allure-results").mkdir(parents=True)
    (out / "guest").mkdir()
    (out / "results.jsonl").write_text('{"event":"run","start":"2026-11-21T05:40:00.123+00:00","seed":5}\n')
    (out / "index.html").write_text("old")
    (out / "allure-results/old-result.json").write_text("{}")
    project.suite(PASSES)
    project.run()
    old, new = folders(project)
    assert old.name == "20261121-054000-5"
    assert {path.name for path in old.iterdir()} == {"results.jsonl", "index.html", "allure-results"}
    assert (old / "allure-results/old-result.json").exists()
    assert (out / "guest").is_dir()
    assert (out / "results.jsonl").samefile(new / "results.jsonl")


@pytest.mark.parametrize("number", [0, 1])
def test_an_interrupted_run_ends_with_the_line_that_resumes_it(project, started, number):
    project.suite(PASSES + WAITS)
    platforms = ["-p", "no:cacheprovider", "--platform", "lnl", "--platform", "bmg"][: 4 + 2 * number]
    process = started(*platforms, stderr=subprocess.STDOUT)
    wait_for(project.path / "waits", process)
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(4)
            break
        process.send_signal(signal.SIGINT)  # Python may lose one, as in a callback
    last = process.stdout.read().splitlines()[-1]
    (folder,) = folders(project)
    assert last == f"continue this run: pytest --resume=reports/out/runs/{folder.name} -p no:cacheprovider"
    (project.path / "go").touch()
    assert project.run_apart("-h").ret == 0
    result = project.pytester.run(sys.executable, "-m", *last.partition(": ")[2].split())
    assert result.ret == 0
    assert "continue this run" not in result.stdout.str()
    assert set(project.outcomes().values()) == {"PASS"}


def test_a_run_that_stopped_ends_with_the_line_that_resumes_it(project):
    project.suite(FAILS + PASSES)
    result = project.run("-x")
    assert result.outlines[-1].startswith("continue this run: pytest --resume=reports/out/runs/")
    assert "continue this run" not in project.run().stdout.str()


def test_a_resumed_run_is_the_newest(project):
    project.suite(FAILS + PASSES)
    project.run("-x")
    project.run("-k", "passes")
    first, second = folders(project)
    assert (project.path / OUT / "newest").resolve() == second
    project.pytester.runpytest_inprocess(f"--resume={first}")
    assert (project.path / OUT / "newest").resolve() == first
    assert set(project.outcomes().values()) == {"FAIL", "PASS"}


def test_a_resumed_run_without_tests_is_not_green(project):
    project.suite(PASSES)
    project.run("-k", "nothing")
    lines = (project.path / OUT / "results.jsonl").read_text().splitlines(keepends=True)
    (folders(project)[0] / "results.jsonl").write_text(lines[0])
    assert project.pytester.runpytest_inprocess("--resume=reports/out").ret == 5


def test_old_runs_are_dropped_by_number(project, monkeypatch):
    project.suite(PASSES)
    monkeypatch.setenv(start.KEEP, "3")
    names = []
    for _ in range(5):
        project.run()
        names.append((project.path / OUT / "newest").resolve().name)
    assert [folder.name for folder in folders(project)] == sorted(names)[2:]
    for bad in ("0", "-1", "many"):
        monkeypatch.setenv(start.KEEP, bad)
        result = project.run()
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: SVMCTS_KEEP_RUNS={bad}: it is the number of runs to keep*"])


def test_runs_of_one_second_are_numbered_on(tmp_path):
    """Numbers continue also if the first run was dropped, and after the tenth."""
    made = [new_folder(tmp_path, datetime.fromtimestamp(0, UTC), 7)]
    for _ in range(11):
        made.append(new_folder(tmp_path, datetime.fromtimestamp(0, UTC), 7))
        prune(tmp_path / "runs", 3, [])
    assert [path.name for path in made] == [
        "19700101-000000-7",
        *(f"19700101-000000-7-{at}" for at in range(2, 13)),
    ]
    assert [path for path in made if path.exists()] == made[-3:]


def test_a_run_that_is_linked_or_goes_on_is_not_dropped(tmp_path):
    kept = tmp_path / "reports/out/runs"
    for number in range(6):
        (kept / f"2026112{number}-000000-7").mkdir(parents=True)
        (kept / f"2026112{number}-000000-7/results.jsonl").write_text("{}")
    (tmp_path / "reports/baseline").symlink_to("out/runs/20261120-000000-7")
    (tmp_path / "reports/out/names").mkdir()
    (tmp_path / "reports/out/names/file.jsonl").symlink_to("../runs/20261121-000000-7/results.jsonl")
    (tmp_path / "reports/out/nowhere").symlink_to("nothing")
    code = f"import sys; from reports.runs import Lock, Path; Lock(Path({str(kept)!r}, '20261122-000000-7'))"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}; print(flush=True); sys.stdin.read()"],
        cwd=start.__file__.partition("/fixtures/")[0],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        dropped = prune(kept, 1, [tmp_path / "reports"])
        process.stdin.close()
    assert [folder.name[6:8] for folder in dropped] == ["23", "24"]
    assert [folder.name[6:8] for folder in prune(kept, 1, [tmp_path / "reports"])] == ["22"]


def test_a_lock_is_of_one_process_and_ends_with_it(tmp_path):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            Lock(tmp_path)
            if not os.fork():
                time.sleep(60)  # a child that stays behind does not hold it
            os.write(write, b"x")
            time.sleep(60)
        os._exit(0)
    os.read(read, 1)
    assert holder(tmp_path) == child
    with pytest.raises(BusyError, match=f"process {child}"):
        Lock(tmp_path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert holder(tmp_path) == 0
    lock = Lock(tmp_path)
    lock.release()
    assert not list(tmp_path.iterdir())


def test_runs_are_listed_newest_last(project, started, capsys, monkeypatch):
    project.suite(FAILS + PASSES + WAITS)
    project.run("-k", "passes")
    project.run("-x", "-k", "not waits")
    project.run("-k", "fails")
    project.run("-k", "nothing")
    process = started("-k", "waits", "--platform", "lnl", "--seed", "9")
    wait_for(project.path / "waits", process)
    capsys.readouterr()
    monkeypatch.chdir(project.path)
    assert runs.main([str(OUT)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[19:] for line in lines[::3]] == [
        "  finished  seed 7  mock/bmg: 1 PASS",
        "  interrupted  seed 7  mock/bmg: 1 FAIL, 1 NOTRUN",
        "  finished, failed  seed 7  mock/bmg: 1 FAIL",
        "  did not start  seed 7  mock/bmg: no result",
        "  running  seed 9  mock/lnl: 1 ERROR",
    ]
    assert lines[1].startswith("    reports/out/runs/")
    assert lines[-1] == "    pytest --timeout=100 -k waits --platform lnl --seed 9"
    process.kill()
    process.communicate()
    assert runs.main([str(OUT)]) == 0
    assert "  interrupted  seed 9" in capsys.readouterr().out
    with pytest.raises(NoAnswerError, match="nowhere: no such folder"):
        runs.main(["nowhere"])


def test_a_place_that_cannot_be_written_is_refused(project):
    project.suite(PASSES)
    (project.path / "file").touch()
    result = project.run("--results=file")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.stderr.lines if line]
    assert line.endswith("/file: File exists: name a folder for the results with --results=DIR")


def test_arguments_from_the_environment_are_recorded(project, monkeypatch):
    project.suite(PASSES + FAILS)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k 'passes or nothing'")
    project.run("--platform", "lnl")
    command = project.events("run")[0]["command"]
    assert command[:3] == ["pytest", "-k", "passes or nothing"]
    assert command[-2:] == ["--platform", "lnl"]
