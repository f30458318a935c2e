# SPDX-License-Identifier: MIT
"""``svmcts guest``, without the start of a guest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guest import GuestError, cli, kernels, run
from guest.debian import Package
from guest.machine import GIB, Topology
from guest.options import machine


def test_options_describe_a_machine() -> None:
    line = [
        "--gpus",
        "2",
        "--topology",
        "far",
        "--memory",
        "2",
        "--append",
        "a=1",
        "--append",
        "b",
        "--emulator",
    ]
    parsed = cli.run_parser().parse_args([*line, "--vram 1G", "--", "true"])
    made = machine(parsed)
    assert (made.gpus, made.topology, made.memory) == (2, Topology.FAR, 2 * GIB)
    assert (made.options, made.emulator) == (("a=1", "b"), ("--vram", "1G"))
    assert parsed.command == ["true"]


@pytest.mark.parametrize("gpus", ["1", "2"])
def test_an_iommu_is_for_one_gpu(gpus: str) -> None:
    parsed = cli.run_parser().parse_args(["--gpus", gpus, "--iommu", "--", "true"])
    if gpus == "1":
        assert machine(parsed).iommu
        return
    with pytest.raises(GuestError, match="--iommu is for one GPU"):
        machine(parsed)


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*_: object) -> None:
        raise GuestError("there is no such kernel")

    monkeypatch.setattr(run, "prepare", refused)
    assert cli.main(["--", "true"]) == 2
    assert capsys.readouterr() == ("", "svmcts: there is no such kernel\n")


def test_misspelt_word_boots_no_guest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kernls"]) == 2
    assert capsys.readouterr() == ("", "svmcts: no command 'kernls' (did you mean kernels?)\n")


def test_kernels_are_listed_newest_first(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = [Package("a", "1", "a.deb", 100_000_000, ""), Package("b", "1", "b.deb", 20_000_000, "")]
    monkeypatch.setattr(
        kernels, "obtainable", lambda: {"7.3.4": packages, "6.18.15": packages, "7.10.1": packages}
    )
    (own_cache / "kernels/7.3.4").mkdir(parents=True)
    (own_cache / "kernels/7.0.1").mkdir()
    (own_cache / "kernels/7.2.1.partial").mkdir()
    assert cli.main(["kernels"]) == 0
    out, err = capsys.readouterr()
    assert [line.split(maxsplit=1) for line in out.splitlines()] == [
        ["7.10.1", "120 MB to fetch"],
        ["7.3.4", "cached"],
        ["7.0.1", "cached"],
        ["6.18.15", "120 MB to fetch"],
    ]
    assert err == f"cache: {own_cache}\n"
    assert cli.main(["kernels", "--json"]) == 0
    said, err = capsys.readouterr()
    assert not err
    answer = json.loads(said)
    assert (answer["command"], answer["status"], answer["cache"]) == ("guest kernels", 0, str(own_cache))
    assert [
        [k["version"], "cached" if k["cached"] else f"{k['bytes'] / 1e6:.0f} MB to fetch"]
        for k in answer["kernels"]
    ] == [line.split(maxsplit=1) for line in out.splitlines()]
    assert [k["bytes"] for k in answer["kernels"]][1:3] == [120_000_000, None]
