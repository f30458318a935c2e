# SPDX-License-Identifier: MIT
"""Files of fault injection, the calls that they make fail, and the driver's error paths."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from ioctl import xe
from mock.driver.lib.errors import Refused
from mock.driver.lib.fault_inject import FaultInjection
from mock.driver.pagemap import migrate
from mock.driver.pagemap.process import Process
from mock.kernel import PAGE_SIZE
from tests.mock.driver.double import Client
from tests.mock.driver.gpu_client import FAULT, Gpu

ENOMEM = f"{(1 << 64) - errno.ENOMEM:#x}"
HIT = "xe_vma_ops_alloc"
OTHER = "xe_pt_create"
TASK = 7


@pytest.fixture
def faults() -> FaultInjection:
    """Fault injection with ``HIT`` on the list, to fail with ENOMEM."""
    made = FaultInjection()
    made.write("fail_function/inject", f"{HIT}\n".encode())
    made.write(f"fail_function/{HIT}/retval", ENOMEM.encode())
    return made


def fails(faults: FaultInjection, name: str = HIT, task: int | None = TASK) -> int:
    """Errno of a function; 0 if it succeeds."""
    try:
        faults.enter(name, task)
    except Refused as refusal:
        return refusal.code
    return 0


def refused(code: int, faults: FaultInjection, path: str, data: bytes) -> None:
    """A write that gives an errno."""
    with pytest.raises(Refused) as caught:
        faults.write(path, data)
    assert caught.value.code == code


def test_a_function_fails_so_many_times(faults: FaultInjection) -> None:
    """Nothing fails at probability 0; then the function on the list does, until ``times`` is used up."""
    assert fails(faults) == 0
    faults.write("fail_function/probability", b"100")
    faults.write("fail_function/times", b"2\n")
    assert [fails(faults, OTHER), fails(faults), fails(faults, task=None), fails(faults)] == [0, 12, 12, 0]
    assert faults.read("fail_function/times") == b"0\n"
    faults.write("fail_function/times", b"-1")
    assert [fails(faults) for _ in range(5)] == [12] * 5


def test_space_and_interval_let_calls_through(faults: FaultInjection) -> None:
    """``space`` lets calls pass before the first, ``interval`` between them."""
    faults.write("fail_function/probability", b"100")
    faults.write("fail_function/times", b"-1")
    faults.write("fail_function/space", b"3")
    assert [fails(faults) for _ in range(4)] == [0, 0, 12, 12]
    faults.write("fail_function/interval", b"2")
    assert [fails(faults) for _ in range(4)] == [0, 12, 0, 12]


def test_the_list_of_functions(faults: FaultInjection) -> None:
    """``inject`` adds and removes, ``injectable`` lists the functions, ``retval`` has the return value of one."""
    assert b"xe_pt_update_ops_run [xe]\tERRNO\n" in (faults.read("fail_function/injectable") or b"")
    assert faults.read("fail_function/inject") == f"{HIT} [xe]\n".encode()
    assert faults.read(f"fail_function/{HIT}/retval") == b"fffffffffffffff4\n"
    assert faults.read(f"fail_function/{OTHER}/retval") is None
    faults.write("fail_function/inject", OTHER.encode())
    assert faults.read(f"fail_function/{OTHER}/retval") == b"ffffffffffffffea\n"
    refused(errno.EBUSY, faults, "fail_function/inject", OTHER.encode())
    refused(errno.EINVAL, faults, "fail_function/inject", b"xe_no_such_function")
    refused(errno.ENOENT, faults, "fail_function/inject", b"!xe_vm_create_scratch")
    refused(errno.ENOENT, faults, "fail_function/xe_vm_create_scratch/retval", b"-1")
    for retval in (b"0", b"12", b"-4096", b"many"):
        refused(errno.EINVAL, faults, f"fail_function/{HIT}/retval", retval)
    faults.write("fail_function/inject", f"!{HIT}".encode())
    assert faults.read("fail_function/inject") == f"{OTHER} [xe]\n".encode()
    faults.write("fail_function/inject", b"\n")
    assert faults.read("fail_function/inject") == b""


def test_the_nth_allocation_of_a_thread_fails() -> None:
    """``fail-nth`` counts the allocations of one thread that may wait, once failslab is set to include them."""
    faults = FaultInjection()
    faults.set_fail_nth(TASK, b"1")
    faults.kmalloc(TASK)
    assert faults.fail_nth(TASK) == b"1\n"
    faults.write("failslab/ignore-gfp-wait", b"N")
    faults.set_fail_nth(TASK, b"2\n")
    faults.kmalloc(TASK + 1)
    faults.kmalloc(None)
    faults.kmalloc(TASK)
    with pytest.raises(Refused) as caught:
        faults.kmalloc(TASK, errno.ENOBUFS)
    assert caught.value.code == errno.ENOBUFS
    assert faults.fail_nth(TASK) == b"0\n"
    faults.write("failslab/cache-filter", b"Y")
    faults.set_fail_nth(TASK, b"1")
    faults.kmalloc(TASK)
    assert faults.fail_nth(TASK) == b"1\n", "no cache is one that may fail"
    assert faults.read("failslab/times") == b"0\n"
    faults.kmalloc(TASK)


def test_an_allocation_fails_by_who_makes_it() -> None:
    """With ``require-start`` and ``require-end`` only what is allocated in that code fails."""
    faults = FaultInjection()
    lines = [line.split() for line in faults.kallsyms().decode().splitlines()]
    address = next(int(address, 16) for address, _, name, _ in lines if name == "drm_gpusvm_get_pages")
    for name, text in {
        "ignore-gfp-wait": "N",
        "require-start": f"{address:#x}",
        "require-end": f"{address + 1:#x}",
        "probability": "100",
    }.items():
        faults.write(f"failslab/{name}", text.encode())
    faults.kmalloc(TASK)
    faults.kmalloc(caller="xe_pt_create")
    with pytest.raises(Refused):
        faults.kmalloc(caller="drm_gpusvm_get_pages")
    assert faults.read("failslab/require-start") == f"0x{address:016x}\n".encode()


def test_files() -> None:
    """There are the kernel's files, all but one can be written, and what is not a value of theirs is refused."""
    faults = FaultInjection()
    for directory in ("fail_function", "failslab", "fail_page_alloc"):
        for name, value in {"probability": b"0", "interval": b"1", "times": b"1", "space": b"0"}.items():
            assert faults.read(f"{directory}/{name}") == value + b"\n"
            assert faults.writable(f"{directory}/{name}")
            refused(errno.EINVAL, faults, f"{directory}/{name}", b"x")
        refused(errno.EINVAL, faults, f"{directory}/probability", b"-1")
    assert faults.read("failslab/ignore-gfp-wait") == b"Y\n"
    assert faults.read("failslab/cache-filter") == b"N\n"
    assert faults.read("fail_page_alloc/min-order") == b"1\n"
    refused(errno.EINVAL, faults, "failslab/ignore-gfp-wait", b"maybe")
    assert not faults.writable("fail_function/injectable")
    for path in ("", "failslab", "failslab/inject", "fail_futex/times"):
        assert faults.read(path) is None
        assert not faults.writable(path)


