# SPDX-License-Identifier: MIT
"""Reports are unchanged by their way from a worker to the controller."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.plugin import wire


def report(**fields: Any) -> pytest.TestReport:
    """A report as pytest makes it."""
    given: dict[str, Any] = {
        "nodeid": "suites/vm/test_create.py::test_x[ä]",
        "location": ("suites/vm/test_create.py", 7, "test_x[ä]"),
        "keywords": {"test_x": 1, "suites": 1},
        "outcome": "passed",
        "longrepr": None,
        "when": "call",
        "sections": [("Captured stdout call", "text\n")],
        "duration": 0.25,
        "user_properties": [("environment", "mock/bmg")],
    }
    return pytest.TestReport(**given | fields)


def sent(original: pytest.TestReport) -> pytest.TestReport:
    """The report at the other end; pytest-xdist adds to the dictionary."""
    data = wire.pytest_report_to_serializable(original)
    assert data is not None
    received = wire.pytest_report_from_serializable({**data, "worker_id": "bmg.1"})
    assert isinstance(received, pytest.TestReport)
    assert received.__dict__.pop("worker_id") == "bmg.1"
    received.__dict__.pop("$report_type", None)
    return received


def test_a_report_arrives_as_it_was_sent() -> None:
    original = report(start=1.0, stop=1.25, svmcts={"acts": {"store": 1}, "reason": None})
    assert vars(sent(original)) == vars(original)


def test_a_skip_keeps_its_place_and_reason() -> None:
    """The summary of pytest takes a tuple and nothing else."""
    where = ("/suites/vm/test_create.py", 7, "NEEDS:vram: no")
    assert sent(report(outcome="skipped", longrepr=where)).longrepr == where


def test_a_traceback_arrives() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 // 0
    original = report(outcome="failed", longrepr=caught.getrepr())
    original.longrepr.addsection("behaviour", "what the ledger says")
    received = sent(original)
    assert received.longreprtext == original.longreprtext
    assert "ZeroDivisionError" in received.longreprtext
    assert "what the ledger says" in received.longreprtext


def test_what_json_cannot_say_is_left_to_others() -> None:
    assert wire.pytest_report_to_serializable(report(user_properties=[("raw", b"\0")])) is None
    assert wire.pytest_report_from_serializable({"$report_type": "TestReport"}) is None
