# SPDX-License-Identifier: MIT
"""Steps of git bisect, in a small tree whose file ``state`` gives the results of invented runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.answers import status_of
from reports.bisect import build, step
from reports.bisect.judge import Judgement, Verdict
from tests.git_tree import GitTree

TEST = "suites/vm/test_destroy.py::test_vm_can_be_destroyed_only_once"
JUDGEMENTS = {
    "works": Judgement(Verdict.WORKS),
    "fails": Judgement(Verdict.FAILS, "the CPU sees 0x12"),
    "oopses": Judgement(Verdict.FAILS, "the guest was lost"),
    "skips": Judgement(Verdict.CANNOT_TELL, "NOT-CLAIMED SINCE:7.0"),
}
ROOT = Path(__file__).resolve().parents[2]
STEP = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from reports.bisect import step
from tests.bisect.test_step import JUDGEMENTS
step.the_one = lambda test: test
step.call_pytest = lambda arguments, folder, timeout_s: JUDGEMENTS[Path("state").read_text()]
sys.exit(step.main(sys.argv[1:]))
"""
"""The command line, with invented runs."""


BOOTS = "mkdir -p arch/x86/boot; touch arch/x86/boot/bzImage"
"""A build that makes a kernel."""


def called(*arguments: str) -> int:
    """The exit status, as ``svmcts`` has it."""
    return status_of("svmcts bisect-step", lambda: step.main(list(arguments)), trouble=step.WRONG)


