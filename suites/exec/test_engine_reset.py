# SPDX-License-Identifier: MIT
"""Engines that are reset in the middle of a batch (xe_guc_submit.c: xe_guc_exec_queue_reset_handler)."""

from __future__ import annotations

import contextlib
import errno
import random

import pytest

from fixtures import acts, behaviour, gpu_fault, gpu_sees, known, landed, needs, refused
from fixtures.gate import Gate
from fixtures.given import Memory, Sentinel, Unplug
from fixtures.memory import PAGE, allocate
from fixtures.plugin.kernel import GpuOrders
from fixtures.seeds import page_of
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.reset import replaced
from fixtures.xe.vm import Vm
from gpu import Batch

pytestmark = needs("page-faults", "gpu-failures")


@behaviour("exec.engine-reset", "exec.banned-queue")
@acts("refusal", "store")
def test_engine_reset_bans_queue_of_its_batch(
    mirror_vm: Vm, memory: Memory, gate: Gate, sentinel: Sentinel, gpu_orders: GpuOrders
) -> None:
    """A queue in whose batch the engine is reset is banned; others of VM and engine continue, and a new one works."""
    buffer, second, values = memory(PAGE), Gate(memory(PAGE, shared=True)), [sentinel() for _ in range(5)]
    stores = [Batch().store_dword(buffer.address + 4 * place, values[place]) for place in range(2)]
    lost, other = mirror_vm.queue(), mirror_vm.queue()
    job = lost.start(gate.hold(stores[0]).store_dword(buffer.address + 16, values[4]))
    gate.reached()
    goes_on = other.start(second.hold(stores[1]).store_dword(buffer.address + 8, values[2]))
    second.reached()
    with gpu_fault(lost), gpu_orders.failure("program-reset"):
        job.wait()
    gate.open()
    second.open()
    goes_on.wait()
    with refused(errno.ECANCELED):
        lost.submit(0x10000)
    mirror_vm.queue().store(buffer.address + 12, values[3])
    for place in range(4):
        landed(buffer, 4 * place, values[place])
    assert buffer.u32(16) == 0


@behaviour("exec.engine-reset-copy", "migrate.data-preserved")
@acts("load", "store")
@needs("vram", "svm-vram", "driver-unbind")
@pytest.mark.timeout(60)
# 7.0 warns whenever the driver starts on a virtual function.
@pytest.mark.kernel_log("xe_gt_mcr_get_nonterminated_steering")
@known(
    "A copy of the driver whose engine is reset once wedges the device",
    first="7.0",
    signature="the driver has declared the device wedged",
    acts=(),
    log="the kernel complained: *",
)
def test_copy_is_repeated_if_its_engine_is_reset(
    device: Device,
    mirror_vm: Vm,
    sentinel: Sentinel,
    rng: random.Random,
    gpu_orders: GpuOrders,
    unplug: Unplug,
) -> None:
    """Memory moves to VRAM although the engine is reset in the middle of the copy: the driver repeats it."""
    at, value = page_of(SZ_2M), sentinel()
    # The memory is unmapped before the driver is unbound, which has to evict it otherwise, by a copy.
    with replaced(device, unplug), contextlib.closing(allocate(SZ_2M, align=SZ_2M)) as buffer:
        buffer.write(0, data := rng.randbytes(SZ_2M))
        with gpu_orders.failure("kernel-reset"):
            mirror_vm.prefetch(buffer.address, SZ_2M, device.vram[0])
        queue = mirror_vm.queue()
        gpu_sees(queue, buffer.address + at, int.from_bytes(data[at : at + 4], "little"))
        queue.store(buffer.address + at, value)
        landed(buffer, at, value)
        assert buffer.bytes() == data[:at] + value.to_bytes(4, "little") + data[at + 4 :]
