# SPDX-License-Identifier: MIT
"""Synthetic result streams: events in, results.jsonl out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reports.ledger import Ledger


def run(**fields: Any) -> dict[str, Any]:
    return {
        "event": "run",
        "schema": 1,
        "suite": {"version": "0.1", "git": "57d512b"},
        "seed": 20831,
        "command": ["pytest", "--platform", "lnl", "--platform", "bmg"],
        "start": "2026-11-21T05:40:00+00:00",
        **fields,
    }


def environment(env: str = "mock/bmg", **fields: Any) -> dict[str, Any]:
    platform = env.partition("/")[2]
    vram = platform != "lnl"
    return {
        "event": "environment",
        "env": env,
        "machine": "local",
        "backend": env.partition("/")[0],
        "platform": platform,
        "level": "7.3",
        "kernel": "6.12.48+deb13-amd64",
        "python": "3.11.2",
        "header": "sha256 9f2c61d0",
        "capabilities": {
            "vram": vram,
            "two-devices": platform == "bmg2",
            "atomic": True,
            "debugfs": True,
            "root": True,
        },
        "absent": {} if vram else {"vram": "config flag 0x1 is clear"},
        "reductions": [],
        "devices": [
            {"path": "/dev/dri/renderD128", "pci_id": "8086:e20b", "vram": "12 GiB" if vram else "none"}
        ],
        **fields,
    }


def result(
    test: str = "suites/bind/test_cam.py::test_map",
    outcome: str = "PASS",
    env: str = "mock/bmg",
    **fields: Any,
) -> dict[str, Any]:
    return {
        "event": "result",
        "env": env,
        "test": test,
        "behaviours": ["bind.cam.requires-fault-mode"],
        "acts": {"refusal": 1},
        "declared": ["refusal"],
        "outcome": outcome,
        "reason": None,
        "duration": 0.0042,
        "message": None,
        "longrepr": None,
        "transcript": None,
        "seed": 20831,
        "area": test.split("/")[1] if "/" in test else "",
        "replay": f"pytest --platform {env.partition('/')[2]} --seed 20831 '{test}'",
        **fields,
    }


def end(**fields: Any) -> dict[str, Any]:
    return {"event": "end", "time": "2026-11-21T05:40:12+00:00", "exit": 0, **fields}


def write(path: Path, *events: dict[str, Any] | str) -> Path:
    """Write events as lines; text is written unchanged, so it can be a truncated line."""
    path.write_text(
        "".join(e if isinstance(e, str) else json.dumps(e) + "\n" for e in events), encoding="utf-8"
    )
    return path


TRANSCRIPT = """\
ioctl(5, DRM_IOCTL_XE_VM_CREATE, {flags=LR_MODE|FAULT_MODE} => {vm_id=1}) = 0 <4.1us>
ioctl(5, DRM_IOCTL_XE_VM_BIND, {vm_id=1, num_binds=1, bind={op=MAP, flags=CPU_ADDR_MIRROR, obj=7,
    addr=0x7f0000000000, range=0x200000}, num_syncs=0}) = 0 <5.6us>
"""


def whole_ledger(environments: int, failures: int = 3) -> list[dict[str, Any]]:
    """A run in which every behaviour but the model-only ones has a test in every environment."""
    names = ["mock/lnl", "mock/bmg", "mock/bmg2", "guest/bmg", "guest-6.18/bmg", "lab/bmg"][:environments]
    events = [run(), *(environment(name) for name in names)]
    for number, behaviour in enumerate(b for b in Ledger.load().values() if b.kind != "model-only"):
        for name in names:
            test = f"suites/{behaviour.area}/test_{behaviour.area.replace('-', '_')}.py::test_number_{number}"
            fields: dict[str, Any] = {"behaviours": [behaviour.id]}
            outcome = "PASS"
            if "vram" in behaviour.needs and name.endswith("lnl"):
                outcome = "NOT-CLAIMED"
                fields["reason"] = {"code": "NEEDS:vram", "text": "no VRAM region in MEM_REGIONS"}
            elif number < failures and name == names[-1]:
                outcome = "FAIL"
                fields |= {
                    "message": "VM_BIND: expected EINVAL, the call returned 0",
                    "longrepr": "def test():\n>   assert error == EINVAL\nE   AssertionError",
                    "transcript": TRANSCRIPT,
                }
            events.append(result(test, outcome, name, **fields))
    return [*events, end(exit=int(failures > 0))]
