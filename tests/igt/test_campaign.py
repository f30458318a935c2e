# SPDX-License-Identifier: MIT
"""Guests until everything has a result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from guest import GuestError
from guest.igt import results
from guest.igt.campaign import Campaign
from guest.igt.results import Result, Subtest, start_line
from guest.igt.selection import Setting

PLAN = {"xe_vm": ["a", "b", "c"], "xe_exec_basic": ["d"]}


class Guests:
    """Stands in for guests: each runs its plan, and is lost at a subtest in ``fatal``."""

    def __init__(self, fatal: Sequence[str] = ()) -> None:
        self.fatal = fatal
        self.settings: list[Setting] = []

    def __call__(self, setting: Setting, arguments: Sequence[str]) -> str | None:
        self.settings.append(setting)
        plan = json.loads(Path(arguments[-1]).read_text())
        with Path(plan["stream"]).open("a") as stream:
            for program, names in plan["programs"].items():
                for name in names:
                    stream.write(start_line(program, name))
                    if name in self.fatal:
                        return "the guest's kernel panicked"
                    stream.write(Result(program, name, "pass").line())
        return None


def campaign(directory: Path) -> Campaign:
    return Campaign(Path("/tree"), directory, 10.0, PLAN)


def outcomes(directory: Path) -> dict[str, str]:
    found = results.read(directory / results.STREAM)
    return {key.name: result.outcome for key, result in found.items()}


def test_programs_with_different_machines_get_guests_of_their_own(tmp_path: Path) -> None:
    guests = Guests()
    campaign(tmp_path).run(guests)
    assert outcomes(tmp_path) == dict.fromkeys("abcd", "pass")
    assert len(guests.settings) == len(set(guests.settings)) == 2


def test_a_lost_guest_costs_the_subtest_that_ran(tmp_path: Path) -> None:
    campaign(tmp_path).run(Guests(fatal=["b"]))
    assert outcomes(tmp_path) == {"a": "pass", "b": "lost", "c": "pass", "d": "pass"}
    assert "panicked" in results.read(tmp_path / results.STREAM)[Subtest("xe_vm", "b")].message


def test_what_has_a_result_is_not_run_again(tmp_path: Path) -> None:
    campaign(tmp_path).run(Guests())
    guests = Guests()
    campaign(tmp_path).run(guests)
    assert not guests.settings


def test_what_is_forgotten_is_run_again(tmp_path: Path) -> None:
    campaign(tmp_path).run(Guests(fatal=["b"]))
    campaign(tmp_path).forget([Subtest("xe_vm", "b")])
    assert campaign(tmp_path).remaining() == {"xe_vm": ["b"]}
    campaign(tmp_path).run(Guests())
    assert outcomes(tmp_path)["b"] == "pass"


def test_guests_in_which_nothing_runs_end_the_campaign(tmp_path: Path) -> None:
    booted = []

    def boot(setting: Setting, _: Sequence[str]) -> str:
        booted.append(setting)
        return "it did not boot"

    with pytest.raises(GuestError, match="it did not boot"):
        campaign(tmp_path).run(boot)
    assert len(booted) == 3
