# SPDX-License-Identifier: MIT
"""Counts that a guest sends."""

from __future__ import annotations

import types
import zlib

import pytest

from fixtures.plugin.backend import set_environment
from fixtures.plugin.case import CASE
from fixtures.plugin.environment import Environment
from fixtures.plugin.events import connect
from fixtures.plugin.executed import Reader

FILE = "root/out/drivers/gpu/drm/xe/xe_svm.gcda"


@pytest.fixture
def counted(tmp_path):
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"boot")
    (file.parent / "xe_pt.gcda").write_bytes(b"still")
    return file


@pytest.fixture
def sent():
    return []


@pytest.fixture
def reader(counted, sent, tmp_path):
    config = types.SimpleNamespace(stash=pytest.Stash())
    set_environment(config, Environment("guest/x", "driver", "bmg", machine="guest"))
    connect(config, sent.append)
    return Reader(config, tmp_path)


def test_files_are_sent_whose_counts_have_changed(reader, counted, sent):
    reader.pytest_collection_finish()
    item = types.SimpleNamespace(stash=pytest.Stash(), nodeid="suites/x/test_x.py::test_x")
    item.stash[CASE] = None
    protocol = reader.pytest_runtest_protocol(item)
    next(protocol)
    counted.write_bytes(b"test")
    with pytest.raises(StopIteration):
        protocol.send(True)
    reader.pytest_sessionfinish()
    assert [event["test"] for event in sent] == ["", item.nodeid, ""]
    assert [set(event["files"]) for event in sent] == [{FILE, FILE.replace("xe_svm", "xe_pt")}, {FILE}, set()]
    assert zlib.decompress(sent[1]["files"][FILE]) == b"test"
    assert len({event["reader"] for event in sent}) == 1
