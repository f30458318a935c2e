# SPDX-License-Identifier: MIT
"""Streams as real runs leave them behind: good, failing, crashed, interrupted and killed ones.

Five tests in two environments; lnl has no VRAM, so that one of them is not claimed there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reports.ledger import Ledger, Vocabulary
from tests.reports import streams
from tests.reports.conftest import entry

LNL, BMG = "mock/lnl", "mock/bmg"
MIRROR = "suites/bind/test_cam.py::test_a_mirror_without_fault_mode_is_refused"
SMALL = "suites/bind/test_cam.py::test_a_mirror_of_any_size_is_taken[4K]"
LARGE = "suites/bind/test_cam.py::test_a_mirror_of_any_size_is_taken[2M]"
COLLECT = "suites/gc/test_unmap.py::test_memory_that_is_unmapped_leaves_vram"
STORE = "suites/fault/test_store.py::test_a_gpu_store_reaches_the_cpu"
PROVES = {
    MIRROR: ["bind.cam.requires-fault-mode"],
    SMALL: ["bind.cam.map-only"],
    LARGE: ["bind.cam.map-only"],
    COLLECT: ["gc.async"],
    STORE: ["fault.write-visible-to-cpu"],
}
KINDS = {MIRROR: "refusal", SMALL: "ioctl", LARGE: "ioctl", COLLECT: "migrate", STORE: "store"}
WRONG_DATA = "the CPU sees 0x5eed1234 at offset 0x0, not 0xcafe0001"

Events = list[dict[str, Any] | str]


def head(**fields: Any) -> dict[str, Any]:
    return streams.run(environments=[LNL, BMG], **fields)


def environments() -> list[dict[str, Any]]:
    return [streams.environment(LNL, kernel="7.3", tests=5), streams.environment(BMG, kernel="7.3", tests=5)]


def start(test: str, env: str) -> dict[str, Any]:
    return {"event": "start", "env": env, "test": test, "time": "2026-11-21T05:40:01.000+00:00"}


def result(test: str, env: str, outcome: str = "PASS", **fields: Any) -> dict[str, Any]:
    acted = {"acts": {KINDS[test]: 1} if outcome in ("PASS", "KNOWN", "XPASS") else {}}
    return streams.result(
        test, outcome, env, behaviours=PROVES[test], declared=[KINDS[test]], **{**acted, **fields}
    )


def not_claimed(test: str = COLLECT, env: str = LNL) -> dict[str, Any]:
    reason = {"code": "NEEDS:vram", "text": "config flag 0x1 is clear"}
    return result(test, env, "NOT-CLAIMED", reason=reason)


def passing(*but: tuple[str, str]) -> Events:
    """Start and result of every test in each environment, all as expected, except for some."""
    events: Events = []
    for env in (LNL, BMG):
        for test in PROVES:
            if (test, env) not in but:
                good = not_claimed() if (test, env) == (COLLECT, LNL) else result(test, env)
                events += [start(test, env), good]
    return events


def good() -> Events:
    return [head(), *environments(), *passing(), streams.end()]


def failing() -> Events:
    """Wrong data on one, a vacuous test, an unexpected pass; the same wrong errno on both."""
    errno = {"message": "expected EINVAL, the call returned 0", "transcript": streams.TRANSCRIPT}
    bad = [
        result(MIRROR, LNL, "FAIL", **errno),
        result(MIRROR, BMG, "FAIL", **errno),
        result(
            STORE, BMG, "FAIL", message=WRONG_DATA, kernel_log="<4>[   12.3] xe: <script>alert(1)</script>"
        ),
        result(
            SMALL, BMG, "ERROR", message="vacuous: the test passed, but it did not do what it declares: ioctl"
        ),
        result(LARGE, LNL, "XPASS", message="docs/findings.md: large mirrors"),
    ]
    pairs = [(event["test"], event["env"]) for event in bad]
    return [head(), *environments(), *passing(*pairs), *bad, streams.end(exit=1)]


def crashed() -> Events:
    """The process that ran a test died in it; the controller reported it and the rest continued."""
    died = result(
        STORE, BMG, "ERROR", message="the process that ran it died", longrepr="Fatal Python error: Bus error"
    )
    return [head(), *environments(), *passing((STORE, BMG)), start(STORE, BMG), died, streams.end(exit=1)]


def interrupted() -> Events:
    """Ctrl-C: tests that never began are NOTRUN, and the stream has its end."""
    left = [(STORE, BMG), (COLLECT, BMG)]
    reason = {"code": "NOTRUN", "text": "the run ended before this test"}
    rest = [result(test, env, "NOTRUN", reason=reason) for test, env in left]
    return [head(), *environments(), *passing(*left), *rest, streams.end(exit=2)]


def killed() -> Events:
    """SIGKILL or a crash of the machine, in the middle of a line."""
    left = [(STORE, BMG), (COLLECT, BMG)]
    return [head(), *environments(), *passing(*left), start(COLLECT, BMG), '{"event":"resu']


def waived() -> Events:
    """Only what waivers/good.toml excuses fails."""
    bad = result(STORE, BMG, "FAIL", message=WRONG_DATA)
    return [head(), *environments(), *passing((STORE, BMG)), bad, streams.end(exit=1)]


RUNS = {run.__name__: run for run in (good, failing, crashed, interrupted, killed, waived)}


def ledger(*driver: str) -> Ledger:
    """Behaviours of the tests only; ``driver`` is promised by the code alone."""
    ids = dict.fromkeys(identifier for ids in PROVES.values() for identifier in ids)
    areas = {identifier.partition(".")[0]: "an area" for identifier in ids}
    return Ledger(
        [entry(i, promise="driver" if i in driver else "promised") for i in ids],
        Vocabulary(areas, {}, {}, {}),
        [],
    )


def write(name: str, folder: Path) -> Path:
    """The stream of that name as ``folder/name/results.jsonl``."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    return streams.write(folder / name / "results.jsonl", *RUNS[name]())


WAIVER = """\
# Failures that are known and accepted.

[[waiver]]
test = "suites/fault/test_store.py::*"
environment = "mock/b*"
kernels = "7.2..7.3"
signature = "the CPU sees 0x# at offset 0x#, not 0x#"
owner = "Jane Doe <jane@example.org>"
link = "https://gitlab.example.org/issues/7"
reason = "stores are lost after migration"
expires = 2027-01-31
"""
EXPIRED = WAIVER.replace("2027-01-31", "2026-10-31")
