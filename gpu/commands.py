# SPDX-License-Identifier: MIT
"""The commands that have an effect here: header, length rule and fields of each.

Sources: Linux xe, instructions/xe_mi_commands.h and xe_gpu_commands.h (the names and bits that the kernel
uses); fields that the kernel does not use are those of the public programmer's reference of Xe2 (volume
"Command Reference"). gpu.skipped has the commands that are only skipped; gpu.semantics and gpu.blit implement these.
"""

from __future__ import annotations

from gpu.encoding import BLT, GFXPIPE, Address, Bits, Command, Less, Tail

COMPARISONS = {0: ">", 1: ">=", 2: "<", 3: "<=", 4: "==", 5: "!="}
POST_SYNC = {0: "none", 1: "immediate", 2: "depth count", 3: "timestamp"}

# operations of MI_ATOMIC on dwords; the same on qwords have 0x20 added
ATOMICS = {
    0x1: "and",
    0x2: "or",
    0x3: "xor",
    0x4: "move",
    0x5: "inc",
    0x6: "dec",
    0x7: "add",
    0x8: "sub",
    0x9: "rsub",
    0xA: "imax",
    0xB: "imin",
    0xC: "umax",
    0xD: "umin",
    0xE: "cmpwr",
}
ATOMIC_QWORD = 0x20
_ATOMIC_NAMES = {code + wide: name for code, name in ATOMICS.items() for wide in (0, ATOMIC_QWORD)}

COLOUR_BYTES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 12, 5: 16}
FAST_COPY_BYTES = {0: 1, 1: 2, 3: 4, 4: 8, 5: 16}


def _mi(opcode: int) -> int:
    return opcode << 23


def _blt(opcode: int) -> int:
    return BLT << 29 | opcode << 22


class Noop(Command, name="MI_NOOP", header=_mi(0x00)):
    pass


class SetPredicate(Command, name="MI_SET_PREDICATE", header=_mi(0x01)):
    """From here on, commands other than this one are not executed if the condition holds.

    MI_BATCH_BUFFER_START and others have a predicate bit of their own, which adds nothing to that.
    """

    enable = Bits(
        0,
        3,
        0,
        values={
            0: "never",
            1: "result2 clear",
            2: "result2 set",
            3: "result clear",
            4: "result set",
            15: "always",
        },
    )


class UserInterrupt(Command, name="MI_USER_INTERRUPT", header=_mi(0x02)):
    pass


class ArbCheck(Command, name="MI_ARB_CHECK", header=_mi(0x05)):
    """A preemption point; with ``mask`` it switches prefetching off or on (xe_ring_ops.c:preparser_disable)."""

    mask = Bits(0, 8)
    disable = Bits(0, 0)


class ArbOnOff(Command, name="MI_ARB_ON_OFF", header=_mi(0x08)):
    enable = Bits(0, 0)


class MemFence(Command, name="MI_MEM_FENCE", header=_mi(0x09)):
    kind = Bits(0, 1, 0, values={0: "release", 1: "acquire", 3: "write"})


class BatchBufferEnd(Command, name="MI_BATCH_BUFFER_END", header=_mi(0x0A)):
    pass


class Predicate(Command, name="MI_PREDICATE", header=_mi(0x0C)):
    load = Bits(0, 7, 6, values={0: "keep", 2: "load", 3: "loadinv"})
    combine = Bits(0, 4, 3, values={0: "set", 1: "and", 2: "or", 3: "xor"})
    compare = Bits(0, 1, 0, values={0: "true", 1: "false", 2: "srcs equal", 3: "deltas equal"})


class Math(Command, name="MI_MATH", header=_mi(0x1A), lengths=range(2, 258)):
    alu = Tail(1)


class SemaphoreSignal(Command, name="MI_SEMAPHORE_SIGNAL", header=_mi(0x1B), lengths=2):
    context = Bits(1, 31, 0)


class SemaphoreWait(Command, name="MI_SEMAPHORE_WAIT", header=_mi(0x1C), lengths=(5, 4)):
    """Wait until ``value at address`` ``compare`` ``data`` (unsigned dwords)."""

    ggtt = Bits(0, 22)
    register = Bits(0, 16)
    poll = Bits(0, 15)
    compare = Bits(0, 14, 12, values=COMPARISONS)
    data = Bits(1, 31, 0)
    address = Address(2)
    token = Bits(4, 9, 2)


class StoreDataImm(
    Command, name="MI_STORE_DATA_IMM", header=_mi(0x20), lengths=range(4, 1026), length_bits=10
):
    ggtt = Bits(0, 22)
    qword = Bits(0, 21)
    address = Address(1)
    data = Tail(3)


class LoadRegisterImm(Command, name="MI_LOAD_REGISTER_IMM", header=_mi(0x22), lengths=range(3, 258, 2)):
    cs_mmio = Bits(0, 19)
    remap = Bits(0, 17)
    posted = Bits(0, 12)
    pairs = Tail(1)


