# SPDX-License-Identifier: MIT
"""Wrong values that several tables share: addresses, places, and ids that mean nothing to this file."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
from collections.abc import Callable, Collection, Iterator
from errno import EINVAL

import pytest

from fixtures.memory import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PAGE, PROT_READ, READ_WRITE, mmap, reserve
from fixtures.negative import Call, Row, each_bit, row
from fixtures.sizes import SZ_64K
from fixtures.xe.device import Device
from ioctl import Request, drm, xe
from ioctl.layout import Structure

UNKNOWN = (0x1234_5678, 0x7FFF_FFFF, 0xFFFF_FFFF)
"""Ids and handles that were never allocated."""
KERNEL = 0xFFFF_8000_0000_0000
"""An address that is the kernel's (x86-64)."""
NON_CANONICAL = 0x8000_0000_0000_0000
"""An address that no page can have (x86-64)."""
RESERVED_PAT = (17, 19)
"""PAT indices that the tables of Xe2 and Xe3 leave out (xe_pat.c: xe2_pat_table, xe3_lpg_pat_table)."""
Extensions = ctypes.Array[xe.drm_xe_ext_set_property]
SEEN = 24
"""Ids that ``alive`` looks at: more than a test makes."""


# Pointers


@functools.cache
def _pages() -> int:
    """Three pages that stay: one that may be read only, one of both, one of neither: the address of the first."""
    start = reserve(3 * PAGE)
    mmap(start, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    mmap(start + PAGE, PAGE, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    return start


def unreadable(size: int) -> tuple[int, ...]:
    """Addresses at which ``size`` bytes cannot be read: NULL, low, no access, half out of the mapping, the kernel's."""
    forbidden = _pages() + 2 * PAGE
    return (0, 8, forbidden, forbidden - size + 8, KERNEL, NON_CANONICAL)


def unwritable() -> tuple[int, ...]:
    """Addresses that cannot be written: NULL, low, no access, the kernel's, and read-only memory.

    Not half out of the mapping: the kernel may write the half that is inside before it finds out.
    """
    return (0, 8, _pages() + 2 * PAGE, KERNEL, NON_CANONICAL, _pages())


MAX_USER_EXTENSIONS = 16
"""Extensions that may be chained (xe_bo.c, xe_exec_queue.c)."""


def looping(make: Callable[[], xe.drm_xe_ext_set_property]) -> Callable[..., Iterator[int]]:
    """An extension that points to itself."""

    def values(*_: object) -> Iterator[int]:
        extension = make()
        extension.base.next_extension = ctypes.addressof(extension)
        yield ctypes.addressof(extension)

    return values


looping_chain = looping(xe.drm_xe_ext_set_property)
"""A well-formed extension that points to itself."""


def too_long(chained: Callable[[int], Extensions]) -> Callable[..., Iterator[int]]:
    """A chain of one extension more than may be chained."""

    def values(*_: object) -> Iterator[int]:
        chain = chained(MAX_USER_EXTENSIONS + 1)
        yield ctypes.addressof(chain)

    return values


def no_extensions(mark: pytest.MarkDecorator) -> tuple[Row, ...]:
    """A chain of extensions where the ioctl takes none."""
    return (
        row("extensions", each_bit, EINVAL, mark),
        row("extensions", looping_chain, EINVAL, mark, label="loop"),
    )


# Places


def linked(chain: Extensions) -> Extensions:
    """The same extensions, each of which points to the next."""
    for here, following in itertools.pairwise(chain):
        here.base.next_extension = ctypes.addressof(following)
    return chain


def off_page(call: Call, path: str) -> Iterator[int]:
    """The right value and some bytes, so that it is not a multiple of 4 KiB."""
    holder, name, _ = call.build().place(path)
    right = getattr(holder, name)
    yield from (right + 1, right + 8, right + 2048, right + 4095)


def beyond(size: int) -> list[tuple[int, int]]:
    """Addresses and ranges that leave an address space of ``size`` bytes, by a page or by far, or wrap around."""
    top = 1 << 64
    return [
        (size, PAGE),
        (size - PAGE, 2 * PAGE),
        (0, size + PAGE),
        (PAGE, size),
        (1 << 63, PAGE),
        (top - PAGE, PAGE),
        (top - PAGE, 2 * PAGE),
        (size - PAGE, top - PAGE),
        (0, top - PAGE),
    ]


# Ids


def alive(device: Device, request: Request, argument: type[Structure], name: str) -> set[int]:
    """The first ids that an ioctl without side effects accepts."""
    found = set()
    for number in range(SEEN):
        with contextlib.suppress(OSError):
            device.ioctl(request, argument(**{name: number}))
            found.add(number)
    return found


def vms(device: Device) -> set[int]:
    """Ids of the file's VMs: those that accept a bind without operations."""
    return alive(device, xe.DRM_IOCTL_XE_VM_BIND, xe.drm_xe_vm_bind, "vm_id")


def queues(device: Device) -> set[int]:
    """Ids of the file's exec queues: those that can be asked whether they are banned."""
    return alive(
        device, xe.DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, xe.drm_xe_exec_queue_get_property, "exec_queue_id"
    )


def objects(device: Device) -> set[int]:
    """The file's handles: those that have an offset for mmap(2)."""
    return alive(device, xe.DRM_IOCTL_XE_GEM_MMAP_OFFSET, xe.drm_xe_gem_mmap_offset, "handle")


def create_vm(device: Device, flags: int = 0) -> int:
    """VM_CREATE: the id."""
    argument = xe.drm_xe_vm_create(flags=flags)
    device.ioctl(xe.DRM_IOCTL_XE_VM_CREATE, argument)
    return int(argument.vm_id)


def destroy_vm(device: Device, number: int) -> None:
    """VM_DESTROY."""
    device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=number))


