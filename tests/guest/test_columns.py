# SPDX-License-Identifier: MIT
"""Environments of ``pytest --guest``: their names, each with its interpreter."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.kernels import Version
from fixtures.plugin import guests
from fixtures.plugin.environment import Environment
from guest import GuestError, run
from guest.machine import Machine, Topology

OPTION = Namespace(
    gpus=1, topology="near", module=[], emulator="", adversary=None, iommu=False, collectonly=False
)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[Machine]:
    """Kernels that are their names, built ones if they have a slash. Returns the prepared machines."""
    ready: list[Machine] = []

    def prepare(wanted: str, _: object) -> object:
        build = wanted if "-deb" in wanted else None
        debian = None if build or "/" in wanted else f"{wanted}.4"
        kernel = SimpleNamespace(
            debian=debian, build=build, release="7.3.4-rc1", version=Version(7, 3, 4), options={}
        )
        return SimpleNamespace(kernel=kernel, software=wanted != "7.0")

    monkeypatch.setattr(run, "prepare", prepare)
    monkeypatch.setattr(run, "prepare_fast_start", lambda _, machine: ready.append(machine))
    return ready


def environment(wanted: str, **changes: object) -> Environment:
    return guests._environment(wanted, Namespace(**{**vars(OPTION), **changes}))


@pytest.mark.parametrize(
    ("wanted", "changes", "name"),
    [
        ("7.3", {}, "guest/7.3.4"),
        ("7.3", {"gpus": 2}, "guest/7.3.4x2"),
        ("7.3", {"gpus": 2, "topology": "far"}, "guest/7.3.4x2-far"),
        ("7.3", {"module": [Path("/tmp/xe.ko")]}, "guest/7.3.4+xe"),
        ("7.3", {"adversary": "hard"}, "guest/7.3.4+adversary"),
        ("7.3", {"adversary": True}, "guest/7.3.4+adversary"),
        ("7.3", {"adversary": "off"}, "guest/7.3.4+adversary-off"),
        ("7.3", {"adversary": "hard", "iommu": True}, "guest/7.3.4+adversary+iommu"),
        ("7.3", {"emulator": "--platform ptl"}, "guest/7.3.4+ptl"),
        ("7.3", {"emulator": "--platform ptl", "adversary": "hard"}, "guest/7.3.4+ptl+adversary"),
        ("7.3.4-deb1-kasan", {}, "guest/7.3.4-deb1-kasan"),
        ("/src/linux", {}, "guest/7.3.4-rc1@linux"),
        ("/src/linux-patched/", {}, "guest/7.3.4-rc1@linux-patched"),
        ("/boot/vmlinuz-7:/lib/modules/7", {}, "guest/7.3.4-rc1@vmlinuz-7"),
    ],
)
def test_every_column_has_a_name_of_its_own(
    prepared: list[Machine], wanted: str, changes: dict[str, object], name: str
) -> None:
    assert environment(wanted, **changes).name == name
    assert len(prepared) == 1


@pytest.mark.usefixtures("prepared")
def test_processors_that_are_emulated_take_patience() -> None:
    assert environment("7.3").timeout_scale == guests.SOFTWARE
    assert environment("7.0").timeout_scale == 1
    assert environment("7.0").measured


def test_a_worker_is_an_interpreter_in_such_a_guest(
    prepared: list[Machine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    made = environment(
        "./a tree//of mine",
        gpus=2,
        topology="far",
        emulator="--vram=1G",
        adversary="hard",
        module=[Path("xe.ko")],
    )
    kind, _, python = made.transport.partition("//python=")
    assert kind == "popen"
    assert "//" not in python  # would end the interpreter part of execnet's specification
    words = shlex.split(python)
    assert words[2:4] == ["guest", "python"]
    assert "--emulator=--vram=1G" in words  # argparse takes what begins with dashes for an option of its own
    words.remove("--emulator=--vram=1G")
    options = dict(zip(words[4::2], words[5::2], strict=True))
    assert options == {
        "--kernel": f"{tmp_path}/a tree/of mine",
        "--gpus": "2",
        "--topology": "far",
        "--module": f"{tmp_path}/xe.ko",
        "--adversary": "hard",
        "--name": "7.3.4-rc1@of minex2-far+xe+adversary",
    }
    assert made.replay[:2] == ("--guest", f"{tmp_path}/a tree/of mine")
    assert prepared == [Machine(2, Topology.FAR)]


@pytest.mark.parametrize("iommu", [False, True])
def test_the_machine_of_a_column_has_its_iommu(prepared: list[Machine], iommu: bool) -> None:
    made = environment("7.3", iommu=iommu)
    assert [machine.iommu for machine in prepared] == [iommu]
    assert ("--iommu" in made.replay) == ("--iommu" in shlex.split(made.transport)) == iommu


def test_nothing_is_booted_to_collect(prepared: list[Machine]) -> None:
    environment("7.3", collectonly=True)
    assert not prepared


def test_a_kernel_that_cannot_be_had_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise GuestError("there is no such kernel")

    monkeypatch.setattr(run, "prepare", refused)
    with pytest.raises(pytest.UsageError, match=r"^--guest 9\.9: there is no such kernel$"):
        environment("9.9")