class StoreRegisterMem(Command, name="MI_STORE_REGISTER_MEM", header=_mi(0x24), lengths=4):
    ggtt = Bits(0, 22)
    predicate = Bits(0, 21)
    cs_mmio = Bits(0, 19)
    remap = Bits(0, 17)
    register = Bits(1, 22, 0)
    address = Address(2)


class FlushDw(
    Command, name="MI_FLUSH_DW", header=_mi(0x26), lengths=(5, 4, 3), length_bits=6, engines="bcs vcs vecs"
):
    store_index = Bits(0, 21)
    invalidate_tlb = Bits(0, 18)
    ccs = Bits(0, 16)
    post_sync = Bits(0, 15, 14, values=POST_SYNC)
    notify = Bits(0, 8)
    ggtt = Bits(1, 2)
    address = Address(1, align=8)
    data = Tail(3)


class LoadRegisterMem(Command, name="MI_LOAD_REGISTER_MEM", header=_mi(0x29), lengths=4):
    ggtt = Bits(0, 22)
    asynchronous = Bits(0, 21)
    cs_mmio = Bits(0, 19)
    remap = Bits(0, 17)
    register = Bits(1, 22, 0)
    address = Address(2)


class LoadRegisterReg(Command, name="MI_LOAD_REGISTER_REG", header=_mi(0x2A), lengths=3):
    destination_cs_mmio = Bits(0, 19)
    source_cs_mmio = Bits(0, 18)
    destination_remap = Bits(0, 17)
    source_remap = Bits(0, 16)
    source = Bits(1, 22, 0)
    destination = Bits(2, 22, 0)


class CopyMemMem(Command, name="MI_COPY_MEM_MEM", header=_mi(0x2E), lengths=5):
    source_ggtt = Bits(0, 22)
    destination_ggtt = Bits(0, 21)
    destination = Address(1)
    source = Address(3)


class Atomic(Command, name="MI_ATOMIC", header=_mi(0x2F), lengths=(3, 11)):
    """Read, modify and write a dword or a qword. Operands are inline (11 dwords) or in GPR 0 and 2; the old
    value goes to GPR 4 if ``returns``.
    """

    ggtt = Bits(0, 22)
    post_sync = Bits(0, 21)
    data_size = Bits(0, 20, 19, values={0: "dword", 1: "qword", 2: "octword"})
    inline = Bits(0, 18)
    cs_stall = Bits(0, 17)
    returns = Bits(0, 16)
    operation = Bits(0, 15, 8, values=_ATOMIC_NAMES)
    address = Address(1)
    operand1_low = Bits(3, 31, 0)
    operand2_low = Bits(4, 31, 0)
    operand1_high = Bits(5, 31, 0)
    operand2_high = Bits(6, 31, 0)


class BatchBufferStart(Command, name="MI_BATCH_BUFFER_START", header=_mi(0x31), lengths=3):
    second_level = Bits(0, 22)
    predicate = Bits(0, 15)
    ppgtt = Bits(0, 8)
    address = Address(1)


class ConditionalBatchBufferEnd(Command, name="MI_CONDITIONAL_BATCH_BUFFER_END", header=_mi(0x36), lengths=4):
    """End the batch unless ``value at address`` ``compare`` ``data`` (unsigned dwords).

    In mask mode the value is the AND of the two dwords at address. Without ``current_level`` all levels end.
    """

    ggtt = Bits(0, 22)
    do_compare = Bits(0, 21)
    mask_mode = Bits(0, 19)
    current_level = Bits(0, 18)
    predicate = Bits(0, 15)
    compare = Bits(0, 14, 12, values=COMPARISONS)
    data = Bits(1, 31, 0)
    address = Address(2)


class PipeControl(
    Command, name="PIPE_CONTROL", header=GFXPIPE << 29 | 3 << 27 | 2 << 24, lengths=6, engines="rcs ccs"
):
    flags0 = Bits(0, 15, 8)
    ggtt = Bits(1, 24)
    lri_post_sync = Bits(1, 23)
    store_index = Bits(1, 21)
    cs_stall = Bits(1, 20)
    invalidate_tlb = Bits(1, 18)
    post_sync = Bits(1, 15, 14, values=POST_SYNC)
    notify = Bits(1, 8)
    address = Address(2)
    low = Bits(4, 31, 0)
    high = Bits(5, 31, 0)


class StateBaseAddress(
    Command,
    name="STATE_BASE_ADDRESS",
    header=GFXPIPE << 29 | 1 << 24 | 1 << 16,
    lengths=range(12, 258),
    engines="rcs ccs",
):
    set_general_state = Bits(1, 0)
    general_state = Address(1, align=4096)
    set_instructions = Bits(10, 0)
    instructions = Address(10, align=4096)