class Tree(GitTree):
    """A git tree; each commit has a state."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.arguments: list[list[str]] = []

    def commit(self, state: str, **files: str) -> str:
        for name, text in {"state": state, **files}.items():
            self.write(name.replace("__", "/"), text)
        return super().commit(state)

    def step(self, *options: str, make: str = BOOTS) -> int:
        return called("--tree", str(self.path), "--test", TEST, "--build", make, *options)

    def call(self, arguments: list[str], folder: Path, timeout_s: float) -> Judgement:
        self.arguments.append(arguments)
        return JUDGEMENTS[(self.path / "state").read_text()]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    made = Tree(tmp_path)
    monkeypatch.setattr(step, "the_one", lambda test: test)
    monkeypatch.setattr(step, "call_pytest", made.call)
    return made


@pytest.fixture
def learnt(tree: Tree) -> Tree:
    tree.commit("fails")
    assert tree.step("--learn") == 0
    return tree


@pytest.mark.parametrize(("state", "status"), [("works", 0), ("fails", 1), ("oopses", 125), ("skips", 125)])
def test_the_exit_status_is_what_git_bisect_wants(learnt: Tree, state: str, status: int) -> None:
    learnt.commit(state)
    assert learnt.step() == status


@pytest.mark.parametrize(("state", "status"), [("works", 1), ("fails", 0), ("oopses", 125)])
def test_with_terms_it_is_asked_when_it_began_to_work(learnt: Tree, state: str, status: int) -> None:
    learnt.commit(state)
    assert learnt.step("--term-old", "broken", "--term-new", "working") == status
    assert "--any-kernel" in learnt.arguments[-1]


def test_what_does_not_build_cannot_tell(learnt: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert learnt.step(make="echo 'a.c:3:1: error: no such thing'; echo more; exit 2") == 125
    assert "cannot tell: does not build: a.c:3:1: error: no such thing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "what failure? git bisect start first, or --learn with the commit that fails"),
        (("--term-new", "working"), "--term-old and --term-new belong together"),
        (("--guest", "7.3"), "--guest and --module belong together"),
        (("--module", "xe.ko"), "--guest and --module belong together"),
        (("--learn", "--guest", "7.3", "--module", "xe.ko"), "the build leaves no xe.ko, see "),
    ],
)
def test_a_wrong_question_ends_the_search(
    tree: Tree, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    tree.commit("works")
    assert tree.step(*options) == 255
    assert message in capsys.readouterr().err


def test_an_option_that_there_is_not_is_no_verdict(learnt: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert learnt.step("--modul", "xe.ko", "--gusts", "7.3") == 255
    assert "unrecognized arguments" in capsys.readouterr().err


def test_an_exception_is_no_verdict(
    learnt: Tree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_disk(*_: object) -> Judgement:
        raise OSError("No space left on device")

    monkeypatch.setattr(step, "call_pytest", no_disk)
    assert learnt.step() == 255
    assert "No space left on device" in capsys.readouterr().err


def test_terms_are_those_that_git_was_given(learnt: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = learnt.commit("fails"), learnt.commit("works")
    learnt.git("bisect", "start", "--term-old", "broken", "--term-new", "working", new, old)
    assert learnt.step("--term-old", "working", "--term-new", "broken") == 255
    assert "was given the terms broken (old) and working (new)" in capsys.readouterr().err


def test_a_commit_that_works_teaches_nothing(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    tree.commit("works")
    assert tree.step("--learn") == 255
    assert "did not fail in 20 runs" in capsys.readouterr().err


def test_the_tree_is_booted_or_a_kernel_with_its_module(learnt: Tree) -> None:
    learnt.step()
    assert learnt.arguments[-1][:2] == ["--guest", str(learnt.path)]
    learnt.step("--guest", "7.3.4", "--module", "xe/xe.ko", make="mkdir -p xe; touch xe/xe.ko")
    assert learnt.arguments[-1][:3] == ["--guest", "7.3.4", f"--module={learnt.path / 'xe/xe.ko'}"]


def test_searches_with_other_tests_do_not_mix(learnt: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    other = "suites/vm/test_destroy.py::test_another"
    assert step.main(["--tree", str(learnt.path), "--test", other, "--build", BOOTS]) == 255
    assert "what failure?" in capsys.readouterr().err
    assert learnt.step() == 1


@pytest.mark.parametrize(
    ("options", "made"),
    [((), build.IMAGE), (("--guest", "7.3", "--module", "xe.ko"), Path("xe.ko"))],
)
def test_build_that_leaves_nothing_new_cannot_tell(
    learnt: Tree, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], made: Path
) -> None:
    """As with ``make | cat``: the output of an earlier commit is not judged."""
    learnt.commit("works")
    file = learnt.path / made
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("of another commit")
    assert learnt.step(*options, make="false | cat") == 125
    assert f"cannot tell: the build leaves no {made}" in capsys.readouterr().err
    assert not file.exists()


def test_driver_of_an_earlier_build_is_not_judged(learnt: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    learnt.commit("works")
    file = learnt.path / build.DRIVER
    file.parent.mkdir(parents=True)
    file.write_text("of another commit")
    assert learnt.step() == 125
    assert f"cannot tell: the build leaves no {build.DRIVER}" in capsys.readouterr().err


def test_search_without_check_out_is_refused(learnt: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    commits = [learnt.commit(state) for state in ("works", "works", "fails")]
    learnt.git("bisect", "start", "--no-checkout", commits[-1], commits[0])
    assert learnt.step() == 255
    (line,) = capsys.readouterr().err.splitlines()
    assert "--no-checkout leaves the tree at one commit" in line
    assert "git bisect reset, and start without it" in line


# git's own search


def bisect_run(tree: Tree, *options: str) -> subprocess.Popen[str]:
    """Start git bisect run."""
    return subprocess.Popen(
        ["git", "bisect", "run", sys.executable, "-c", STEP, "--test", TEST, *options],
        cwd=tree.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_git_bisect_run_finds_the_commit(tree: Tree) -> None:
    """Commits on both sides of the first bad one cannot tell; the failure is learnt from the bad commit in git."""
    states = ["works", "works", "skips", "works", "works", "fails", "oopses", "skips", "fails", "fails"]
    commits = [tree.commit(state, serial=str(index)) for index, state in enumerate(states)]
    tree.git("bisect", "start", commits[-1], commits[0])
    search = bisect_run(tree, "--build", f"grep -q skips state && exit 2; {BOOTS}")
    said = search.communicate()[0]
    assert search.returncode == 0, said
    assert f"{commits[5]} is the first bad commit" in said
    assert f"bisect-step {commits[-1][:12]}: fails in 3 of 3 runs: the CPU sees 0x12" in said


def test_git_bisect_run_finds_the_repair(tree: Tree) -> None:
    commits = [tree.commit(state, serial=state) for state in ("fails", "oopses", "fails", "works", "works")]
    terms = ("--term-old", "broken", "--term-new", "working")
    tree.git("bisect", "start", *terms, commits[-1], commits[0])
    search = bisect_run(tree, *terms, "--build", BOOTS)
    said = search.communicate()[0]
    assert search.returncode == 0, said
    assert f"{commits[3]} is the first working commit" in said


def test_good_commit_is_judged_once(tree: Tree) -> None:
    states = ["works", "works", "works", "fails", "fails"]
    commits = [tree.commit(state, serial=str(index)) for index, state in enumerate(states)]
    tree.git("bisect", "start", commits[-1], commits[0])
    search = bisect_run(tree, "--build", BOOTS)
    said = search.communicate()[0]
    assert search.returncode == 0, said
    assert said.count(f"bisect-step {commits[0][:12]}: was given as good: is it?") == 1
    assert said.count(f"bisect-step {commits[0][:12]}: works") == 1
    assert said.count(f"bisect-step {commits[1][:12]}: was given as good") == 0


@pytest.mark.parametrize("terms", [(), ("--term-old", "broken", "--term-new", "working")])
def test_good_commit_that_fails_ends_the_search(tree: Tree, terms: tuple[str, ...]) -> None:
    commits = [tree.commit("fails", serial=str(index)) for index in range(5)]
    tree.git("bisect", "start", *terms, commits[-1], commits[0])
    search = bisect_run(tree, *terms, "--build", BOOTS)
    said = search.communicate()[0]
    assert search.returncode != 0, said
    good = commits[-1] if terms else commits[0]
    assert f"svmcts bisect-step: {good[:12]} was given as good, and fails, too: the CPU sees 0x12" in said
    assert "first" not in said.partition("and fails, too")[2]
    assert tree.git("rev-parse", "HEAD").strip() == commits[2]


def test_good_commit_that_cannot_tell_is_good(tree: Tree) -> None:
    states = ["skips", "works", "works", "fails"]
    commits = [tree.commit(state, serial=str(index)) for index, state in enumerate(states)]
    tree.git("bisect", "start", commits[-1], commits[0])
    search = bisect_run(tree, "--build", BOOTS)
    said = search.communicate()[0]
    assert search.returncode == 0, said
    assert f"bisect-step {commits[0][:12]}: taken to be good, as marked in git" in said
    assert f"{commits[3]} is the first bad commit" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_search_goes_on(tree: Tree, tmp_path: Path, number: signal.Signals) -> None:
    """A step that is ended by a signal ends its build; the same command continues and finds the commit."""
    commits = [
        tree.commit(state, serial=str(index)) for index, state in enumerate(["works"] * 3 + ["fails"] * 3)
    ]
    tree.git("bisect", "start", commits[-1], commits[0])
    make = f"{BOOTS}; test -e {tmp_path}/going && exit 0; echo $PPID $$ > {tmp_path}/going.part; \
        mv {tmp_path}/going.part {tmp_path}/going; sleep 1000"
    search = bisect_run(tree, "--build", make)
    while not (tmp_path / "going").exists():
        assert search.poll() is None
    parent, shell = map(int, (tmp_path / "going").read_text().split())
    os.kill(parent, number)
    said = search.communicate()[0]
    assert "interrupted; the same git bisect run continues from here" in said
    assert search.returncode != 0, said
    with pytest.raises(ProcessLookupError):
        os.kill(shell, 0)
    search = bisect_run(tree, "--build", make)
    said = search.communicate()[0]
    assert search.returncode == 0, said
    assert f"{commits[3]} is the first bad commit" in said


def test_a_build_that_outlives_its_step_is_waited_for(tree: Tree, tmp_path: Path) -> None:
    """A killed step cannot end its build; the next step waits for that build."""
    tree.commit("fails")
    make = (
        f"{BOOTS}; echo $PPID $$ >> {tmp_path}/begun; test -e {tmp_path}/second || read x < {tmp_path}/fifo; \
        echo $$ >> {tmp_path}/ended"
    )
    os.mkfifo(tmp_path / "fifo")
    command = [sys.executable, "-c", STEP, "--test", TEST, "--learn", "--build", make]
    first = subprocess.Popen(command, cwd=tree.path)
    while not (tmp_path / "begun").exists() or not (tmp_path / "begun").read_text().endswith("\n"):
        assert first.poll() is None
    first.kill()
    first.wait()
    second = subprocess.Popen(command, cwd=tree.path, stderr=subprocess.PIPE, text=True)
    assert second.stderr is not None
    assert "waiting for a running step or build" in second.stderr.readline()
    (tmp_path / "second").touch()
    (tmp_path / "fifo").write_text("\n")
    said = second.communicate()[1]
    assert second.returncode == 0, said
    begun = [line.split()[1] for line in (tmp_path / "begun").read_text().splitlines()]
    assert (tmp_path / "ended").read_text().split() == begun
    assert len(begun) == 2


# Builds

MAKEFILE = """
kernelversion: ; @echo 7.3.4
olddefconfig: ; @echo "$(KERNELRELEASE): $@" >> done
all: ; @echo "$(KERNELRELEASE): $@" >> done; mkdir -p arch/x86/boot; touch arch/x86/boot/bzImage
modules: ; @echo "$(M): $@" >> done; touch $(M)/xe.ko
.DEFAULT_GOAL = all
"""


@pytest.fixture
def kernel(tree: Tree) -> Tree:
    """A tree with a Makefile."""
    tree.commit("fails", Makefile=MAKEFILE)
    return tree


def learn(tree: Tree, *options: str) -> int:
    """A step without --build."""
    return step.main(["--tree", str(tree.path), "--test", TEST, "--learn", *options])


def made(tree: Tree) -> list[str]:
    """Names of the built targets."""
    return (tree.path / "done").read_text().splitlines()


def test_a_tree_is_built_under_a_name_that_its_commits_share(kernel: Tree) -> None:
    """With a name for each commit, each file that contains the name would be rebuilt."""
    (kernel.path / ".config").touch()
    assert learn(kernel) == 0
    assert made(kernel) == ["7.3.4-bisect: olddefconfig", "7.3.4-bisect: all"]


def test_only_modules_are_built_for_a_kernel_that_is_there(kernel: Tree) -> None:
    for name in ("drivers/gpu/drm/xe/xe.ko", *build.PREPARED):
        (kernel.path / name).parent.mkdir(parents=True, exist_ok=True)
        (kernel.path / name).touch()
    assert learn(kernel, "--guest", "7.3.4", "--module", "drivers/gpu/drm/xe/xe.ko") == 0
    assert made(kernel) == ["drivers/gpu/drm/xe: modules"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "has no .config: make one, or give --build"),
        (("--guest", "7.3", "--module", "xe.ko"), "has no .config: prepare it for the kernel of --guest"),
    ],
)
def test_a_tree_that_is_not_prepared_is_a_wrong_question(
    kernel: Tree, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert learn(kernel, *options) == 255
    assert message in capsys.readouterr().err
    assert not (kernel.path / "done").exists()


def test_what_a_build_prints_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "build.txt"
    build.run([["echo", "hello"]], tmp_path, output)
    with pytest.raises(build.BuildError, match=r"does not build: ls: .*nothing-here"):
        build.run([["ls", "nothing-here"]], tmp_path, output)
    assert output.read_text().startswith("$ echo hello\nhello\n$ ls nothing-here\n")
