# SPDX-License-Identifier: MIT
"""The ctypes structures against the C compiler and against headers measured earlier."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import pytest

from ioctl import drm, facts, history, xe
from ioctl.compiler import NoCompilerError, find_compiler
from ioctl.facts import Field, Number, Size, Value
from ioctl.probe import Probe
from ioctl.source import find
from tests.ioctl.c_header import header

# Measured by gcc for x86-64 in drm.h of linux-libc-dev 7.3.4.
DRM_H = json.loads(Path(__file__).with_name("drm_h.json").read_text())


def without_marks(table: facts.Table) -> dict[str, str]:
    """A table as text, the non-ABI marks aside, which only a header's comments have."""
    return {name: str(fact).replace("non-abi", "value") for name, fact in table.items()}


def test_structures_are_those_of_the_recorded_header() -> None:
    """Every size, offset, type, number and value of ioctl.xe is that of its Linux, and no name is missing."""
    assert without_marks(facts.of_module(xe)) == without_marks(history.recorded().table(xe.LINUX))


def test_the_compiler_lays_the_same_declarations_out_in_the_same_way(tmp_path: Path) -> None:
    """C structures with the members of our ctypes ones have their sizes and offsets."""
    try:
        compiler = find_compiler()
    except NoCompilerError as error:
        pytest.skip(str(error))
    path = tmp_path / "xe_drm.h"
    path.write_text(header())
    assert without_marks(Probe(find(str(path), tmp_path), compiler).table()) == without_marks(
        facts.of_module(xe)
    )


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="drm.h was measured for 64 bits")
def test_drm_core_is_that_of_the_measured_header() -> None:
    """drm.h has pointers and size_t in its oldest structures, so a recorded measure stands for it."""
    own: dict[str, object] = {}
    for name, fact in facts.of_module(drm).items():
        match fact:
            case Size(size=size):
                own[name] = size
            case Field():
                own[name] = [fact.offset, fact.size]
            case Number(number=number) | Value(value=number):
                own[name] = number
    assert own == DRM_H


@pytest.mark.parametrize("request_", xe.REQUESTS, ids=str)
def test_request_says_the_kernel_that_the_record_says(request_: xe.Request) -> None:
    """The age of a request is the same everywhere."""
    assert request_.since == history.since(request_.name)


def test_age_is_known_for_fields_and_flags() -> None:
    """An exact version where the one before was recorded too, an upper bound otherwise."""
    assert history.since("DRM_XE_VM_BIND_FLAG_DECOMPRESS") == "7.1"
    assert history.since("DRM_XE_VM_BIND_FLAG_MADVISE_AUTORESET") == "6.18"
    assert history.since("DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR") == "<=6.16"
    assert history.since("drm_xe_madvise.preferred_mem_loc.region_instance") == "7.0"
    assert history.since("DRM_XE_MAX_SYNCS") == "6.19"
    with pytest.raises(KeyError):
        history.since("DRM_XE_NO_SUCH_NAME")


def test_a_misspelt_field_is_an_error() -> None:
    """Plain ctypes structures accept any attribute and ignore it."""
    with pytest.raises(AttributeError):
        xe.drm_xe_vm_bind().vmid = 1
    with pytest.raises(AttributeError):
        xe.drm_xe_vm_create(flag=1)
    with pytest.raises(AttributeError):
        xe.drm_xe_madvise().atomic.value = 1


@pytest.mark.parametrize("module", [xe, drm])
def test_every_structure_refuses_unknown_attributes(module: object) -> None:
    """A single class without __slots__ would accept them again."""
    for struct in vars(module).values():
        if isinstance(struct, type) and issubclass(struct, ctypes.Structure | ctypes.Union):
            assert not hasattr(struct(), "__dict__"), struct


def test_unnamed_members_read_as_in_c() -> None:
    """Members of unnamed unions are the structure's own."""
    bind = xe.drm_xe_vm_bind(num_binds=1)
    bind.bind.cpu_addr_mirror_offset = -1
    assert bind.bind.obj_offset == bind.bind.userptr == 2**64 - 1
    bind.vector_of_binds = 0x1234
    assert bind.bind.extensions == 0x1234
    advise = xe.drm_xe_madvise()
    advise.preferred_mem_loc.devmem_fd = xe.DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM
    assert advise.preferred_mem_loc.devmem_fd == 0xFFFFFFFF == advise.atomic.val
