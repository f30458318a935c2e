# SPDX-License-Identifier: MIT
"""Channels, with this process as QEMU."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from guest.channels import Channels


@pytest.fixture
def channels() -> Iterator[Channels]:
    with Channels(("control", "stdin", "stdout", "checks")) as made:
        yield made


def test_qemus_ends_are_descriptors_to_inherit(channels: Channels) -> None:
    assert channels.descriptors() == {name: end.fileno() for name, end in channels.theirs.items()}
    assert not channels.descriptors().keys() ^ {"control", "stdin", "stdout", "checks"}


def test_a_message_is_one_json_line(channels: Channels) -> None:
    channels.send("control", {"template": True})
    data = channels.theirs["control"].recv(100)
    assert data.endswith(b"\n")
    assert json.loads(data) == {"template": True}


def test_output_is_passed_on_until_its_end(channels: Channels, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as file:
        channels.copy_out("stdout", file)
        data = os.urandom(1 << 18)
        channels.theirs["stdout"].sendall(data)
        channels.handed_over()
        channels.drain()
    assert path.read_bytes() == data


def test_the_end_of_our_input_is_the_end_of_theirs(channels: Channels, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"hello")
    with (tmp_path / "in").open("rb") as file:
        channels.copy_in("stdin", file)
        received = b""
        while data := channels.theirs["stdin"].recv(100):
            received += data
    assert received == b"hello"


def test_reports_are_kept_even_if_the_guest_never_reads_them(channels: Channels, tmp_path: Path) -> None:
    """A full port must not stop the emulated GPU that reports."""
    source, sink = os.pipe()
    with (tmp_path / "checks").open("wb") as copy:
        channels.pass_on("checks", source, copy)
        data = b"x" * (1 << 21)
        writer = threading.Thread(target=lambda: (os.write(sink, data), os.close(sink)))
        writer.start()
        writer.join(20)
        assert not writer.is_alive()
        channels.drain()
    os.close(source)
    assert (tmp_path / "checks").stat().st_size == len(data)


def test_reports_reach_the_guest_as_they_come(channels: Channels, tmp_path: Path) -> None:
    source, sink = os.pipe()
    with (tmp_path / "checks").open("wb") as copy:
        channels.pass_on("checks", source, copy)
        for report in (b"one\n", b"two\n"):
            os.write(sink, report)
            assert channels.theirs["checks"].recv(100) == report
        os.close(sink)
        channels.drain()
    os.close(source)
    assert (tmp_path / "checks").read_bytes() == b"one\ntwo\n"
