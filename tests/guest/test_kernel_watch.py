# SPDX-License-Identifier: MIT
"""A test during which the kernel or the emulated GPU complains does not pass."""

from __future__ import annotations

import json
import os
import tty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from fixtures import kmsg
from fixtures.kmsg import Record
from fixtures.plugin import kernel
from fixtures.plugin.kernel import GpuChecks, GpuOrders, KernelComplaintError, KernelWatch
from ioctl import transcript

SPLAT = [
    Record(4, 1.0, "WARNING: drivers/gpu/drm/xe/xe_vm.c:1 at xe_vm_close"),
    Record(4, 1.0, "---[ end trace 0 ]---"),
]
REPORT = (
    '{"check": "stale-translation", "device": "gpu0", "time": 1.5, "message": "old", "address": "0x1000"}\n'
)


class Log:
    """A kernel log with messages of the test."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.marks: list[str] = []

    def read(self) -> list[Record]:
        said, self.records = self.records, []
        return said

    def mark(self, text: str) -> None:
        self.marks.append(text)


class Item:
    """The part of pytest's item that is used."""

    nodeid = "suites/vm/test_x.py::test_y"

    def __init__(self, *expected: str) -> None:
        self.marks = [pytest.mark.kernel_log(*expected).mark] if expected else []
        self.sections: list[tuple[str, str, str]] = []
        self.stash = pytest.Stash()

    def iter_markers(self, name: str) -> list[pytest.Mark]:
        return self.marks

    def add_report_section(self, *section: str) -> None:
        self.sections.append(section)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setattr(kmsg, "taint", lambda: 0)
    return Log()


def call(watch: KernelWatch, item: Item, body=lambda: "result"):
    """Run ``body`` inside the hook, as pluggy does."""
    hook = watch.pytest_runtest_call(item)
    next(hook)
    try:
        value = body()
    except BaseException as error:
        hook.throw(error)
    try:
        hook.send(value)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the hook did not end")


def test_a_test_without_complaint_passes(log: Log) -> None:
    assert call(KernelWatch(log, None), Item()) == "result"


def test_a_kernel_warning_fails_the_test_it_comes_in(log: Log) -> None:
    watch = KernelWatch(log, None)
    with pytest.raises(KernelComplaintError, match=r"WARNING: drivers/gpu/drm/xe/xe_vm\.c"):
        call(watch, Item(), lambda: log.records.extend(SPLAT))
    assert call(watch, Item()) == "result"


def test_a_kernel_warning_is_the_check_of_the_steps(log: Log) -> None:
    """A program of the test's steps has to look for it, too."""
    with transcript.recording() as recorded, pytest.raises(KernelComplaintError):
        call(KernelWatch(log, None), Item(), lambda: log.records.extend(SPLAT))
    assert recorded.steps.check is not None
    assert recorded.steps.check["check"] == "complaint"
    assert "WARNING: drivers/gpu/drm/xe/xe_vm.c:1 at xe_vm_close" in recorded.steps.check["said"]


def test_a_warning_that_the_test_expects_does_not(log: Log) -> None:
    item = Item(r"xe_vm\.c")
    assert call(KernelWatch(log, None), item, lambda: log.records.extend(SPLAT)) is None


def test_what_the_kernel_said_is_in_the_report(log: Log) -> None:
    item = Item()
    call(KernelWatch(log, None), item, lambda: log.records.append(Record(6, 2.0, "xe: hello")))
    assert item.sections == [("call", "kernel log", "[    2.000000] xe: hello")]


def test_a_failure_of_the_test_keeps_its_own_reason(log: Log) -> None:
    def body() -> None:
        log.records.extend(SPLAT)
        raise ValueError("own")

    with pytest.raises(ValueError, match="own") as failed:
        call(KernelWatch(log, None), Item(), body)
    assert "WARNING: drivers" in failed.value.__notes__[0]


def test_a_new_taint_fails_the_test(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = KernelWatch(log, None)
    with pytest.raises(KernelComplaintError, match="the kernel was tainted: bad page"):
        call(watch, Item(), lambda: monkeypatch.setattr(kmsg, "taint", lambda: 1 << 5))
    assert call(watch, Item()) == "result"


def test_a_warning_between_tests_names_the_test_before(log: Log) -> None:
    watch = KernelWatch(log, None)
    watch._last = "suites/vm/test_x.py::test_before"
    log.records.extend(SPLAT)
    hook = watch.pytest_runtest_setup(Item())
    next(hook)
    with pytest.raises(
        KernelComplaintError, match=r"complaints after suites/vm/test_x\.py::test_before had ended"
    ):
        hook.send(None)


def test_what_the_emulated_gpu_reports_fails_the_test(log: Log, tmp_path: Path) -> None:
    path = tmp_path / "checks"
    path.touch()
    watch = KernelWatch(log, GpuChecks(path))
    with pytest.raises(KernelComplaintError, match="gpu0: stale-translation: old address=0x1000"):
        call(watch, Item(), lambda: path.write_text(REPORT))
    assert call(watch, Item()) == "result"


def test_half_a_report_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "checks"
    path.write_text(REPORT + REPORT[:20])
    checks = GpuChecks(path)
    assert len(checks.read()) == 1
    with path.open("a") as file:
        file.write(REPORT[20:])
    assert len(checks.read()) == 1


@pytest.fixture
def port() -> Iterator[tuple[int, Path]]:
    """Commands and replies of an emulated GPU, and the path of the test's end."""
    gpu, end = os.openpty()
    tty.setraw(end)
    yield gpu, Path(os.ttyname(end))
    os.close(gpu)
    os.close(end)


def test_the_emulated_gpu_hears_of_a_test_before_it_begins(
    log: Log, port: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, path = port
    monkeypatch.setattr(kernel, "seed_of", lambda config: config.seed)
    item = Item()
    item.config = SimpleNamespace(seed=42)
    os.write(gpu, b'{"left": []}\n')
    next(KernelWatch(log, None, GpuOrders(path)).pytest_runtest_setup(item))
    assert json.loads(os.read(gpu, 1000)) == {"test": Item.nodeid, "seed": 42}


def test_an_emulated_gpu_that_does_not_answer_is_an_error(
    port: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "ANSWER_S", 0.0)
    with pytest.raises(TimeoutError, match="does not answer an order"):
        GpuOrders(port[1]).begin("a", 1)
