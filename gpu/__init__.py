# SPDX-License-Identifier: MIT
"""GPU commands: built (Batch), decoded and executed (Execution), each from one definition in gpu.commands."""

from __future__ import annotations

from gpu.address import Access, AddressSpace, GpuFault
from gpu.batch import Batch
from gpu.encoding import Command
from gpu.execute import Engine, Execution, Ring
from gpu.listing import Instruction, decode, listing
from gpu.stop import Reason, Stop, Wait

__all__ = [
    "Access",
    "AddressSpace",
    "Batch",
    "Command",
    "Engine",
    "Execution",
    "GpuFault",
    "Instruction",
    "Reason",
    "Ring",
    "Stop",
    "Wait",
    "decode",
    "listing",
]
