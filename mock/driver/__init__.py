# SPDX-License-Identifier: MIT
"""The xe driver in user space: one module for each of its concepts, in rooms.

lib/      the library of all others: errnos, fences, sleeping, intervals, ids, user memory
ttm/      memory of buffer objects, and VRAM
pagemap/  memory of processes in VRAM, and migration
vm/       address spaces of the GPU: VMAs and page tables
svm/      mirrors of processes: ranges, their notifier, page faults
exec/     queues, jobs, engines, syncs
uapi/     the ioctls

Each may import those above it in this list; only Vm reaches down, to the SVM that it owns (tests/test_house.py).

Next to them are facts that all of them may use (platform.py, level.py, kconfig.py, arguments.py, stats.py), the device
with its files, and driver.py, which creates everything. Read driver.py first, then device.py, file.py, vm/vm.py,
vm/vma.py, ttm/bo.py, exec/queue.py.
"""
