# SPDX-License-Identifier: MIT
"""Kernels that are built here, in small trees and with a pretended make (fake_make.py)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.answers import status_of
from fixtures.checks import wait_until
from guest import GuestError, builds, cache, debian, kconfig, kernel_cli, kernels, sources
from guest.builds import NOTES
from guest.debian import Archive, Package
from guest.kbuild import Make
from tests.git_tree import GitTree

ROOT = Path(__file__).resolve().parents[2]
MAKE = Path(__file__).with_name("fake_make.py")
MAKEFILE = "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n"
KCONFIG = """
menu "Graphics"
    depends on HAS_IOMEM
source "drivers/gpu/drm/Kconfig"
endmenu
config PROVE_LOCKING
    bool "Lock debugging"
    depends on LOCK_DEBUGGING_SUPPORT
"""
XE = """
config DRM_XE
    tristate "xe"
    depends on DRM && PCI
    depends on X86_PLATFORM_DEVICES || !(X86 && ACPI)
    help
      depends on nothing
"""


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with all programs that a build needs; make is fake_make.py."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in builds.TOOLS:
        (programs / name).write_text("#!/bin/sh\nexit 0\n")
    (programs / "make").write_text(f'#!/bin/sh\nexec {sys.executable} {MAKE} "$@"\n')
    for name in ("tar", "xz"):
        (programs / name).unlink()
    for file in programs.iterdir():
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield programs
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Tree(GitTree):
    """A git tree that looks like a kernel's."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for name, text in (
            ("Makefile", MAKEFILE),
            ("Kconfig", KCONFIG),
            ("drivers/gpu/drm/Kconfig", XE),
            ("drivers/gpu/drm/xe/xe_vm.c", "int vm;\n"),
            ("drivers/gpu/drm/drm_gpusvm.c", "int svm;\n"),
            ("lost", "NOTHING"),
        ):
            self.write(name, text)
        self.first = self.commit("first")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "linux")


def kernel(*arguments: object) -> int:
    """The exit status of ``svmcts kernel``."""
    return status_of("svmcts kernel", lambda: kernel_cli.main([str(argument) for argument in arguments]))


def calls(out: str) -> list[str]:
    """Targets of make."""
    return (Path(out) / "calls").read_text().splitlines()


