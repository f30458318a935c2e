# SPDX-License-Identifier: MIT
"""The words by which the kernel's reports of its own faults are known in its log."""

from __future__ import annotations

import re

CRASH = r"BUG: |kernel BUG at |Oops: |general protection fault"
"""How reports of faults begin that end a task or the kernel."""

SPLAT = re.compile(
    rf"^(?:(?P<kind>{CRASH}|WARNING: |INFO: (?=task .* blocked for|possible|trying|lockdep)"
    r"|rcu: INFO: (?=.* stall)|watchdog: BUG|UBSAN: |KASAN: |KCSAN: |refcount_t: "
    r"|list_(?:add|del) corruption|Bad page |suspicious RCU usage|DMA-API: |pagealloc: )"
    # Messages of xe when it has lost track of its firmware, its contexts or its own limits; data may still be right.
    # xe_tlb_inval.c, xe_pagefault.c, xe_memirq.c:
    r"|xe .*(?:TLB invalidation fence timeout|PageFault Queue .* full|Unexpected memirq value"
    # xe_guc_submit.c:
    r"|failed to respond|CGP_SYNC_DONE response|Unexpected engine state|No exec queue found|Invalid guc_id"
    r"|Check job timeout: .* not started|Memory CAT error reported by GuC|GuC: Uncorrectable"
    # xe_guc_ct.c:
    r"|CTB is dead|CT(?: |B )(?:read:|write:|dequeue |receive |invalid )|[Uu]nexpected (?:G2H|response)"
    r"|G2H (?:channel|action|fence \()|Invalid G2H release|H2G (?:action|request|fence)|No forward process on H2G"
    r"|Fence 0x\S+ (?:not found|was used)|wait for G2H|GuC (?:Crash|Exception)"
    # xe_vm.c, xe_pt.c, sched_main.c:
    r"|NOT.POSSIBLE|scheduler while jobs are pending))"
)
"""First lines of the reports, without the time; most messages of drivers are not among them. The group ``kind`` has the
words that each report of its kind begins with; it is not set for messages of xe."""
