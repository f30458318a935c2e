# SPDX-License-Identifier: MIT
"""Jobs with dma fences and jobs that may fault share the engines of a GPU (xe_hw_engine_group.c)."""

import pytest

from fixtures import PLAIN, acts, behaviour, landed, needs
from fixtures.gate import Gate
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.xe.vm import Vm
from gpu import Batch

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound."""

pytestmark = needs("page-faults", "cpu-addr-mirror")


@behaviour("exec.mode-switch")
@acts("store")
@pytest.mark.parametrize("rounds", [1, 8])
def test_both_kinds_of_jobs_finish(
    mirror_vm: Vm, make_vm: MakeVm, bo: MakeBo, memory: Memory, sentinel: Sentinel, rounds: int
) -> None:
    """Jobs of a fault-mode VM and of a dma-fence VM, alternating on one engine, all complete with correct data."""
    plain, made, buffer = make_vm(PLAIN), bo(PAGE), memory(rounds * PAGE)
    mapped = made.map()
    plain.map(made, AT)
    faulting_queue, plain_queue = mirror_vm.queue(), plain.queue()
    for turn in range(rounds):
        values = sentinel(), sentinel()
        first = faulting_queue.start(Batch().store_dword(buffer.address + turn * PAGE, values[0]))
        second = plain_queue.start(Batch().store_dword(AT + 4 * turn, values[1]))
        second.wait()
        first.wait()
        landed(buffer, turn * PAGE, values[0])
        landed(mapped, 4 * turn, values[1])


@behaviour("exec.mode-switch")
@acts("store")
def test_suspended_job_goes_on(
    mirror_vm: Vm, make_vm: MakeVm, bo: MakeBo, memory: Memory, gate: Gate, sentinel: Sentinel
) -> None:
    """A running fault-mode job is suspended for a dma-fence job, resumes after it, and then faults."""
    plain, made, target = make_vm(PLAIN), bo(PAGE), memory(PAGE)
    plain.map(made, AT)
    queue, first, second = mirror_vm.queue(), sentinel(), sentinel()
    running = queue.start(gate.hold(Batch()).store_dword(target.address, first))
    gate.reached()
    plain.queue().store(AT, second)  # ends although the other has not
    landed(made.map(), 0, second)
    assert not running.done
    gate.open()
    running.wait()
    landed(target, 0, first)