def create_object(device: Device) -> int:
    """GEM_CREATE of 64 KiB in system memory: the handle."""
    argument = xe.drm_xe_gem_create(size=SZ_64K, placement=1, cpu_caching=xe.DRM_XE_GEM_CPU_CACHING_WB)
    device.ioctl(xe.DRM_IOCTL_XE_GEM_CREATE, argument)
    return int(argument.handle)


def close_object(device: Device, handle: int) -> None:
    """GEM_CLOSE."""
    device.ioctl(drm.DRM_IOCTL_GEM_CLOSE, drm.drm_gem_close(handle=handle))


def create_queue(device: Device, vm: int) -> int:
    """EXEC_QUEUE_CREATE on the device's first engine: the id."""
    engine = device.known_engines[0]
    argument = xe.drm_xe_exec_queue_create(
        width=1, num_placements=1, vm_id=vm, instances=ctypes.addressof(engine)
    )
    device.ioctl(xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, argument)
    return int(argument.exec_queue_id)


def destroy_queue(device: Device, number: int) -> None:
    """EXEC_QUEUE_DESTROY."""
    device.ioctl(xe.DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, xe.drm_xe_exec_queue_destroy(exec_queue_id=number))


def create_syncobj(device: Device) -> int:
    """SYNCOBJ_CREATE, signalled: the handle."""
    argument = drm.drm_syncobj_create(flags=drm.DRM_SYNCOBJ_CREATE_SIGNALED)
    device.ioctl(drm.DRM_IOCTL_SYNCOBJ_CREATE, argument)
    return int(argument.handle)


def destroy_syncobj(device: Device, handle: int) -> None:
    """SYNCOBJ_DESTROY."""
    device.ioctl(drm.DRM_IOCTL_SYNCOBJ_DESTROY, drm.drm_syncobj_destroy(handle=handle))


def _strange(
    call: Call,
    create: Callable[[Device], int],
    destroy: Callable[[Device, int], None],
    known: Collection[int],
) -> Iterator[int]:
    """Ids that this file does not have: never given, given back, and another file's."""
    yield from UNKNOWN
    stale = create(call.device)
    destroy(call.device, stale)
    yield stale
    with Device(call.device.path) as other:
        number = create(other)
        while number in known:
            number = create(other)
        yield number


def strange_vms(call: Call, _: str) -> Iterator[int]:
    """Numbers that do not name a VM of this file."""
    yield from _strange(call, create_vm, destroy_vm, vms(call.device))


def strange_objects(call: Call, _: str) -> Iterator[int]:
    """Numbers that do not name a BO of this file."""
    yield from _strange(call, create_object, close_object, objects(call.device))


def strange_queues(call: Call, _: str) -> Iterator[int]:
    """Numbers that do not name an exec queue of this file."""

    def create(device: Device) -> int:
        return create_queue(device, create_vm(device))

    yield from _strange(call, create, destroy_queue, queues(call.device))


def strange_syncobjs(call: Call, _: str) -> Iterator[int]:
    """Numbers that do not name a syncobj of this file."""
    yield 0
    yield from UNKNOWN
    stale = create_syncobj(call.device)
    destroy_syncobj(call.device, stale)
    yield stale
