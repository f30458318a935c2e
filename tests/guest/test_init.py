# SPDX-License-Identifier: MIT
"""The parts of the guest's first process that run on any machine."""

from __future__ import annotations

import ast
import os
import signal
import struct
import sys
from pathlib import Path

import pytest

from guest import init


class Status:
    """Collects what would be reported."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def report(self, event: str, **_: object) -> None:
        self.events.append(event)


@pytest.fixture
def children():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    yield init.Children(Status())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def spawn(*command: str) -> int:
    return os.posix_spawnp(command[0], command, os.environ)


def test_init_needs_the_standard_library_only() -> None:
    tree = ast.parse(Path(init.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_status_is_that_of_a_shell(children, script: str, code: int) -> None:
    assert children.wait_for(spawn("sh", "-c", script)) == code


def test_a_child_that_ended_while_another_was_waited_for_is_not_lost(children) -> None:
    quick, slow = spawn("sh", "-c", "exit 3"), spawn("sh", "-c", "sleep 0.3; exit 4")
    assert children.wait_for(slow) == 4
    assert children.wait_for(quick) == 3


def test_the_host_hears_from_init_while_it_waits(children, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "HEARTBEAT_S", 0.05)
    children.wait_for(spawn("sleep", "0.3"))
    assert "alive" in children.status.events


def test_an_empty_disk_is_made_one_to_swap_to() -> None:
    """As mkswap(8) makes it."""
    header = init.swap_header(1 << 20)
    page = os.sysconf("SC_PAGE_SIZE")
    assert len(header) == page
    assert header[-10:] == b"SWAPSPACE2"
    assert struct.unpack_from("=III", header, 1024) == (1, (1 << 20) // page - 1, 0)


def test_a_machine_without_the_disk_has_no_swap(tmp_path: Path) -> None:
    init.enable_swap(str(tmp_path / "vda"))


def test_waiting_ends_at_its_deadline() -> None:
    with pytest.raises(TimeoutError, match="2 render nodes: not within 0 s"):
        init.wait_until(lambda: None, "2 render nodes", 0.02)


def test_waiting_ends_with_what_it_waited_for() -> None:
    answers = iter([None, None, ["renderD128"]])
    assert init.wait_until(lambda: next(answers), "nodes") == ["renderD128"]
