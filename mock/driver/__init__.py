# SPDX-License-Identifier: MIT
"""The behaviour of the xe driver, in user space: one module for each of its concepts, in rooms.

lib/      what everything stands on: errnos, fences, sleeping, intervals, ids, user memory
ttm/      memory of buffer objects, and VRAM
pagemap/  memory of processes in VRAM, and migration
vm/       address spaces of the GPU: VMAs and page tables
svm/      mirrors of processes: ranges, their notifier, page faults
exec/     queues, jobs, engines, syncs
uapi/     the ioctls

Each stands on those above it in this list; Vm alone reaches down, to the SVM that it owns (tests/test_house.py).

Next to them are facts (platform.py, level.py, kconfig.py, arguments.py, stats.py), on which all of them may stand, the
device with its files, and driver.py, which makes them all. Read driver.py first, then device.py, file.py, vm/vm.py,
vm/vma.py, ttm/bo.py, exec/queue.py.
"""
