# SPDX-License-Identifier: MIT
"""A ledger that does not change when the real one does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.answers import status_of
from reports import seeded
from reports.ledger import Behaviour, Ledger, Untested, Vocabulary


def entry(
    identifier: str,
    kind: str = "must",
    needs: tuple[str, ...] = (),
    reason: str | None = None,
    promise: str = "promised",
) -> Behaviour:
    area = identifier.partition(".")[0]
    return Behaviour(
        id=identifier,
        title=f"title of {identifier}",
        area=area,
        kind=kind,
        statement=f"Statement of {identifier}, quoted.",
        sources=("drivers/gpu/drm/xe/xe_vm.c:xe_vm_bind_ioctl",),
        since="6.15",
        history=None,
        observable=("errno",),
        needs=needs,
        reason=reason,
        landed_as=None,
        promise=promise,
    )


def called(main: Callable[[list[str]], int], *arguments: object) -> int:
    """The exit status of a command, as ``svmcts`` calls it."""
    name = main.__module__.rpartition(".")[2]
    return status_of(f"svmcts {name}", lambda: main([str(argument) for argument in arguments]))


@pytest.fixture(autouse=True)
def recorded(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results of seeded faults are recorded: none are, whatever the suite's are."""
    path = tmp_path_factory.mktemp("sensitivity") / "results.tsv"
    monkeypatch.setattr(seeded, "RECORDED", path)
    return path


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(
        [
            entry("bind.one"),
            entry("bind.two"),
            entry("bind.three", kind="may"),
            entry("fault.vram", needs=("vram",)),
            entry("fault.later"),
            entry("fault.inside", kind="model-only", reason="it is inside"),
        ],
        Vocabulary(
            areas={"bind": "VM_BIND", "fault": "GPU page faults"},
            kinds={"must": "m", "may": "n", "model-only": "o"},
            needs={"vram": "device memory"},
            observable={"errno": "errno"},
        ),
        [Untested(("fault.later",), "needs swap", "the swap suite")],
    )
