# SPDX-License-Identifier: MIT
"""Keys of results, recorded results, and the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.answers import NoAnswerError
from guest import builds
from guest.builds import Build
from guest.machine import Machine, Topology
from reports import seeded
from reports.seeded import Row
from sensitivity import cli
from sensitivity.campaign import Result
from sensitivity.catalogue import Fault
from sensitivity.cli import Stores
from sensitivity.source import Edit

FAULT = Fault("a", "t", (Edit("x.c", "f", "a", "b"),), ("a.b",), "tests")
EXCEPTED = Fault("b", "t", (Edit("x.c", "f", "a", "b"),), ("a.b",), "tests", excepted="equivalent")
LATE = Fault("c", "t", (Edit("x.c", "f", "a", "b"),), ("a.b",), "late")


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stores:
    monkeypatch.setattr(cli, "RESULTS", tmp_path)
    monkeypatch.setattr(cli, "_suite", lambda: "s")
    return Stores("k", Machine())


@pytest.mark.parametrize(
    ("file", "same"),
    [
        ("suites/a/test_a.py", False),
        ("guest/run.py", False),
        ("sensitivity/campaign.py", False),
        ("sensitivity/README.md", True),
        ("reports/marks.py", True),
    ],
)
def test_results_are_of_the_code_that_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, same: bool
) -> None:
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text("a")
    before = cli._suite()
    path.write_text("b")
    assert (cli._suite() == before) is same


@pytest.mark.parametrize(
    ("faults", "results", "status"),
    [
        ([FAULT], [Result("a", "found")], 0),
        ([FAULT], [Result("a", "missed")], 1),
        ([FAULT], [Result("a", "no-answer")], 2),
        ([FAULT], [Result("a", "found", by="without a control")], 2),
        ([FAULT], [], 2),
        ([FAULT, EXCEPTED], [Result("a", "found"), Result("b", "missed")], 0),
    ],
    ids=["found", "missed", "no-answer", "no-control", "not-run", "excepted"],
)
def test_status(stores: Stores, faults: list[Fault], results: list[Result], status: int) -> None:
    for result in results:
        stores.of(FAULT).add(result)
    assert cli._status(faults, stores) == status


def test_late_device_has_results_of_its_own(stores: Stores, tmp_path: Path) -> None:
    stores.of(FAULT).add(Result("a", "found"))
    stores.of(LATE).add(Result("c", "missed"))
    assert (stores.verdict(FAULT), stores.verdict(LATE)) == ("found", "missed")
    assert {path.name for path in tmp_path.iterdir()} == {"s+k.jsonl", "s+k+adversary-hard.jsonl"}
    assert (stores.machine(FAULT), stores.machine(LATE)) == ("1 GPU", "1 GPU, hard adversary")


def test_results_with_an_iommu_are_kept_apart(stores: Stores, tmp_path: Path) -> None:
    chosen = Stores("k", Machine(iommu=True))
    chosen.of(FAULT).add(Result("a", "found"))
    assert [path.name for path in tmp_path.iterdir()] == ["s+k+iommu.jsonl"]
    assert chosen.machine(FAULT) == "1 GPU, an IOMMU"
    assert stores.verdict(FAULT) is None


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [([], ["a"]), (["--iommu"], ["a", "d"]), (["--only", "d"], ["d"])],
    ids=["plain", "iommu", "named"],
)
def test_faults_that_need_an_iommu_are_left_out_without_one(arguments: list[str], chosen: list[str]) -> None:
    behind = Fault("d", "t", FAULT.edits, ("a.b",), "iommu")
    options = cli.parser().parse_args(arguments)
    assert [fault.id for fault in cli._chosen([FAULT, behind], options)] == chosen


@pytest.mark.parametrize(
    ("machine", "mode", "name", "shown"),
    [
        (Machine(), "mild", "s+k+adversary-mild.jsonl", "1 GPU, mild adversary"),
        (Machine(2), None, "s+k+gpus-2.jsonl", "2 GPUs"),
        (Machine(2, Topology.FAR), None, "s+k+gpus-2+far.jsonl", "2 far GPUs"),
        (
            Machine(emulator=["--vram", "1G", "--media"]),
            None,
            "s+k+vram-1G-media.jsonl",
            "1 GPU, --vram 1G --media",
        ),
    ],
    ids=["mild", "two", "far", "media"],
)
def test_results_are_of_one_machine(
    stores: Stores, tmp_path: Path, machine: Machine, mode: str | None, name: str, shown: str
) -> None:
    chosen = Stores("k", machine, mode)
    chosen.of(FAULT).add(Result("a", "found"))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert chosen.machine(FAULT) == shown
    assert stores.verdict(FAULT) is None


@pytest.mark.parametrize(
    ("takes", "kernel", "machine", "here"),
    [
        (None, "7.3.4-deb1", Machine(), True),
        ("media", "7.3.4-deb1", Machine(), False),
        ("media", "7.3.4-deb1", Machine(emulator=["--media", "--vram", "1G"]), True),
        ("occupied", "7.3.4-deb1", Machine(), False),
        ("occupied", "7.3.4-deb1", Machine(emulator=["--occupied"]), True),
        ("two-gpus", "7.3.4-deb1", Machine(), False),
        ("two-gpus", "7.3.4-deb1", Machine(2), True),
        ("far-gpus", "7.3.4-deb1", Machine(2), False),
        ("far-gpus", "7.3.4-deb1", Machine(2, Topology.FAR), True),
        ("lockdep", "7.3.4-deb1-faults", Machine(), False),
        ("lockdep", "7.3.4-deb1-lockdep+faults+debug-vm", Machine(), True),
        ("faults", "7.3.4-deb1", Machine(), False),
        ("faults", "7.3.4-deb1-lockdep+faults+debug-vm", Machine(), True),
    ],
)
def test_fault_matters_on_the_machine_that_it_takes(
    takes: str | None, kernel: str, machine: Machine, here: bool
) -> None:
    fault = Fault("a", "t", (Edit("x.c", "f", "a", "b"),), ("a.b",), "tests", takes=takes)
    assert Stores(kernel, machine).matters(fault) is here


def test_record_keeps_what_was_found_and_missed(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeded, "RECORDED", tmp_path / "results.tsv")
    monkeypatch.setattr(cli.version, "commit", lambda _: ("abc", "abcdef"))
    stores.of(FAULT).add(Result("a", "missed", after=60))
    stores.of(FAULT).add(Result("b", "no-answer"))
    stores.of(LATE).add(Result("c", "found", by="t", after=2))
    stores.of(LATE).add_control("t", "passed")
    cli._record([FAULT, EXCEPTED, LATE], stores)
    assert seeded.read() == [
        Row("a", "1 GPU", "missed", "", 60, "k", "abc"),
        Row("c", "1 GPU, hard adversary", "found", "t", 2, "k", "abc"),
    ]


def test_fault_with_a_reason_counts_only_if_it_is_found(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeded, "RECORDED", tmp_path / "results.tsv")
    monkeypatch.setattr(cli.version, "commit", lambda _: ("abc", "abcdef"))
    stores.of(FAULT).add(Result("a", "missed", after=60))
    stores.of(EXCEPTED).add(Result("b", "missed", after=60))
    *lines, last = cli._summary([FAULT, EXCEPTED], stores)
    assert last == "sensitivity: 0 of 1"
    assert "  b: equivalent" in lines
    cli._record([FAULT, EXCEPTED], stores)
    assert [row.fault for row in seeded.read()] == ["a"]


def built(monkeypatch: pytest.MonkeyPatch, out: Path, *names: str) -> None:
    """Kernels that were built, newest first; the folder of all has the last one's output."""
    kernels = [Build(name, "tree", (), "", name, "", 1, "gcc", str(out)) for name in names]
    monkeypatch.setattr(builds, "every", lambda: kernels)
    monkeypatch.setattr(builds, "find", {one.name: one for one in kernels}.get)
    (out / "include/config").mkdir(parents=True)
    (out / "include/config/kernel.release").write_text(f"{names[-1]}\n")


def test_faults_are_put_into_the_newest_kernel_without_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built(monkeypatch, tmp_path, "7.3.4-g7a2be35a71ba-dc1e400cb", "7.3.4-g7a2be35a71ba")
    assert cli.kernel_of(None).name == "7.3.4-g7a2be35a71ba"


def test_kernel_whose_output_is_of_another_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built(monkeypatch, tmp_path, "7.3.4-g7a2be35a71ba", "7.3.4-g7a2be35a71ba-dc1e400cb")
    with pytest.raises(NoAnswerError, match=r"another kernel since: remove .*, and build 7"):
        cli.kernel_of(None)
