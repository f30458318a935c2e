# SPDX-License-Identifier: MIT
"""Engines that are reset in the middle of a batch (xe_guc_submit.c: xe_guc_exec_queue_reset_handler)."""

from __future__ import annotations

import errno

from fixtures import acts, behaviour, gpu_fault, landed, needs, refused
from fixtures.gate import Gate
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.plugin.kernel import GpuOrders
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
