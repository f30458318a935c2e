# SPDX-License-Identifier: MIT
"""Reasons of kernel crashes, from real consoles."""

from __future__ import annotations

from guest.oops import cause

OOPS = """\
[   37.102395] [drm] Initialized xe 1.1.0 for 0000:01:00.0 on minor 0
[   55.133974] BUG: kernel NULL pointer dereference, address: 0000000000000008
[   55.134539] #PF: supervisor read access in kernel mode
[   55.135948] Oops: Oops: 0000 [#1] SMP NOPTI
[   55.137771] RIP: 0010:xe_migrate_vram+0x1f/0x560 [xe]
[   55.148160] RIP: 0033:0x7f8f52f86ad5
[   55.160000] Kernel panic - not syncing: Fatal exception
"""
PANIC = "[    1.2][    T1] Kernel panic - not syncing: VFS: Unable to mount root fs\n"


def test_the_first_complaint_and_its_function_are_the_cause() -> None:
    assert cause(OOPS) == "BUG: kernel NULL pointer dereference, address: 0000000000000008 in xe_migrate_vram"


def test_a_panic_may_be_all_there_is() -> None:
    assert cause(PANIC) == "Kernel panic - not syncing: VFS: Unable to mount root fs"


def test_a_function_of_user_space_is_no_function_of_the_kernel() -> None:
    assert cause("[ 1.0] BUG: soft lockup\n[ 1.1] RIP: 0033:0x7f8f52f86ad5\n") == "BUG: soft lockup"


def test_a_quiet_console_tells_nothing() -> None:
    assert cause("[    1.000000] Linux version 7.3.4\n") is None
