# SPDX-License-Identifier: MIT
"""Steps of git bisect, in a small tree whose file `state` says what the made-up runs do."""

import subprocess
from pathlib import Path

import pytest

from reports.bisect import build, step
from reports.bisect.judge import Judgement, Verdict

TEST = "suites/vm/test_destroy.py::test_a_vm_can_be_destroyed_only_once"
JUDGEMENTS = {
    "works": Judgement(Verdict.WORKS),
    "fails": Judgement(Verdict.FAILS, "the CPU sees 0x12"),
    "oopses": Judgement(Verdict.FAILS, "the guest was lost"),
    "skips": Judgement(Verdict.CANNOT_TELL, "NOT-CLAIMED SINCE:7.0"),
}
ARCHIVE = b"!<thin>\n"


class Tree:
    """A git tree; each commit has a state."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.email", "someone@example.org")
        self.git("config", "user.name", "someone")
        self.arguments: list[list[str]] = []

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", self.path, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout

    def commit(self, state: str, **files: str) -> str:
        (self.path / "state").write_text(state)
        for name, text in files.items():
            path = self.path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", state)
        return self.git("rev-parse", "HEAD").strip()

    def step(self, *options: str, make: str = "true") -> int:
        return step.main(["--tree", str(self.path), "--test", TEST, "--build", make, *options])

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
    assert learnt.step(make="false") == 125
    assert "false failed, see" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "what failure? check out the commit that fails, and give --learn first"),
        (("--term-new", "working"), "--term-old and --term-new belong together"),
    ],
)
def test_a_wrong_question_ends_the_search(
    tree: Tree, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    tree.commit("works")
    assert tree.step(*options) == 255
    assert message in capsys.readouterr().err


def test_a_commit_that_works_teaches_nothing(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    tree.commit("works")
    assert tree.step("--learn") == 255
    assert "did not fail in 20 runs" in capsys.readouterr().err


def test_the_tree_is_booted_or_a_kernel_with_its_module(learnt: Tree) -> None:
    learnt.step()
    assert learnt.arguments[-1][:2] == ["--guest", str(learnt.path)]
    learnt.step("--guest", "7.3.4", "--module", "drivers/gpu/drm/xe/xe.ko")
    assert learnt.arguments[-1][:3] == [
        "--guest",
        "7.3.4",
        f"--module={learnt.path / 'drivers/gpu/drm/xe/xe.ko'}",
    ]


def test_git_bisect_finds_the_commit(learnt: Tree, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Git's own search, driven by the exit statuses: commits that cannot tell on both sides of the first bad one."""
    states = ["works", "works", "skips", "works", "works", "fails", "oopses", "skips", "fails", "fails"]
    commits = [learnt.commit(state, serial=str(index)) for index, state in enumerate(states)]
    learnt.git("bisect", "start", commits[-1], commits[0])
    words = {0: "good", 1: "bad", 125: "skip"}
    for _ in range(len(states)):
        said = learnt.git("bisect", words[learnt.step()])
        if "first bad commit" in said:
            break
    assert commits[5] in said
    assert commits[6] not in said


# What is built


@pytest.fixture
def kernel(tree: Tree) -> Tree:
    """A tree that was built: xe is a module, mm is in the kernel."""
    for folder, archive in (
        ("drivers/gpu/drm/xe", ARCHIVE),
        ("drivers/gpu/drm", ARCHIVE),
        ("mm", ARCHIVE + b"x"),
    ):
        (tree.path / folder).mkdir(parents=True, exist_ok=True)
        (tree.path / folder / "Makefile").write_text("")
        (tree.path / folder / "built-in.a").write_bytes(archive)
    (tree.path / "Makefile").write_text("")
    return tree


@pytest.mark.parametrize(
    ("files", "folders"),
    [
        (["drivers/gpu/drm/xe/xe_svm.c"], ["drivers/gpu/drm/xe"]),
        (["drivers/gpu/drm/xe/display/xe_fb.c", "Documentation/x.rst"], ["drivers/gpu/drm/xe"]),
        (["drivers/gpu/drm/xe/xe_svm.c", "drivers/gpu/drm/drm_gpusvm.c"], ["drivers/gpu/drm"]),
        (["MAINTAINERS"], []),
        (["mm/hmm.c"], None),
        (["drivers/gpu/drm/xe/xe_svm.c", "mm/hmm.c"], None),
        (["include/uapi/drm/xe_drm.h"], None),
        (["drivers/gpu/drm/xe/Kconfig"], None),
        (["drivers/gpu/drm/xe/Makefile"], None),
        (["init.c"], None),
    ],
)
def test_only_modules_are_built_where_only_modules_changed(
    kernel: Tree, files: list[str], folders: list[str] | None
) -> None:
    assert build.module_folders(kernel.path, files) == folders


def test_a_tree_is_built_once_and_then_its_modules(
    kernel: Tree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[list[str]] = []
    monkeypatch.setattr(build, "run", lambda commands, tree, output: done.extend(commands))
    kernel.commit("fails", drivers__gpu__drm__xe__xe_svm__c="1", **{".config": ""})

    def once(*options: str) -> tuple[int, list[list[str]]]:
        done.clear()
        return step.main(["--tree", str(kernel.path), "--test", TEST, *options]), list(done)

    status, commands = once("--learn")
    assert (status, commands) == (0, build.whole_build())
    kernel.commit("works", **{"drivers__gpu__drm__xe__xe_svm.c": "2"})
    # `state`, which this tree has and a kernel has not, is outside of every module.
    assert once() == (0, build.whole_build())
    monkeypatch.setattr(build, "changed", lambda tree, since: ["drivers/gpu/drm/xe/xe_svm.c"])
    assert once() == (0, build.module_build(["drivers/gpu/drm/xe"]))
    kernel.commit("skips")
    status, commands = once()
    assert status == 125
    assert commands == [*build.module_build(["drivers/gpu/drm/xe"]), *build.whole_build()]
    assert "once more with everything built" in capsys.readouterr().err


def test_a_tree_without_a_configuration_is_a_wrong_question(
    kernel: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel.commit("fails")
    assert step.main(["--tree", str(kernel.path), "--test", TEST, "--learn"]) == 255
    assert "has no .config: make one, or give --build" in capsys.readouterr().err


def test_what_a_build_prints_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "build.txt"
    build.run([["echo", "hello"]], tmp_path, output)
    with pytest.raises(build.BuildError, match="ls nothing-here failed, see"):
        build.run([["ls", "nothing-here"]], tmp_path, output)
    assert output.read_text().startswith("$ echo hello\nhello\n$ ls nothing-here\n")
