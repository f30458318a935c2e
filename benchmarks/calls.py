# SPDX-License-Identifier: MIT
"""Cost of system calls that the mock handles, compared with those of the kernel."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import mmap
import os
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from benchmarks.sample import Group, Measure
from benchmarks.subject import Operation, Subject, timed
from fixtures.xe.bo import Bo
from fixtures.xe.device import Device
from fixtures.xe.vm import FAULTING, PLAIN, Vm
from ioctl import Request, drm, xe
from mock.attach import attach

_PLATFORM = "lnl"
_NODE = "/dev/dri/renderD128"
_CARD = "/dev/dri/card0"

PLAIN_CALL = "ioctl(FIONREAD) of a memfd, no mock"
PLAIN_MUNMAP = "mmap, store and munmap, no mock"
CALLS = {
    "pipe": "a byte through a pipe there and back, no mock",
    "empty": "SET_MASTER: no argument",
    "struct": "DEVICE_QUERY for the size: 40 bytes in and out",
    "refused": "VM_DESTROY of no VM: 24 bytes in, ENOENT",
    "gem": "GEM_CREATE and GEM_CLOSE",
    "bind": "VM_BIND: map and unmap",
    "open": "open and close of the node",
    "foreign open": "open and close of /dev/null",
    "munmap": "mmap, store and munmap of memory that no GPU used",
}
_PEERS = {"munmap": PLAIN_MUNMAP}
"""The peer of a call; PLAIN_CALL for all others."""
_COUNTS = {
    "plain": 2000,
    "munmap": 500,
    "pipe": 500,
    "empty": 1000,
    "struct": 500,
    "refused": 500,
    "gem": 200,
    "bind": 200,
    "open": 100,
}


def measure(rounds: int, scale: float) -> Iterator[Group]:
    """Groups for each way in which the client and the mock share processors. ``scale`` is a part of the usual
    number of calls.
    """
    cpus = sorted(os.sched_getaffinity(0))
    ways: list[tuple[str, Callable[[], Mapping[str, Operation]]]] = [
        ("client and mock on one processor", functools.partial(_mock, cpus[0], cpus[0])),
        ("as scheduled", functools.partial(_mock, None, None)),
    ]
    if len(cpus) > 1:
        across = functools.partial(_mock, cpus[0], cpus[1])
        ways.insert(1, ("client and mock on two processors: each call wakes up the other one", across))
    for title, make in ways:
        with _subjects(functools.partial(_plain, cpus[0]), make) as (plain, mock):
            yield Group(f"system calls, {title}", list(_compare(plain, mock, rounds, scale)))


@contextmanager
def _subjects(*makes: Callable[[], Mapping[str, Operation]]) -> Iterator[list[Subject]]:
    with ExitStack() as stack:
        subjects = []
        for make in makes:
            subject = Subject(make)
            stack.callback(subject.close)
            subjects.append(subject)
        yield subjects


def _compare(plain: Subject, mock: Subject, rounds: int, scale: float) -> Iterator[Measure]:
    first: dict[str, list[list[float]]] = {}
    plains: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for name in mock.operations:
            # Alternating, so that other load affects both.
            peer = name if name in _PEERS else "plain"
            before = plain.run(peer, int(_COUNTS[peer] * scale) or 1)[peer]
            count = int(_COUNTS.get(name, 100) * scale) or 1
            first.setdefault(name, []).append(mock.run(name, count)[name])
            plains.setdefault(name, []).append(before)
    of_ioctl = [rounds_ for name, rounds_ in plains.items() if name not in _PEERS]
    yield Measure(PLAIN_CALL, "us", [values for rounds_ in of_ioctl for values in rounds_])
    for name, title in _PEERS.items():
        yield Measure(title, "us", plains[name])
    for name, values in first.items():
        yield Measure(CALLS[name], "us", values, Measure(_PEERS.get(name, PLAIN_CALL), "us", plains[name]))


def _plain(cpu: int) -> Mapping[str, Operation]:
    """The mock's descriptors are memfds too."""
    os.sched_setaffinity(0, {cpu})
    fd = os.memfd_create("plain")
    number = ctypes.c_int()
    return {
        "plain": timed("plain", lambda: fcntl.ioctl(fd, termios.FIONREAD, number, True)),
        "munmap": timed("munmap", _map_and_unmap),
    }


