# SPDX-License-Identifier: MIT
"""Commands that are skipped: they have no effect here, but their length must be right.

3D and compute state is ignored (there are no execution units; walkers are in gpu.compute). Length rules: Linux xe,
xe_lrc.c:instr_dw, for the types GFXPIPE and GFX_STATE; opcodes: instructions/xe_gfxpipe_commands.h.
"""

from __future__ import annotations

from gpu.encoding import GFX_STATE, GFXPIPE, Command

_ANY = range(2, 258)
# copy engines have no pipeline of any kind; those of the video engines share the type
_PIPELINES = "rcs ccs vcs vecs"


class TopologyFilter(Command, name="MI_TOPOLOGY_FILTER", header=0x0D << 23):
    pass


class SetAppId(Command, name="MI_SET_APPID", header=0x0E << 23):
    pass


class ForceWakeup(Command, name="MI_FORCE_WAKEUP", header=0x1D << 23, lengths=2):
    pass


class StoreDataIndex(Command, name="MI_STORE_DATA_INDEX", header=0x21 << 23, lengths=(3, 4)):
    pass


class ReportPerfCount(Command, name="MI_REPORT_PERF_COUNT", header=0x28 << 23, lengths=4, length_bits=6):
    pass


class GfxPipe(Command, name="GFXPIPE", header=GFXPIPE << 29, lengths=_ANY, engines=_PIPELINES):
    """Any command of type GFXPIPE that gpu.commands does not have."""

    __slots__ = ()

    def __str__(self) -> str:
        key = self.words[0] >> 16 & 0x1FFF
        return f"{_NAMES.get(key, f'GFXPIPE {key:#06x}')} ({len(self.words)} dwords)"


class GfxPipeLong(
    GfxPipe,
    name="3DSTATE_SO_DECL_LIST",
    header=0x7917 << 16,
    lengths=range(2, 514),
    length_bits=9,
    engines=_PIPELINES,
):
    """The one GFXPIPE command with nine bits of length."""


class GfxPipeSingle(
    GfxPipe, name="GFXPIPE (single dword)", header=GFXPIPE << 29 | 1 << 27, engines=_PIPELINES
):
    """Commands of pipeline 1 are one dword."""


class GfxState(Command, name="GFX_STATE", header=GFX_STATE << 29, lengths=_ANY, engines="rcs ccs"):
    pass


def gfxpipe(header: int) -> type[Command]:
    """The length rule for a header of type GFXPIPE."""
    if header >> 27 & 3 == 1:
        return GfxPipeSingle
    if header >> 16 == 0x7917:
        return GfxPipeLong
    return GfxPipe


# bits 28:16 of the header: pipeline, opcode, subopcode
_NAMES = {
    0x0003: "STATE_PREFETCH",
    0x0102: "STATE_SIP",
    0x0104: "GPGPU_CSR_BASE_ADDRESS",
    0x0105: "STATE_COMPUTE_MODE",
    0x0106: "3DSTATE_BTD",
    0x0109: "STATE_SYSTEM_MEM_FENCE_ADDRESS",
    0x010B: "STATE_CONTEXT_DATA_BASE_ADDRESS",
    0x080B: "3DSTATE_VF_STATISTICS",
    0x0904: "PIPELINE_SELECT",
    0x1200: "CFE_STATE",
    0x1800: "3DSTATE_DRAWING_RECTANGLE_FAST",
    0x1804: "3DSTATE_CLEAR_PARAMS",
    0x1805: "3DSTATE_DEPTH_BUFFER",
    0x1806: "3DSTATE_STENCIL_BUFFER",
    0x1807: "3DSTATE_HIER_DEPTH_BUFFER",
    0x1808: "3DSTATE_VERTEX_BUFFERS",
    0x1809: "3DSTATE_VERTEX_ELEMENTS",
    0x180A: "3DSTATE_INDEX_BUFFER",
    0x180C: "3DSTATE_VF",
    0x180D: "3DSTATE_MULTISAMPLE",
    0x180E: "3DSTATE_CC_STATE_POINTERS",
    0x180F: "3DSTATE_SCISSOR_STATE_POINTERS",
    0x1810: "3DSTATE_VS",
    0x1811: "3DSTATE_GS",
    0x1812: "3DSTATE_CLIP",
    0x1813: "3DSTATE_SF",
    0x1814: "3DSTATE_WM",
    0x1815: "3DSTATE_CONSTANT_VS",
    0x1816: "3DSTATE_CONSTANT_GS",
    0x1817: "3DSTATE_CONSTANT_PS",
    0x1818: "3DSTATE_SAMPLE_MASK",
    0x1819: "3DSTATE_CONSTANT_HS",
    0x181A: "3DSTATE_CONSTANT_DS",
    0x181B: "3DSTATE_HS",
    0x181C: "3DSTATE_TE",
    0x181D: "3DSTATE_DS",
    0x181E: "3DSTATE_STREAMOUT",
    0x181F: "3DSTATE_SBE",
    0x1820: "3DSTATE_PS",
    0x1821: "3DSTATE_VIEWPORT_STATE_POINTERS_SF_CLIP",
    0x1849: "3DSTATE_VF_INSTANCING",
    0x184A: "3DSTATE_VF_SGVS",
    0x184B: "3DSTATE_VF_TOPOLOGY",
    0x1850: "3DSTATE_RASTER",
    0x1852: "3DSTATE_WM_HZ_OP",
    0x1855: "3DSTATE_VF_COMPONENT_PACKING",
    0x1856: "3DSTATE_VF_SGVS_2",
    0x1858: "3DSTATE_URB_ALLOC_VS",
    0x1860: "3DSTATE_SO_BUFFER_INDEX_0",
    0x1861: "3DSTATE_SO_BUFFER_INDEX_1",
    0x1862: "3DSTATE_SO_BUFFER_INDEX_2",
    0x1863: "3DSTATE_SO_BUFFER_INDEX_3",
    0x186C: "3DSTATE_PRIMITIVE_REPLICATION",
    0x186E: "3DSTATE_TBIMR_TILE_PASS_INFO",
    0x1877: "3DSTATE_MESH_CONTROL",
    0x187C: "3DSTATE_TASK_CONTROL",
    0x1900: "3DSTATE_DRAWING_RECTANGLE",
    0x1917: "3DSTATE_SO_DECL_LIST",
    0x1919: "3DSTATE_BINDING_TABLE_POOL_ALLOC",
    0x191E: "3DSTATE_3D_MODE",
}
