# SPDX-License-Identifier: MIT
"""Files of debugfs and procfs that say what the driver does, or tell it how to (xe_debugfs.c, xe_drm_client.c)."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs, refused, untested, wait_until
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.kernel_file import write
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import DEBUGFS, Counters, Snapshot
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from fixtures.xe.vm import LONG_RUNNING, Vm
from gpu import Batch

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
MS = 1_000_000
"""Nanoseconds."""


def directory(device: Device) -> Path:
    """The directory of the device in debugfs."""
    return DEBUGFS / str(device.minor)


def clearing(device: Device) -> Path:
    """The file that clears the statistics of the GT of the first engine; skips the test if there is none."""
    path = directory(device) / f"gt{device.engine().gt_id}" / "stats"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except PermissionError:
        untested("KERNEL:stats", f"{path} is not to be written")
    mode = os.fstat(fd).st_mode
    os.close(fd)
    if stat.S_ISREG(mode) and not mode & stat.S_IWUSR:  # root may open it nevertheless
        untested("KERNEL:stats", f"{path} is not to be written")
    return path


@contextmanager
def served(counters: Counters, gt: int) -> Iterator[Snapshot]:
    """The block makes the GT serve a fault; gives the counters before it."""
    before = counters.snapshot(gt)
    yield before
    counters.rose("svm_pagefault_count", since=before, gt=gt)


@behaviour("obs.stats-reset")
@acts("fault", "store")
@needs("debugfs", "svm-counters", "page-faults", "cpu-addr-mirror")
@pytest.mark.parametrize("yes", ["1", "y", "Y", "yes", "on", "true\n"])
def test_true_value_clears_all_counters(
    device: Device, queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, yes: str
) -> None:
    """A true value written to the file of a GT zeroes each of its counters and none of another GT; then they count."""
    path, gt = clearing(device), device.engine().gt_id
    with served(counters, gt) as before:
        queue.store(memory(SZ_2M, align=SZ_2M).address, sentinel())
    others = {other.gt_id: counters.snapshot(other.gt_id) for other in device.known_gts if other.gt_id != gt}
    write(path, yes)
    cleared = counters.snapshot(gt)
    assert {name: value for name, value in cleared.items() if value} == {}
    assert list(cleared) == list(before)
    for number, snapshot in others.items():
        assert dict(counters.snapshot(number)) == dict(snapshot)
    other = memory(PAGE)
    queue.store(other.address, value := sentinel())
    landed(other, 0, value)
    counters.rose("svm_pagefault_count", since=cleared, by=1, gt=gt)


@behaviour("obs.stats-reset")
@acts("fault")
@needs("debugfs", "svm-counters", "page-faults", "cpu-addr-mirror")
@pytest.mark.parametrize("no", ["0", "n", "N", "no", "off", "false\n"])
def test_false_value_clears_no_counter(
    device: Device, queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, no: str
) -> None:
    """A false value written to the file of a GT leaves each of its counters as it is."""
    path, gt = clearing(device), device.engine().gt_id
    with served(counters, gt):
        queue.store(memory(PAGE).address, sentinel())
    before = counters.snapshot(gt)
    write(path, no)
    assert dict(counters.snapshot(gt)) == dict(before)


@behaviour("obs.stats-reset")
@acts("refusal", "fault")
@needs("debugfs", "svm-counters", "page-faults", "cpu-addr-mirror", "device-pages")
def test_other_text_for_statistics_is_einval(
    device: Device, queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """Text that is neither true nor false gives EINVAL and clears nothing."""
    path, gt = clearing(device), device.engine().gt_id
    with served(counters, gt):
        queue.store(memory(PAGE).address, sentinel())
    before = counters.snapshot(gt)
    for text in ("2", "-1", "clear", "o", " 1", "\n"):
        with refused(errno.EINVAL):
            write(path, text)
    assert dict(counters.snapshot(gt)) == dict(before)


@behaviour("obs.per-gt")
@acts("fault", "store")
@needs("debugfs", "svm-counters", "page-faults", "cpu-addr-mirror", "multi-gt")
def test_faults_count_in_file_of_their_gt(
    device: Device, mirror_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """A fault of an engine counts in the file of its GT, and the counters of faults and moves of no other change."""
    engines = {engine.gt_id: engine for engine in device.known_engines}
    assert len(engines) > 1
    queues = {gt: mirror_vm.queue(engine) for gt, engine in engines.items()}
    for queue in queues.values():
        queue.run(Batch().noop())
    for gt, queue in queues.items():
        buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
        before = {number: counters.snapshot(number) for number in engines}
        queue.store(buffer.address, value)
        counters.rose("svm_pagefault_count", since=before[gt], by=1, gt=gt)
        for other in engines.keys() - {gt}:
            now = counters.snapshot(other)
            changed = {
                name
                for name, seen in before[other].items()
                if name.endswith(("pagefault_count", "migrate_count")) and now[name] != seen
            }
            assert not changed
        landed(buffer, 0, value)


@pytest.fixture(params=["lr", "pf"])
def period(request: pytest.FixtureRequest, device: Device) -> Iterator[Path]:
    """The file with the minimal run period of long-running VMs, or of those in fault mode; as before after the test."""
    path = directory(device) / f"min_run_period_{request.param}_ms"
    before = path.read_text()
    yield path
    write(path, before)


@behaviour("obs.min-run-period")
@acts("query", "store")
@needs("debugfs", "page-faults", "cpu-addr-mirror")
def test_run_period_is_what_was_written(
    period: Path, make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel
) -> None:
    """The file has the number that was written, decimal or hexadecimal, and not that of the other kind; VMs work."""
    kinds = [period.with_name(f"min_run_period_{kind}_ms") for kind in ("lr", "pf")]
    (other,) = [path for path in kinds if path != period]
    unchanged = other.read_text()
    for text, value in (("0", 0), ("1\n", 1), ("0x10", 16), ("2147483647", 2**31 - 1), ("7", 7)):
        write(period, text)
        assert int(period.read_text()) == value
        assert other.read_text() == unchanged
        count("query")
    vm, made, stored = make_vm(LONG_RUNNING), bo(PAGE), sentinel()
    mapped = made.map()
    vm.map(made, AT)
    vm.queue().store(AT, stored)
    landed(mapped, 0, stored)


@behaviour("obs.min-run-period")
@acts("refusal")
@needs("debugfs", "device-pages")
def test_run_period_that_is_no_number_is_refused(period: Path) -> None:
    """Text that is not a number of 32 bits gives EINVAL or ERANGE, and the file keeps the old number."""
    before = period.read_text()
    for text, code in (("x", errno.EINVAL), ("-1", errno.EINVAL), ("4294967296", errno.ERANGE)):
        with refused(code):
            write(period, text)
        assert period.read_text() == before


@behaviour("obs.min-run-period")
@acts("store")
@needs("debugfs", "device-pages", "userptr", "blocking-unmap")
def test_run_period_holds_for_later_vms(
    device: Device, make_vm: MakeVm, memory: Memory, bo: MakeBo, sentinel: Sentinel
) -> None:
    """A long-running VM made after the write is not stopped again before it has run for so long."""
    path = directory(device) / "min_run_period_lr_ms"
    if not path.exists():
        untested("KERNEL:min-run-period", f"there is no {path.name}")
    before, wanted = path.read_text(), 400
    try:
        write(path, str(wanted))
        vm = make_vm(LONG_RUNNING)
    finally:
        write(path, before)
    made, buffer = bo(PAGE), memory(SZ_64K)
    word, go = made.map(), sentinel()
    vm.map(made, AT)
    vm.map_userptr(AT + SZ_2M, buffer.address, SZ_64K)
    queue = vm.queue()
    queue.store(AT + SZ_2M, value := sentinel())
    landed(buffer, 0, value)
    job = queue.start(
        Batch().store_dword(AT + 64, go).semaphore_wait(AT, go).store_dword(AT + SZ_2M, value := sentinel())
    )
    wait_until(lambda: word.u32(64) == go, what="the start of the batch")
    start = time.monotonic_ns()
    buffer.remap_fresh()  # stops the queues of the VM
    vm.queue().store(AT + 128, sentinel())  # they run again
    buffer.remap_fresh()
    took = time.monotonic_ns() - start
    assert not job.done
    word.set_u32(0, go)
    job.wait()
    landed(buffer, 0, value)
    assert took >= wanted * MS


@behaviour("obs.fdinfo-svm")
@acts("load")
@needs("device-pages", "svm-vram", "page-faults")
def test_fdinfo_may_have_memory_of_mirrors(
    device: Device, mirror_vm: Vm, memory: Memory, sentinel: Sentinel
) -> None:
    """The key drm-resident-vram0 of fdinfo grows by the mirrored memory that goes to VRAM, or does not."""
    buffer, queue = memory(8 * SZ_2M, align=SZ_2M), mirror_vm.queue()
    values = {offset: sentinel() for offset in range(0, buffer.size, SZ_2M)}
    for offset, value in values.items():
        buffer.set_u32(offset, value)
    queue.run(Batch().noop())
    before = resident(device)
    mirror_vm.prefetch(buffer.address, buffer.size, device.vram[0])
    assert not any(buffer.present(offset) for offset in values)
    grown = resident(device) - before
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    assert grown in (0, buffer.size) or 0 < grown < buffer.size
    chose(f"memory of mirrors in drm-resident-vram0: {grown or 'none'}")


def resident(device: Device) -> int:
    """Bytes of drm-resident-vram0."""
    text = Path(f"/proc/self/fdinfo/{device.fd}").read_text()
    found = re.search(r"^drm-resident-vram0:\s*(\d+)\s*(KiB|MiB|)$", text, re.MULTILINE)
    assert found, text
    return int(found[1]) << {"": 0, "KiB": 10, "MiB": 20}[found[2]]