def _map_and_unmap() -> None:
    with mmap.mmap(-1, 1 << 16, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[0] = 1


def _pipe(cpu: int | None) -> Callable[[], object]:
    """Two wake-ups: that of a process which waits on ``cpu``, and of this one."""
    there, back = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(there[1])
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        while os.read(there[0], 1):
            os.write(back[1], b"x")
        os._exit(0)
    os.close(there[0])

    def act() -> None:
        os.write(there[1], b"x")
        os.read(back[0], 1)

    return act


def _mock(client: int | None, mock: int | None) -> Mapping[str, Operation]:
    if client is not None:
        os.sched_setaffinity(0, {client})
    pipe = _pipe(mock)  # of a process without the filter
    attachment = attach(_PLATFORM)
    if mock is not None:
        os.sched_setaffinity(attachment.pid, {mock})
    card, device = os.open(_CARD, os.O_RDWR), Device(_NODE)
    vm, bo = Vm(device, PLAIN), Bo(device, 1 << 16)
    mirrored = Vm(device, FAULTING)
    mirrored.mirror()
    acts: dict[str, Callable[[], object]] = {
        "pipe": pipe,
        "empty": lambda: fcntl.ioctl(card, drm.DRM_IOCTL_SET_MASTER.number),
        "struct": _struct(device),
        "refused": _refused(device),
        "gem": _gem(device),
        "bind": _bind(vm, bo),
        "open": lambda: os.close(os.open(_NODE, os.O_RDWR)),
        "foreign open": lambda: os.close(os.open("/dev/null", os.O_RDWR)),
        "munmap": _map_and_unmap,
    }
    for act in acts.values():
        act()
    return {name: timed(name, act) for name, act in acts.items()}


def _raw(device: Device, request: Request, argument: ctypes.Structure) -> None:
    """An ioctl without the transcript, whose cost is not the mock's."""
    fcntl.ioctl(device.fd, request.number, argument, True)


def _struct(device: Device) -> Callable[[], object]:
    query = xe.drm_xe_device_query(query=xe.DRM_XE_DEVICE_QUERY_CONFIG)

    def act() -> None:
        query.size = 0
        _raw(device, xe.DRM_IOCTL_XE_DEVICE_QUERY, query)

    return act


def _refused(device: Device) -> Callable[[], object]:
    destroy = xe.drm_xe_vm_destroy(vm_id=0xFFFF)

    def act() -> None:
        try:
            _raw(device, xe.DRM_IOCTL_XE_VM_DESTROY, destroy)
        except FileNotFoundError:
            return
        raise AssertionError("VM_DESTROY of no VM succeeded")

    return act


def _gem(device: Device) -> Callable[[], object]:
    create = xe.drm_xe_gem_create(size=1 << 16, placement=1, cpu_caching=xe.DRM_XE_GEM_CPU_CACHING_WB)
    close = drm.drm_gem_close()

    def act() -> None:
        create.handle = 0
        _raw(device, xe.DRM_IOCTL_XE_GEM_CREATE, create)
        close.handle = create.handle
        _raw(device, drm.DRM_IOCTL_GEM_CLOSE, close)

    return act


def _bind(vm: Vm, bo: Bo) -> Callable[[], object]:
    def argument(op: int, handle: int) -> ctypes.Structure:
        bind = xe.drm_xe_vm_bind(vm_id=vm.id, num_binds=1)
        bind.bind.op, bind.bind.obj = op, handle
        bind.bind.addr, bind.bind.range = 1 << 32, bo.size
        bind.bind.pat_index = vm.device.write_back_pat
        return bind

    bound, unbound = argument(xe.DRM_XE_VM_BIND_OP_MAP, bo.handle), argument(xe.DRM_XE_VM_BIND_OP_UNMAP, 0)

    def act() -> None:
        _raw(vm.device, xe.DRM_IOCTL_XE_VM_BIND, bound)
        _raw(vm.device, xe.DRM_IOCTL_XE_VM_BIND, unbound)

    return act
