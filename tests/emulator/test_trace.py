# SPDX-License-Identifier: MIT
"""The debug trace, and the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from gpu import Batch
from guest.emulator import __main__ as command
from guest.emulator.checks import LIMIT, NAMES, Checks
from guest.emulator.device import Gpu
from guest.emulator.hxg import Action
from guest.emulator.trace import KINDS, Trace
from tests.emulator.driver import VRAM, Driver, Guest, platform


def test_trace_shows_messages_instructions_and_faults() -> None:
    sink = io.StringIO()
    shared = platform(Trace(["all"], sink))
    driver = Driver(Gpu("gpu0", VRAM, VRAM, shared), shared, Guest())
    driver.start()
    queue = driver.queue(driver.vm(asid=5)).register().enable()
    queue.submit(queue.place(Batch().store_dword(0x20_0000, 7).end(), 0x10_0000))
    driver.until(lambda: driver.has(Action.REPORT_PAGE_FAULT))
    text = sink.getvalue()
    for part in ("REGISTER_CONTEXT", "MI_STORE_DATA_IMM address=0x200000", "write of 0x200000", "mailbox"):
        assert part in text, text
    kinds = {line.split()[2] for line in text.splitlines()}
    assert {"register", "guc", "command", "context", "fault", "pci"} <= kinds <= set(KINDS)


def test_kinds_that_were_not_asked_for_are_silent() -> None:
    sink = io.StringIO()
    shared = platform(Trace(["fault"], sink))
    driver = Driver(Gpu("gpu0", VRAM, VRAM, shared), shared, Guest())
    driver.start()
    assert sink.getvalue() == ""


def test_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="'foo'"):
        Trace(["foo"])


def test_reports_are_lines_of_json_and_not_repeated() -> None:
    sink = io.StringIO()
    checks = Checks(sink)
    for _ in range(3):
        checks.report("no-memory", "gpu0", page=0x1000)
    checks.report("no-memory", "gpu0", page=0x2000)
    lines = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert [(line["check"], line["page"]) for line in lines] == [
        ("no-memory", "0x1000"),
        ("no-memory", "0x2000"),
    ]


def test_reports_have_a_bound() -> None:
    sink = io.StringIO()
    checks = Checks(sink)
    for page in range(LIMIT + 10):
        checks.report("no-memory", "gpu0", page=page)
    assert len(sink.getvalue().splitlines()) == LIMIT


@pytest.mark.parametrize(
    ("text", "value"), [("268435456", 256 << 20), ("256M", 256 << 20), ("1GiB", 1 << 30), ("8G", 8 << 30)]
)
def test_memory_sizes(text: str, value: int) -> None:
    assert command.parse(["--socket", "x", "--vram", text]).vram == value


@pytest.mark.parametrize("text", ["255M", "9G", "much", "256.5M", "268435457"])
def test_sizes_that_cannot_be_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.parse(["--socket", "x", "--vram", text])
    assert text in capsys.readouterr().err


def test_bar_smaller_than_the_memory(tmp_path: Path) -> None:
    gpu = Gpu("gpu0", VRAM, 1 << 20, platform())
    assert gpu.regions[2].size == 1 << 20
    assert gpu.region_read(2, VRAM - 4, 4) == b"\xff" * 4
    gpu.region_write(2, 1 << 20, b"abcd")
    assert bytes(gpu.vram.view[1 << 20 : (1 << 20) + 4]) == bytes(4)


def test_checks_are_listed_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.parse(["--list-checks"])
    assert not stop.value.code
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(NAMES)