def built(tree: Tree, *options: object) -> builds.Build:
    """The kernel that was built from a tree."""
    assert kernel("build", tree.path, *options) == 0
    return builds.every()[0]


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of stderr, which says why no kernel was built."""
    assert builds.every() == []
    return capsys.readouterr().err.splitlines()[-1]


# Builds


def test_built_kernel_is_one_for_guests(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert kernel("build", tree.path) == 0
    name = f"7.3.4-g{tree.first[:12]}"
    assert capsys.readouterr().out == f"{name}\n"
    found = kernels.provide(name)
    assert (found.release, found.build, found.debian) == (name, name, None)
    assert [module.name for module in found.driver] == ["drm", "xe"]
    assert kernels.provide(str(builds.directory(name))).release == name


def test_kernel_is_built_once(tree: Tree) -> None:
    first = built(tree)
    assert built(tree) == first
    assert sum("bzImage" in call for call in calls(first.out)) == 1


def test_kernel_that_is_there_takes_no_tools(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    first = built(tree)
    tree.write("drivers/gpu/drm/xe/xe_vm.c", "int other;\n")
    tree.commit("second")
    second = built(tree)
    source = Path(first.out).parent / "source"
    monkeypatch.setattr(builds, "TOOLS", {"no-such-tool": "none"})
    tree.git("checkout", "-q", first.name.rpartition("g")[2])
    assert kernel("build", tree.path) == 0
    assert (source / "drivers/gpu/drm/xe/xe_vm.c").read_text() == "int other;\n"
    assert second.digest == first.digest


def test_other_checkout_of_a_commit_is_the_same_kernel(tree: Tree, tmp_path: Path) -> None:
    first = built(tree)
    subprocess.run(["git", "clone", "-q", tree.path, tmp_path / "clone"], check=True)
    assert kernel("build", tmp_path / "clone") == 0
    assert builds.every() == [first]


def test_other_options_of_the_project_build_again(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    first = built(tree)
    monkeypatch.setattr(kconfig, "COVERED", ("other.c",))
    assert built(tree) == first
    base = kconfig.read("base")
    monkeypatch.setattr(kconfig, "read", lambda name: base | {"SOUND": "n"})
    assert built(tree).digest != first.digest
    assert sum("bzImage" in call for call in calls(first.out)) == 2


def test_profiles_are_part_of_the_name_in_one_order(tree: Tree) -> None:
    one = built(tree, "--profile", "faults+lockdep", "--profile", "kasan")
    assert one.name == f"7.3.4-g{tree.first[:12]}-lockdep+kasan+faults"
    assert built(tree, "--profile", "kasan+lockdep+faults") == one
    options = kconfig.parse((one.directory / ".config").read_text())
    assert {"PROVE_LOCKING", "KASAN", "FAIL_FUNCTION", "DRM_XE"} <= options.keys()


def test_release_of_many_profiles_is_short_enough(tree: Tree) -> None:
    made = built(tree, "--profile", "+".join(kconfig.PROFILES))
    assert len(made.name) > builds.LONGEST_RELEASE >= len(made.release)


def test_each_commit_is_a_kernel_of_its_own(tree: Tree) -> None:
    first = built(tree)
    tree.write("drivers/gpu/drm/xe/xe_vm.c", "int other;\n")
    second = tree.commit("second")
    assert built(tree).name == f"7.3.4-g{second[:12]}"
    assert {build.name for build in builds.every()} == {first.name, f"7.3.4-g{second[:12]}"}


def test_commit_is_built_in_place_of_the_work_tree(tree: Tree) -> None:
    tree.write("drivers/gpu/drm/xe/xe_vm.c", "broken\n")
    tree.commit("second")
    assert built(tree, "--commit", "HEAD~1").name == f"7.3.4-g{tree.first[:12]}"


@pytest.mark.parametrize("name", ["drivers/gpu/drm/xe/xe_vm.c", "drivers/gpu/drm/xe/xe_new.c"])
def test_changed_work_tree_is_built_and_left_alone(tree: Tree, name: str) -> None:
    tree.write(name, "int changed;\n")
    before = tree.git("status", "--porcelain"), sorted(tree.path.rglob("*"))
    made = built(tree)
    assert made.name.startswith(f"7.3.4-g{tree.first[:12]}-d")
    assert (tree.git("status", "--porcelain"), sorted(tree.path.rglob("*"))) == before
    source = Path(made.out).parent / "source"
    assert (source / name).read_text() == "int changed;\n"
    tree.write(name, "int changed_again;\n")
    assert built(tree).name != made.name


def test_only_what_differs_is_written(tree: Tree) -> None:
    made = built(tree)
    source = Path(made.out).parent / "source"
    before = (source / "Makefile").stat().st_mtime_ns
    tree.write("drivers/gpu/drm/xe/xe_new.c", "int new;\n")
    (tree.path / "lost").write_text("NOTHING AT_ALL")
    tree.commit("second")
    (source / "drivers/gpu/drm/left-over.c").touch()
    (source / "drivers/gpu/drm/drm_gpusvm.c").write_text("half")
    (source / "drivers/gpu/drm/Kconfig").unlink()
    built(tree)
    assert (source / "Makefile").stat().st_mtime_ns == before
    assert (source / "drivers/gpu/drm/xe/xe_new.c").exists()
    assert not (source / "drivers/gpu/drm/left-over.c").exists()
    assert (source / "drivers/gpu/drm/drm_gpusvm.c").read_text() == "int svm;\n"
    assert (source / "drivers/gpu/drm/Kconfig").read_text() == XE


def test_coverage_is_of_the_covered_files(tree: Tree) -> None:
    tree.write("drivers/gpu/drm/drm_other.c", "int other;\n")
    tree.commit("second")
    made = built(tree, "--profile", "gcov")
    kept = [file for file in (made.directory / NOTES).rglob("*") if file.is_file()]
    assert sorted(str(file.relative_to(made.directory / NOTES)) for file in kept) == [
        *("drivers/gpu/drm/drm_gpusvm.c", "drivers/gpu/drm/drm_gpusvm.gcno"),
        *("drivers/gpu/drm/xe/xe_vm.c", "drivers/gpu/drm/xe/xe_vm.gcno"),
    ]


def test_ccache_is_used_where_it_is(tree: Tree, tools: Path) -> None:
    shutil.copy(tools / "gcc", tools / "ccache")
    assert any("CC=ccache gcc" in call for call in calls(built(tree).out))


def test_list_has_every_kernel(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert kernel("list") == 0
    assert "none yet" in capsys.readouterr().err
    names = [built(tree).name, built(tree, "--profile", "kasan").name]
    capsys.readouterr()
    assert kernel("list") == 0
    out = capsys.readouterr().out
    assert sorted(line.split()[0] for line in out.splitlines()) == sorted(names)
    assert f"{tree.path} at {tree.first[:12]}" in out


# Errors


def test_first_error_of_the_compiler_is_the_line(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    tree.write("drivers/gpu/drm/xe/xe_vm.c", "broken\n")
    commit = tree.commit("second")
    assert kernel("build", tree.path) == 2
    line = refused(capsys)
    assert line.startswith(
        f"svmcts kernel: {tree.path} at {commit[:12]}: does not build: "
        "drivers/gpu/drm/xe/xe_vm.c:3:1: error: expected ';' before '}' token (full output in "
    )


@pytest.mark.parametrize(
    ("option", "profiles", "line"),
    [
        (
            "DRM_XE",
            (),
            "the configuration loses CONFIG_DRM_XE=m (the driver under test): it depends on HAS_IOMEM (HAS_IOMEM=n), "
            "and on DRM && PCI (DRM=y, PCI=y)",
        ),
        (
            "PROVE_LOCKING",
            ("--profile", "lockdep"),
            "the configuration loses CONFIG_PROVE_LOCKING=y (profile lockdep): it depends on LOCK_DEBUGGING_SUPPORT "
            "(LOCK_DEBUGGING_SUPPORT=n)",
        ),
        (
            "VIRTIO_PCI",
            (),
            "CONFIG_VIRTIO_PCI=y (channels and files of the host): this kernel has no such option",
        ),
    ],
)
def test_option_that_is_lost_is_named_with_its_conditions(
    tree: Tree, capsys: pytest.CaptureFixture[str], option: str, profiles: tuple[str, ...], line: str
) -> None:
    tree.write("lost", option)
    tree.commit("second")
    assert kernel("build", tree.path, *profiles) == 2
    said = refused(capsys)
    assert line.partition(", and on")[0] in said
    assert not any(
        "bzImage" in call for out in cache.cache_root().glob("builds/*/*/calls") for call in [out.read_text()]
    )


def test_option_that_guests_can_do_without_is_said(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    tree.write("lost", "KSM")
    tree.commit("second")
    assert kernel("build", tree.path) == 0
    assert "svmcts: this kernel has no KSM, which guests do not need\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "package"),
    [("bison", "bison"), ("flex", "flex"), ("bc", "bc"), ("gcc", "gcc"), ("xz", "xz-utils")],
)
def test_missing_program_is_named_with_its_package(
    tree: Tree,
    tools: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    program: str,
    package: str,
) -> None:
    which = shutil.which
    monkeypatch.setattr(builds.shutil, "which", lambda name: None if name == program else which(name))
    assert kernel("build", tree.path) == 2
    line = f"svmcts kernel: kernels cannot be built without {program}: apt-get install {package}"
    assert refused(capsys) == line


def test_missing_headers_are_named_with_their_packages(
    tree: Tree, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tools / "gcc").write_text("#!/bin/sh\nexit 1\n")
    assert kernel("build", tree.path) == 2
    line = "kernels cannot be built without gelf.h, openssl/opensslv.h: apt-get install libelf-dev libssl-dev"
    assert refused(capsys) == f"svmcts kernel: {line}"


def test_full_disk_is_said_first(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    assert kernel("build", tree.path) == 2
    assert "no room for a build: it takes 3000 MB" in refused(capsys)


@pytest.mark.parametrize(
    ("makefile", "why"),
    [
        ("all:\n", "is not the source of a kernel: its Makefile has no version"),
        (None, "is not the source of a kernel: it has no Makefile"),
        ("VERSION = 6\nPATCHLEVEL = 6\nSUBLEVEL = 1\n", "is Linux 6.6.1: 6.17 is the first whose xe knows"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_source_of_no_kernel_for_guests_is_refused(
    tree: Tree,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    makefile: str | None,
    why: str,
    packed: bool,
) -> None:
    (tree.path / "Makefile").unlink()
    if makefile is not None:
        tree.write("Makefile", makefile)
    tree.commit("second")
    assert kernel("build", tarball(tree, tmp_path) if packed else tree.path) == 2
    assert why in refused(capsys)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "a tree or --debian VERSION is needed, and only one of them"),
        (("/nowhere",), "/nowhere: no such file or directory"),
        (("/tmp", "--debian", "7.3"), "only one of them"),
        (("--debian", "7.3", "--commit", "HEAD"), "--commit belongs to a git tree"),
    ],
)
def test_wrong_question_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], why: str
) -> None:
    assert kernel("build", *arguments) == 2
    assert why in refused(capsys)


def test_folder_that_is_no_git_tree_is_refused(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    assert kernel("build", plain) == 2
    assert refused(capsys).startswith(f"svmcts kernel: {plain} is not a git tree: give one, or a tarball")
    assert kernel("build", tree.path / "drivers") == 2
    assert "is not the top of a git tree" in refused(capsys)
    assert kernel("build", tree.path, "--commit", "nothing") == 2
    assert refused(capsys) == f"svmcts kernel: {tree.path} has no commit nothing"


def test_unknown_profile_is_refused(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert kernel("build", tree.path, "--profile", "lockdep+nothing") == 2
    assert "no profile 'nothing': there are lockdep, kasan, " in capsys.readouterr().err


# Tarballs, Debian


def tarball(tree: Tree, folder: Path) -> Path:
    file = folder / "linux-7.3.4.tar"
    with tarfile.open(file, "w") as packed:
        for path in sorted(tree.path.rglob("*")):
            if path.is_file() and ".git" not in path.parts:
                packed.add(path, f"linux-7.3.4/{path.relative_to(tree.path)}")
    return file


def test_tarball_is_built(tree: Tree, tmp_path: Path) -> None:
    file = tarball(tree, tmp_path)
    assert kernel("build", file) == 0
    (made,) = builds.every()
    assert made.name.startswith("7.3.4-t")
    assert made.source == str(file)


def test_damaged_tarball_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "linux.tar"
    file.write_bytes(b"no tarball")
    assert kernel("build", file) == 2
    assert f"{file} does not unpack: tar: " in refused(capsys)
    assert not list(cache.cache_root().glob("builds/*/source*"))


def package(version: str) -> Package:
    series = ".".join(version.split(".")[:2])
    return Package(f"linux-source-{series}", version, f"pool/linux-source-{series}_{version}_all.deb", 1, "")


@pytest.mark.parametrize(
    ("wanted", "version", "label"),
    [
        ("7.3", "7.3.12-2~bpo13+1", "deb2"),
        ("7.3.4", "7.3.4-10~bpo13+1", "deb10"),
        ("7.2", "7.2.9-1", "deb1"),
    ],
)
def test_source_of_debian_is_the_newest(
    monkeypatch: pytest.MonkeyPatch, wanted: str, version: str, label: str
) -> None:
    known = ["7.3.4-2~bpo13+1", "7.3.4-10~bpo13+1", "7.3.12-2~bpo13+1", "7.3.9-1", "7.2.9-1", "6.12.1-1"]
    monkeypatch.setattr(Archive, "refresh", lambda self: None)
    monkeypatch.setattr(Archive, "packages", lambda self, pattern: [package(one) for one in known])
    found = sources.DebianSource.find(wanted)
    assert (found.package.version, found.label) == (version, label)
    with pytest.raises(
        GuestError, match=r"Debian has no source of 7\.30; it has 6\.12\.1, 7\.2\.9, 7\.3\.4, "
    ):
        sources.DebianSource.find("7.30")
    with pytest.raises(GuestError, match=r"is Linux 6\.12\.1: 6\.17 is the first"):
        sources.DebianSource.find("6.12")


def test_source_of_debian_is_fetched_once(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deb = tmp_path / "linux-source-7.3.deb"

    def fetch(self: Archive, packages: list[Package]) -> list[Path]:
        deb.touch(exist_ok=False)
        return [deb]

    def unpack(files: list[Path], directory: Path) -> None:
        (directory / "usr/src").mkdir(parents=True)
        shutil.copy(tarball(tree, tmp_path), directory / "usr/src/linux-source-7.3.tar.xz")

    monkeypatch.setattr(Archive, "refresh", lambda self: None)
    monkeypatch.setattr(Archive, "packages", lambda self, pattern: [package("7.3.4-1~bpo13+1")])
    monkeypatch.setattr(Archive, "fetch", fetch)
    monkeypatch.setattr(debian, "unpack", unpack)
    assert kernel("source", "7.3") == 0
    place = Path(capsys.readouterr().out.strip())
    assert (place / "Makefile").read_text() == MAKEFILE
    assert place.is_relative_to(cache.cache_root())
    assert builds.every() == []
    assert not deb.exists()
    monkeypatch.setattr(Archive, "fetch", lambda *_: pytest.fail("fetched again"))
    assert kernel("build", "--debian", "7.3") == 0
    assert [build.name for build in builds.every()] == ["7.3.4-deb1"]
    assert kernel("build", "--debian", "7.3", "--profile", "kasan") == 0


# Interrupted


def building(tree: Tree, *, stderr: int) -> subprocess.Popen[str]:
    """The command that builds a tree, in a separate process."""
    code = "import sys; from guest import kernel_cli; sys.exit(kernel_cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "build", str(tree.path)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)


def begin(tree: Tree) -> tuple[subprocess.Popen[str], Path]:
    """A running build, and the file that shows it."""
    tree.write("drivers/gpu/drm/xe/xe_vm.c", "slow\n")
    tree.commit("slow")
    process = building(tree, stderr=subprocess.STDOUT)

    def begun() -> list[Path]:
        assert process.poll() is None
        return list(cache.cache_root().glob("builds/*/plain/slow"))

    return process, wait_until(begun, 60, "make to begin")[0]


def at_work(out: Path) -> list[str]:
    """Processes of make."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"O={out}".encode() in line:
            found.append(process.name)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_build_leaves_nothing_and_goes_on(tree: Tree, number: signal.Signals) -> None:
    process, begun = begin(tree)
    process.send_signal(number)
    said = process.communicate()[0]
    assert ("the same command continues from here" in said) is (number != signal.SIGKILL), said
    wait_until(lambda: not at_work(begun.parent), 20, "make to end")
    assert builds.every() == []
    assert list(cache.cache_root().glob(f"{kernels.BUILT}/*")) == []
    assert built(tree).out == str(begun.parent)


