# SPDX-License-Identifier: MIT
"""QEMU's monitor, with answers from a list."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from guest import GuestError, qmp
from guest.qmp import Monitor

NOTHING = {"return": {}}


@contextmanager
def answering(*answers: object) -> Iterator[tuple[Monitor, list[dict[str, object]]]]:
    """A monitor that has agreed on capabilities and continues with ``answers``, and what it was asked."""
    ours, theirs = socket.socketpair()
    asked: list[dict[str, object]] = []

    def serve() -> None:
        with theirs, theirs.makefile("rwb") as stream:
            stream.write(b'{"QMP": {}}\n')
            stream.flush()
            for answer in (NOTHING, *answers):
                asked.append(json.loads(stream.readline()))
                lines = answer if isinstance(answer, list) else [answer]
                stream.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
                stream.flush()

    server = threading.Thread(target=serve)
    server.start()
    with ours:
        monitor = Monitor(ours)
        yield monitor, asked
    server.join(20)
    assert not server.is_alive()


def test_a_command_returns_its_answer_past_events() -> None:
    with answering([{"event": "STOP"}, {"event": "RESUME"}, {"return": {"status": "running"}}]) as (
        monitor,
        asked,
    ):
        assert monitor.execute("query-status") == {"status": "running"}
    assert asked == [
        {"execute": "qmp_capabilities", "arguments": {}},
        {"execute": "query-status", "arguments": {}},
    ]


def test_a_refusal_names_the_command() -> None:
    with (
        answering({"error": {"desc": "Bus 'port0' not found"}}) as (monitor, _),
        pytest.raises(GuestError, match="QEMU: device_add: Bus 'port0' not found"),
    ):
        monitor.execute("device_add", driver="vfio-user-pci")


def test_a_qemu_that_ends_is_told_of() -> None:
    with answering() as (monitor, _), pytest.raises(GuestError, match=r"QEMU ended .*, see qemu\.log"):
        monitor.execute("cont")


def test_a_qemu_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "DEADLINE_S", 0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(GuestError, match="QEMU's monitor does not answer"):
        Monitor(ours)


@pytest.mark.parametrize(("transfer", "command"), [("save", "migrate"), ("restore", "migrate-incoming")])
def test_a_state_is_transferred_without_the_shared_memory(transfer: str, command: str) -> None:
    states = ({"return": {"status": status}} for status in ("setup", "active", "completed"))
    with answering(NOTHING, NOTHING, *states) as (monitor, asked):
        getattr(monitor, transfer)("/template/state")
    _, capabilities, moved, *queries = asked
    assert capabilities["arguments"] == {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}
    assert moved == {"execute": command, "arguments": {"uri": "file:/template/state"}}
    assert {query["execute"] for query in queries} == {"query-migrate"}


def test_a_transfer_that_fails_says_why() -> None:
    failed = {"return": {"status": "failed", "error-desc": "Not a migration stream"}}
    with (
        answering(NOTHING, NOTHING, failed) as (monitor, _),
        pytest.raises(GuestError, match="QEMU: the machine's state: Not a migration stream"),
    ):
        monitor.restore("/template/state")


def test_a_transfer_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(NOTHING, NOTHING) as (monitor, _):
        monkeypatch.setattr(qmp, "DEADLINE_S", 0.0)
        with pytest.raises(GuestError, match="not transferred in time"):
            monitor.save("/template/state")
