# SPDX-License-Identifier: MIT
"""Files of debugfs that can be written: statistics are cleared, minimal run periods set."""

from __future__ import annotations

from typing import Any

import pytest

from mock.driver.lib.errors import Refused
from tests.mock.driver.double import Client

ROOT = "/sys/kernel/debug/dri/128"


def counted(client: Client) -> list[int]:
    """A counter of each GT after something happened on the first one."""
    return [gt.stats["svm_pagefault_count"] for gt in client.file.device.gts]


@pytest.fixture
def busy(client: Client) -> Client:
    """A client of a device whose GTs have counted."""
    for gt in client.file.device.gts:
        gt.stats.add("svm_pagefault_count", 3)
    return client


@pytest.mark.parametrize("text", ["1", "y", "Yes", "on\n", "True"])
def test_a_true_value_clears_the_statistics_of_one_gt(busy: Client, text: str) -> None:
    assert busy.driver.writable_file(f"{ROOT}/gt0/stats")
    busy.driver.write_file(f"{ROOT}/gt0/stats", text.encode())
    assert counted(busy) == [0, 3]


@pytest.mark.parametrize("text", ["0", "n", "No", "off\n", "False"])
def test_a_false_value_clears_nothing(busy: Client, text: str) -> None:
    busy.driver.write_file(f"{ROOT}/gt0/stats", text.encode())
    assert counted(busy) == [3, 3]


@pytest.mark.parametrize("text", ["", "2", "o", " 1", "clear"])
def test_other_text_is_refused(busy: Client, text: str) -> None:
    with pytest.raises(Refused):
        busy.driver.write_file(f"{ROOT}/gt0/stats", text.encode())
    assert counted(busy) == [3, 3]


def test_statistics_of_older_kernels_cannot_be_written(open_client: Any) -> None:
    client = open_client("bmg", level="7.2")
    assert not client.driver.writable_file(f"{ROOT}/gt0/stats")
    assert client.driver.read_file(f"{ROOT}/gt0/stats")


@pytest.mark.parametrize("kind", ["lr", "pf"])
@pytest.mark.parametrize(("text", "value"), [("7", 7), ("0x10\n", 16), ("010", 8), ("4294967295", 2**32 - 1)])
def test_run_period_is_what_was_written(client: Client, kind: str, text: str, value: int) -> None:
    path = f"{ROOT}/min_run_period_{kind}_ms"
    other = f"{ROOT}/min_run_period_{'pf' if kind == 'lr' else 'lr'}_ms"
    before = client.driver.read_file(other)
    assert client.driver.writable_file(path)
    client.driver.write_file(path, text.encode())
    assert client.driver.read_file(path) == b"%d\n" % value
    assert client.driver.read_file(other) == before


@pytest.mark.parametrize("text", ["", "x", "-1", "4294967296", "1 2"])
def test_what_is_no_number_of_32_bits_is_refused(client: Client, text: str) -> None:
    path = f"{ROOT}/min_run_period_lr_ms"
    before = client.driver.read_file(path)
    with pytest.raises(Refused):
        client.driver.write_file(path, text.encode())
    assert client.driver.read_file(path) == before


def test_older_kernels_have_no_run_periods(open_client: Any) -> None:
    assert open_client("bmg", level="6.18").driver.read_file(f"{ROOT}/min_run_period_lr_ms") is None
