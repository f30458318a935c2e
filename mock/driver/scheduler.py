# SPDX-License-Identifier: MIT
"""Which context runs on which engine, for how long (what GuC and the DRM scheduler do together)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mock.driver.device import Device
    from mock.driver.queue import ExecQueue, Job
    from mock.driver.vm import Vm


class Scheduler:
    """The engines of one device."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def submit(self, job: Job) -> None:
        """Queue a job behind the earlier ones of its queue."""
        raise NotImplementedError

    def wake(self) -> None:
        """Something changed that may let a context run."""
        raise NotImplementedError

    def kill(self, queue: ExecQueue) -> None:
        """Take a queue off the hardware for good; its jobs complete with an error (guc_exec_queue_kill)."""
        raise NotImplementedError

    def preempt(self, vm: Vm) -> None:
        """Pages of a preempt-fence VM moved: stop its queues, rebind, let them go on (xe_preempt_fence.c)."""
        raise NotImplementedError

    def reactivate_rebind(self, vm: Vm) -> None:
        """A batch was submitted to a preempt-fence VM that had nothing to run (xe_vm_reactivate_rebind)."""