class ComputeWalker(
    Command,
    name="COMPUTE_WALKER",
    header=GFXPIPE << 29 | 2 << 27 | 2 << 24 | 8 << 16,
    lengths=range(21, 258),
    engines="rcs ccs",
):
    """Fields as of Xe2. Offsets count from the bases that STATE_BASE_ADDRESS sets."""

    indirect_size = Bits(2, 16, 0)
    indirect_offset = Bits(3, 31, 0)
    kernel_offset = Bits(19, 31, 0)


class BlockCopy(Command, name="XY_BLOCK_COPY_BLT", header=_blt(0x41), lengths=22, engines="bcs"):
    colour = Bits(0, 21, 19)
    destination_pitch = Less(1, 17, 0)
    destination_tiling = Bits(1, 31, 30)
    left = Bits(2, 15, 0)
    top = Bits(2, 31, 16)
    right = Bits(3, 15, 0)
    bottom = Bits(3, 31, 16)
    destination = Address(4, align=1)
    destination_x = Bits(6, 13, 0)
    destination_y = Bits(6, 29, 16)
    source_left = Bits(7, 15, 0)
    source_top = Bits(7, 31, 16)
    source_pitch = Less(8, 17, 0)
    source_tiling = Bits(8, 31, 30)
    source = Address(9, align=1)
    source_x = Bits(11, 13, 0)
    source_y = Bits(11, 29, 16)


class FastCopy(Command, name="XY_FAST_COPY_BLT", header=_blt(0x42), lengths=10, engines="bcs"):
    """A copy of pixels; source and destination have the same format."""

    source_tiling = Bits(0, 21, 20)
    destination_tiling = Bits(0, 14, 13)
    source_tile4 = Bits(1, 31)
    destination_tile4 = Bits(1, 30)
    colour = Bits(1, 26, 24)
    mocs = Bits(1, 23, 20)
    destination_pitch = Bits(1, 15, 0)
    left = Bits(2, 15, 0)
    top = Bits(2, 31, 16)
    right = Bits(3, 15, 0)
    bottom = Bits(3, 31, 16)
    destination = Address(4, align=1)
    source_left = Bits(6, 15, 0)
    source_top = Bits(6, 31, 16)
    source_pitch = Bits(7, 15, 0)
    source = Address(8, align=1)


class FastColour(Command, name="XY_FAST_COLOR_BLT", header=_blt(0x44), lengths=(16, 11), engines="bcs"):
    """Fill a rectangle with one pixel value."""

    colour = Bits(0, 21, 19)
    pitch = Less(1, 17, 0)
    mocs = Bits(1, 27, 24)
    tiling = Bits(1, 31, 30)
    left = Bits(2, 15, 0)
    top = Bits(2, 31, 16)
    right = Bits(3, 15, 0)
    bottom = Bits(3, 31, 16)
    destination = Address(4, align=1)
    x = Bits(6, 13, 0)
    y = Bits(6, 29, 16)
    pixel0 = Bits(7, 31, 0)
    pixel1 = Bits(8, 31, 0)
    pixel2 = Bits(9, 31, 0)
    pixel3 = Bits(10, 31, 0)


class CtrlSurfCopy(Command, name="XY_CTRL_SURF_COPY_BLT", header=_blt(0x48), lengths=5, engines="bcs"):
    """Copy compression state (CCS). Data here is never compressed, so there is nothing to copy."""

    source_direct = Bits(0, 21)
    destination_direct = Bits(0, 20)
    pages = Less(0, 18, 9)
    source = Address(1, align=1)
    destination = Address(3, align=1)


class MemCopy(Command, name="MEM_COPY", header=_blt(0x5A), lengths=10, engines="bcs"):
    """A copy of bytes: ``width`` bytes; in page mode ``width`` times 256; as a matrix ``height`` rows of ``width``
    bytes.
    """

    page = Bits(0, 19)
    matrix = Bits(0, 17)
    width = Less(1, 23, 0)
    height = Less(2, 17, 0)
    source_pitch = Less(3, 17, 0)
    destination_pitch = Less(4, 17, 0)
    source = Address(5, align=1)
    destination = Address(7, align=1)
    source_mocs = Bits(9, 31, 28)
    destination_mocs = Bits(9, 6, 3)


class MemSet(Command, name="MEM_SET", header=_blt(0x5B), lengths=7, engines="bcs"):
    """Set ``width`` bytes to ``value``; as a matrix ``height`` rows of them."""

    fast_clear = Bits(0, 18)
    matrix = Bits(0, 17)
    width = Less(1, 23, 0)
    height = Less(2, 17, 0)
    pitch = Less(3, 17, 0)
    destination = Address(4, align=1)
    value = Bits(6, 31, 24)
    mocs = Bits(6, 6, 3)
