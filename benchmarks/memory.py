# SPDX-License-Identifier: MIT
"""Cost of batches, page faults and migrations, for GPU and CPU."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping

from benchmarks.sample import Group, Measure
from benchmarks.subject import Operation, Series, Subject, timed
from fixtures.memory import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, READ_WRITE, Buffer, mmap, reserve
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch
from mock.attach import attach

_NODE = "/dev/dri/renderD128"
_PLATFORM = "bmg"
_SIZES = {"4 KiB": 1 << 12, "64 KiB": 1 << 16, "2 MiB": 1 << 21}
_CHUNK = 1 << 21
_COUNTS = {"4 KiB": 40, "64 KiB": 40, "2 MiB": 10}

_EMPTY = "empty batch: EXEC, user fence, wait for it"
_NATIVE = "plain fault: first store to all of {}"
_GPU = "batch that faults and migrates {} to VRAM"
_CPU = "fault of the CPU that brings {} back"


def measure(rounds: int, scale: float) -> Iterator[Group]:
    """One group. ``scale`` is a part of the usual number of times."""
    subject = Subject(_mock)
    try:
        measured = series(subject, rounds, scale)
    finally:
        subject.close()
    yield Group("batches, faults and migration (a GPU with VRAM)", measures(measured))


def series(subject: Subject, rounds: int, scale: float) -> dict[str, list[list[float]]]:
    """Name to microseconds of each round, of all that the subject can do."""
    measured: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for name in subject.operations:
            count = int(_COUNTS.get(name, 100) * scale) or 1
            for what, values in subject.run(name, count).items():
                measured.setdefault(what, []).append(values)
    return measured


def measures(series: Mapping[str, list[list[float]]]) -> list[Measure]:
    """The series of ``operations`` as lines of a report."""
    empty = Measure(_EMPTY, "us", series[_EMPTY])
    lines = [empty]
    for size in _SIZES:
        native = Measure(_NATIVE.format(size), "us", series[_NATIVE.format(size)])
        lines += [
            Measure(_GPU.format(size), "us", series[_GPU.format(size)], empty),
            Measure(_CPU.format(size), "us", series[_CPU.format(size)], native),
            native,
        ]
    return lines


def _mock() -> Mapping[str, Operation]:
    attach(_PLATFORM)
    return operations(_NODE)


def operations(node: str) -> Mapping[str, Operation]:
    """Operations by name, on the device of ``node``, which needs VRAM."""
    vm = Vm(Device(node), FAULTING)
    vm.mirror()
    queue = vm.queue()
    queue.run(Batch())
    faults = {name: _migration(queue, name, size) for name, size in _SIZES.items()}
    return {"empty": timed(_EMPTY, lambda: queue.run(Batch())), **faults}


def _migration(queue: Queue, name: str, size: int) -> Operation:
    """There and back, each time with new memory, whose first touch is timed too."""
    values = random.Random(size)
    data = values.randbytes(size)
    clock = time.perf_counter_ns

    def run(count: int) -> Series:
        gpu, cpu, native = [], [], []
        for _ in range(count):
            buffer = _alone(size)
            start = clock()
            buffer.write(0, data)
            native.append(clock() - start)
            value = values.getrandbits(32)
            start = clock()
            queue.store(buffer.address, value)
            gpu.append(clock() - start)
            if buffer.present(0):
                raise AssertionError(f"{name} did not move to VRAM")
            start = clock()
            seen = buffer.u32(0)
            cpu.append(clock() - start)
            if seen != value or not buffer.present(size - 1) or buffer.bytes(4, size - 4) != data[4:]:
                raise AssertionError(f"{name} did not come back from VRAM whole")
            buffer.close()
        return {_GPU.format(name): gpu, _CPU.format(name): cpu, _NATIVE.format(name): native}

    return run


def _alone(size: int) -> Buffer:
    """New memory that no neighbour is joined to, so that the GPU's range is of this size; not populated."""
    place = reserve(2 * _CHUNK, _CHUNK)
    buffer = Buffer(place, 2 * _CHUNK)
    mmap(place, size, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    return buffer
