# SPDX-License-Identifier: MIT
"""GEM_CREATE and GEM_MMAP_OFFSET with one wrong field (xe_bo.c), with extensions and without."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from errno import E2BIG, EFAULT, EINVAL, ENOENT

import pytest

from fixtures import acts, behaviour
from fixtures.memory import PAGE
from fixtures.negative import (
    Call,
    Parts,
    Row,
    Table,
    above,
    each_bit,
    row,
    some_bits,
    spare_rows,
    unknown_flags,
    unknown_values,
)
from fixtures.sizes import SZ_64K
from fixtures.xe.device import Device
from fixtures.xe.flags import DEFER, SCANOUT, VISIBLE
from ioctl import xe
from suites.negative.values import (
    MAX_USER_EXTENSIONS,
    Extensions,
    close_object,
    create_object,
    linked,
    looping_chain,
    no_extensions,
    objects,
    off_page,
    strange_objects,
    strange_vms,
    too_long,
    unreadable,
)

WB, WC = xe.DRM_XE_GEM_CPU_CACHING_WB, xe.DRM_XE_GEM_CPU_CACHING_WC
EXTENSION = ctypes.sizeof(xe.drm_xe_ext_set_property)


def unknown_regions(call: Call, _: str) -> Iterator[int]:
    """No region at all, and each that MEM_REGIONS does not list, alone and next to system memory."""
    listed = sum(1 << region.instance for region in call.device.known_regions)
    yield 0
    for bit in range(32):
        if not listed >> bit & 1:
            yield 1 << bit
            yield 1 | 1 << bit


def chained(number: int) -> Extensions:
    """A chain of well-formed extensions."""
    return linked((xe.drm_xe_ext_set_property * number)())


GEM_CREATE = Table(
    xe.drm_xe_gem_create,
    row("extensions", lambda *_: unreadable(EXTENSION)[1:], EFAULT, behaviour("abi.gem-extensions")),
    row("extensions", looping_chain, E2BIG, behaviour("abi.gem-extensions"), label="loop"),
    row("extensions", too_long(chained), E2BIG, behaviour("abi.gem-extensions"), label="long"),
    row("size", (0,), EINVAL, behaviour("abi.gem-create.args"), label="zero"),
    row("size", off_page, EINVAL, behaviour("abi.gem-create.args"), label="unaligned"),
    row("placement", unknown_regions, EINVAL, behaviour("abi.gem-create.args")),
    row("flags", unknown_flags(), EINVAL, behaviour("abi.gem-create.args"), label="unknown"),
    row(
        "flags",
        (VISIBLE, VISIBLE | DEFER),
        EINVAL,
        behaviour("abi.gem-create.args"),
        label="visible-without-vram",
    ),
    row(
        "flags",
        (SCANOUT, SCANOUT | DEFER),
        EINVAL,
        behaviour("abi.gem-create.args"),
        label="scanout-write-back",
    ),
    row("vm_id", strange_vms, ENOENT, behaviour("abi.gem-create.args", "vm.lookup-errno-map")),
    row("handle", each_bit, EINVAL, behaviour("abi.gem-create.args")),
    row("cpu_caching", (0,), EINVAL, behaviour("abi.gem-create.args"), label="none"),
    row("cpu_caching", unknown_values, EINVAL, behaviour("abi.gem-create.args")),
    *spare_rows(xe.drm_xe_gem_create, behaviour("abi.gem-create.args")),
)


def creation(device: Device, build: Callable[[], xe.drm_xe_gem_create | Parts]) -> Call:
    """GEM_CREATE; undone by closing the handle."""
    return Call(
        device,
        xe.DRM_IOCTL_XE_GEM_CREATE,
        build,
        state=lambda: objects(device),
        undo=lambda argument: close_object(device, argument.handle),
    )


@pytest.fixture
def gem_create(device: Device) -> Call:
    """GEM_CREATE of 64 KiB of system memory, cached."""
    return creation(device, lambda: xe.drm_xe_gem_create(size=SZ_64K, placement=1, cpu_caching=WB))


@GEM_CREATE.rows
def test_gem_create_invalid_args(gem_create: Call, wrong: Row) -> None:
    """GEM_CREATE with one wrong field is refused, and creates no handle."""
    wrong.prove(gem_create)


@behaviour("abi.gem-extensions")
@acts("ioctl")
def test_gem_create_with_16_extensions(device: Device) -> None:
    """GEM_CREATE accepts a chain of 16 extensions."""
    chain = chained(MAX_USER_EXTENSIONS)
    argument = xe.drm_xe_gem_create(
        size=SZ_64K, placement=1, cpu_caching=WB, extensions=ctypes.addressof(chain)
    )
    device.ioctl(xe.DRM_IOCTL_XE_GEM_CREATE, argument)
    assert argument.handle
    assert argument.handle in objects(device)
    close_object(device, argument.handle)


EXTENSIONS = Table(
    {"second": xe.drm_xe_ext_set_property},
    row(
        "second.base.next_extension",
        lambda *_: unreadable(EXTENSION)[1:],
        EFAULT,
        behaviour("abi.gem-extensions"),
    ),
    row("second.base.next_extension", looping_chain, E2BIG, behaviour("abi.gem-extensions"), label="loop"),
    row("second.base.name", above(0), EINVAL, behaviour("abi.gem-extensions")),
    row("second.property", above(0), EINVAL, behaviour("abi.gem-extensions")),
    row("second.base.pad", each_bit, EINVAL, behaviour("abi.gem-extensions")),
    row("second.pad", each_bit, EINVAL, behaviour("abi.gem-extensions")),
    row("second.value", (2, 3, 1 << 32, (1 << 64) - 1), EINVAL, behaviour("abi.gem-extensions")),
    row("second.reserved", some_bits, None, behaviour("abi.extension-reserved")),
)


@pytest.fixture
def gem_create_with_extensions(device: Device) -> Call:
    """GEM_CREATE with two extensions that change nothing: no protected content."""

    def build() -> Parts:
        first, second = xe.drm_xe_ext_set_property(), xe.drm_xe_ext_set_property()
        first.base.next_extension = ctypes.addressof(second)
        argument = xe.drm_xe_gem_create(size=SZ_64K, placement=1, cpu_caching=WB)
        argument.extensions = ctypes.addressof(first)
        return Parts(argument, first, second=second)

    return creation(device, build)


@EXTENSIONS.rows
def test_gem_create_invalid_last_extension(gem_create_with_extensions: Call, wrong: Row) -> None:
    """GEM_CREATE with a wrong field in the last extension of a chain is refused."""
    wrong.prove(gem_create_with_extensions)


GEM_MMAP_OFFSET = Table(
    xe.drm_xe_gem_mmap_offset,
    *no_extensions(behaviour("abi.gem-mmap-offset.args")),
    row("handle", strange_objects, ENOENT, behaviour("abi.gem-mmap-offset.args")),
    row("handle", (0,), ENOENT, behaviour("abi.gem-mmap-offset.args"), label="none"),
    row("flags", unknown_flags(), EINVAL, behaviour("abi.gem-mmap-offset.args")),
    row("flags", (1,), EINVAL, behaviour("abi.gem-mmap-offset.args"), label="barrier-with-handle"),
    row("offset", (1, PAGE, 1 << 63), None, behaviour("abi.output-in")),
    *spare_rows(xe.drm_xe_gem_mmap_offset, behaviour("abi.gem-mmap-offset.args")),
)


@pytest.fixture
def gem_mmap_offset(device: Device) -> Call:
    """GEM_MMAP_OFFSET of a BO."""
    handle = create_object(device)
    return Call(device, xe.DRM_IOCTL_XE_GEM_MMAP_OFFSET, lambda: xe.drm_xe_gem_mmap_offset(handle=handle))


@GEM_MMAP_OFFSET.rows
def test_gem_mmap_offset_invalid_args(gem_mmap_offset: Call, wrong: Row) -> None:
    """GEM_MMAP_OFFSET with one wrong field is refused, and returns no offset."""
    wrong.prove(gem_mmap_offset)
