# SPDX-License-Identifier: MIT
"""The behaviour of the xe driver, in user space: one module for each of its concepts.

Read driver.py first, then device.py, file.py, vm.py, vma.py, bo.py, queue.py.
"""
