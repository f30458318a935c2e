# SPDX-License-Identifier: MIT
"""GPU page faults that have to wait for user space (mm/hmm.c: hmm_range_fault_unlocked_timeout)."""

from fixtures import acts, behaviour, landed, needs, wait_until
from fixtures.given import MakeVm, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.userfault import Userfault
from fixtures.xe.flags import DEFAULT_SYSTEM, PREFERRED_LOC
from fixtures.xe.queue import Queue
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch

pytestmark = needs("page-faults", "user-faults")


@behaviour("fault.userfaultfd")
@acts("exec", "store")
def test_fault_waits_for_userfaultfd(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """A GPU access to a page that a userfaultfd handles continues once the handler has provided the page."""
    buffer, given, stored = memory(4 * PAGE, populate=False), sentinel(), sentinel()
    with Userfault(buffer) as fault:
        job = queue.start(Batch().store_dword(buffer.address + PAGE + 8, stored))
        while (page := fault.waits()) != PAGE:
            assert page is not None, "nothing waits for the page that the GPU stores to"
            assert not job.done
            fault.give(page, b"")
        assert not job.done
        fault.give(PAGE, given.to_bytes(4, "little"))
        job.wait()
    assert buffer.u32(PAGE) == given
    landed(buffer, PAGE + 8, stored)


@behaviour("fault.parallel-vms", "fault.userfaultfd")
@acts("exec", "store")
@needs("three-engines")
def test_waiting_fault_does_not_block_other_vms(
    mirror_vm: Vm, make_vm: MakeVm, memory: Memory, sentinel: Sentinel
) -> None:
    """While a fault of one VM waits for user space, a VM on another fault queue and engine makes progress."""
    held, fresh, value = memory(PAGE, populate=False), memory(2 * PAGE, populate=False), sentinel()
    mine, *free = mirror_vm.device.known_engines[:3]
    # Address-space ids are given in turn: of two VMs one at least has not the fault queue of this one.
    others, values = [make_vm(FAULTING), make_vm(FAULTING)], [sentinel(), sentinel()]
    for vm in others:
        vm.mirror()
    for vm in mirror_vm, *others:
        # In system memory: to move memory to VRAM takes a lock of the driver that the waiting fault would hold.
        vm.madvise(
            0,
            1 << 47,
            PREFERRED_LOC,
            devmem_fd=DEFAULT_SYSTEM,
        )
    with Userfault(held) as fault:
        waiting = mirror_vm.queue(mine).start(Batch().store_dword(held.address, value))
        assert fault.waits() == 0
        jobs = [
            vm.queue(engine).start(Batch().store_dword(fresh.address + number * PAGE, values[number]))
            for number, (vm, engine) in enumerate(zip(others, free, strict=True))
        ]
        wait_until(lambda: any(job.done for job in jobs), what="the end of another VM's store")
        assert not waiting.done
        fault.give(0, b"")
        waiting.wait()
    for number, job in enumerate(jobs):
        job.wait()
        landed(fresh, number * PAGE, values[number])
    landed(held, 0, value)