def test_kernel_that_is_half_kept_is_none(tree: Tree) -> None:
    made = built(tree)
    half = made.directory.with_name(f"{made.name}.partial")
    made.directory.rename(half)
    assert builds.every() == []
    with pytest.raises(GuestError, match="is not a version"):
        kernels.provide(made.name)
    assert built(tree) == builds.every()[0]
    assert not half.exists()


def test_builds_of_one_source_wait_for_each_other(tree: Tree) -> None:
    process, _ = begin(tree)
    other = building(tree, stderr=subprocess.PIPE)
    assert other.stderr is not None
    assert "waiting for a running build in" in other.stderr.readline()
    process.terminate()
    process.communicate()
    other.communicate()
    assert other.returncode == 0


# The options


def test_options_have_one_place() -> None:
    base, required = kconfig.read("base"), kconfig.wanted()
    assert not base.keys() & required.keys()
    seen = dict.fromkeys((*base, *required), "base or required")
    for name in kconfig.PROFILES:
        for option in kconfig.read(name):
            assert option not in seen, f"{option} is in {name} and in {seen[option]}"
            seen[option] = name


@pytest.mark.skipif(
    "KERNEL_SOURCE" not in os.environ, reason="KERNEL_SOURCE=/path/to/linux has Kconfig to ask"
)
def test_kernel_knows_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"].partition(":")[2])
    if lacking := [tool for tool in ("gcc", "make", "bison", "flex") if not shutil.which(tool)]:
        pytest.skip(f"Kconfig cannot be built: no {lacking[0]}")
    source = Path(os.environ["KERNEL_SOURCE"])
    found = sources.Tarball("x", "x", str(source), source)
    making = builds._Making(found, [*kconfig.PROFILES], 1)
    making.out.mkdir(parents=True)
    making._configure(Make(source, making.out, {}, []))