def test_the_driver_has_the_files(client: Client) -> None:
    """They are where the kernel has them, next to those of the devices."""
    driver, times, nth = client.driver, "/sys/kernel/debug/failslab/times", "/proc/7/fail-nth"
    driver.write_file(times, b"3")
    driver.write_file(nth, b"4")
    assert driver.read_file(times) == b"3\n"
    assert (driver.read_file(nth), driver.read_file("/proc/8/fail-nth")) == (b"4\n", b"0\n")
    assert [
        driver.writable_file(path) for path in (times, nth, "/sys/kernel/debug/fail_function/injectable")
    ] == [
        True,
        True,
        False,
    ]


def inject(client: Client, name: str, *, times: int = -1) -> None:
    """Makes a function of the driver fail with ENOMEM."""
    for path, text in (
        ("inject", name),
        (f"{name}/retval", ENOMEM),
        ("times", str(times)),
        ("probability", "100"),
    ):
        client.driver.write_file(f"/sys/kernel/debug/fail_function/{path}", text.encode())


def test_vm_create_tries_twice_for_memory(client: Client) -> None:
    """VM_CREATE survives one failed allocation; with two it fails and leaves no VM."""
    inject(client, "xe_pt_create", times=1)
    client.call(xe.DRM_IOCTL_XE_VM_CREATE, xe.drm_xe_vm_create())
    vms = client.file.scheduler.vms
    known = len(vms)
    client.driver.write_file("/sys/kernel/debug/fail_function/times", b"2")
    assert client.refused(xe.DRM_IOCTL_XE_VM_CREATE, xe.drm_xe_vm_create()) == errno.ENOMEM
    assert len(vms) == known
    client.call(xe.DRM_IOCTL_XE_VM_CREATE, xe.drm_xe_vm_create())


def test_a_failed_collection_bans_the_vm(client: Client) -> None:
    """A range that the collector cannot remove bans its VM; a range that was never mapped needs no page tables."""
    gpu = Gpu(client)
    vm = gpu.vm(FAULT)
    size = 1 << client.file.device.profile.va_bits
    gpu.bind(vm, gpu.op(range=size, flags=xe.DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR))
    svm = client.file.vms.get(vm).svm  # type: ignore[union-attr]
    buffers = [client.mm.map(1 << 16), client.mm.map(1 << 16)]
    mapped = [svm.find_or_insert(svm.vm.vmas.at(buffer), buffer, threshold=0) for buffer in buffers]
    mapped[1].tile_present = 1
    inject(client, "xe_pt_update_ops_run")
    client.mm.unmap(buffers[0])
    client.run()
    assert not svm.vm.banned
    client.mm.unmap(buffers[1])
    client.run()
    assert svm.vm.banned


def in_vram(client: Client, size: int) -> tuple[Process, int]:
    """Memory of the client that is in VRAM: its process and its address."""
    device = client.file.device
    pagemap, process = device.tiles[0].pagemap, device.machine.processes.of(client.mm)
    assert pagemap is not None
    address = client.mm.map(size, align=size)
    migrate.to_vram(process, pagemap, address, address + size)
    assert len(client.mm.isolated(address, address + size)) == size // PAGE_SIZE
    return process, address


def page_failures(client: Client, *, min_order: int, nth: int) -> None:
    """The nth allocation of that size or more by the thread ``TASK`` fails from now on."""
    for name, text in (("ignore-gfp-wait", "N"), ("ignore-gfp-highmem", "N"), ("min-order", str(min_order))):
        client.driver.write_file(f"/sys/kernel/debug/fail_page_alloc/{name}", text.encode())
    client.driver.write_file(f"/proc/{TASK}/fail-nth", str(nth).encode())


@pytest.mark.parametrize("nth", [1, 16])
def test_memory_without_pages_for_it_stays_in_vram(client: Client, nth: int) -> None:
    """If a page of an allocation is not available, all of it stays, and returns at the next try."""
    process, address = in_vram(client, 1 << 16)
    page_failures(client, min_order=0, nth=nth)
    with pytest.raises(Refused) as caught:
        process.cpu_fault(client.mm, address, write=False, tid=TASK)
    assert caught.value.code == errno.ENOMEM
    assert len(client.mm.isolated(address, address + (1 << 16))) == 16
    process.cpu_fault(client.mm, address, write=False, tid=TASK)
    assert not client.mm.isolated(address, address + (1 << 16))


@pytest.mark.parametrize(("level", "left"), [("7.0", b"1\n"), ("7.1", b"0\n")])
def test_a_large_page_comes_back_as_small_ones(open_client: Any, level: str, left: bytes) -> None:
    """The large page of kernels from 7.1 on fails; then there are small ones."""
    client = open_client("bmg", level)
    process, address = in_vram(client, 1 << 21)
    page_failures(client, min_order=9, nth=1)
    process.cpu_fault(client.mm, address, write=False, tid=TASK)
    assert client.driver.read_file(f"/proc/{TASK}/fail-nth") == left
    assert not client.mm.isolated(address, address + (1 << 21))
