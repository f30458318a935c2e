# SPDX-License-Identifier: MIT
"""The virtual machine as data, and the QEMU command line it stands for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

GIB = 1 << 30
NODES = 2  # of NUMA: pages that can be moved from one to another
SWAP = 256 << 20  # bytes of the disk to swap to
# Serial ports. A machine has all of them, also those that a run does not use: copies of a saved machine are alike.
TERMINAL = "terminal"
PORTS = ("control", "status", "checks", "orders", "stdin", "stdout", "stderr", TERMINAL)


class Topology(StrEnum):
    """Connection of two GPUs. The kernel grants p2p below a common switch (drivers/pci/p2pdma.c)."""

    NEAR = "near"
    FAR = "far"


@dataclass(frozen=True)
class Machine:
    """Configuration of the machine.

    ``memory`` is in bytes, ``options`` are further kernel parameters, ``emulator`` further arguments of the emulated
    GPUs (``python -m guest.emulator --help``). With ``iommu``, they only reach memory that the kernel has mapped.
    """

    gpus: int = 1
    topology: Topology = Topology.NEAR
    memory: int = 4 * GIB
    cpus: int = 2
    options: Sequence[str] = ()
    emulator: Sequence[str] = ()
    iommu: bool = False

    @property
    def node_memory(self) -> int:
        """Bytes of memory of each NUMA node."""
        return self.memory // NODES


@dataclass(frozen=True)
class Wiring:
    """Connections between the machine and a run: paths as QEMU sees them, and file descriptors that it inherits.

    ``memory`` has a file for each NUMA node, ``swap`` is the disk to swap to.
    """

    kernel: Path
    initrd: Path
    memory: Sequence[str]
    swap: str
    console: Path
    scratch: Path
    ports: dict[str, int]
    monitor: int


PARAMETERS = (
    "console=ttyS0",
    "printk.devkmsg=on",  # the suite writes a mark for each test
    # Whatever goes wrong ends the guest at once, with its reason on the console.
    "panic=-1",
    "oops=panic",
    "softlockup_panic=1",
    "hung_task_panic=1",
    "watchdog_thresh=30",
    # No hardware behind these: they only cost start time.
    "mitigations=off",
    "tsc=reliable",
    "random.trust_cpu=on",
    "8250.nr_uarts=1",
    "audit=0",
    # For the tests of memory kinds: huge pages of 2 MiB while there are any, and pages that move to another node when a
    # test requests it, not when the kernel decides to scan for their users.
    "hugepages=32",
    "numa_balancing=disable",
    # Room for GPUs that are plugged in later (hp*size), allocated again below the ports (resource_alignment): firmware
    # gives an empty port next to nothing. 1b36:000c is QEMU's root port, 104c:823* the switch.
    "pci=hpmmioprefsize=8G,hpmmiosize=32M,"
    "resource_alignment=20@pci:1b36:000c;20@pci:104c:8232;20@pci:104c:8233",
)


IOMMU_PARAMETERS = (
    "intel_iommu=on",
    "iommu.strict=1",  # what is unmapped is gone when the call returns
)


def parameters(machine: Machine) -> str:
    return " ".join((*PARAMETERS, *(IOMMU_PARAMETERS if machine.iommu else ()), *machine.options))


def iommu(machine: Machine) -> list[str]:
    """The IOMMU. In caching mode the kernel reports each new mapping, which QEMU passes on to the GPUs."""
    return device(driver="intel-iommu", **{"caching-mode": True}) if machine.iommu else []


def device(**properties: object) -> list[str]:
    """One -device in JSON."""
    return ["-device", json.dumps(properties)]


def gpu_ports(machine: Machine) -> list[str]:
    """Slots of GPUs: below one PCIe switch (p2p is possible), or each at a root port (it is not)."""
    words: list[str] = []
    near = machine.topology is Topology.NEAR and machine.gpus > 1
    if near:
        words += device(driver="pcie-root-port", id="root", bus="pcie.0", chassis=1, addr="8")
        words += device(driver="x3130-upstream", id="switch", bus="root")
    for index in range(machine.gpus):
        port = f"port{index}"
        if near:
            words += device(driver="xio3130-downstream", id=port, bus="switch", chassis=2 + index, port=index)
        else:
            root = {"id": port, "bus": "pcie.0", "chassis": 1 + index, "addr": f"{8 + index}"}
            words += device(driver="pcie-root-port", **root)
    return words


def gpu(index: int, socket: str) -> dict[str, object]:
    """The properties of one GPU's device."""
    where = {"type": "unix", "path": socket}
    return {"driver": "vfio-user-pci", "id": f"gpu{index}", "bus": f"port{index}", "socket": where}


def processor(accelerator: str) -> str:
    """The model of the virtual processors: all that the accelerator can do, except for slow features of emulation.

    Without la57 there is a level less in every page walk. With erms or fsrm the kernel and libc copy and clear memory
    by ``rep movsb``, where a byte costs QEMU as much as a word of the usual loops: a page takes ten times as long.
    With smap each copy from or to a program changes the table of translations that QEMU uses, twice.
    """
    return "max,la57=off,erms=off,fsrm=off,smap=off" if accelerator.startswith("tcg") else "max"


def memory_nodes(machine: Machine, files: Sequence[str]) -> list[str]:
    """NUMA nodes, each with a file of its own for its memory; the processors are all at the first one.

    Each has a file of its own, not a part of one: QEMU tells the GPUs the offset of a page in its block of memory, not
    in the file (hw/vfio-user/container.c: vfio_user_dma_map).
    """
    words: list[str] = []
    for node, file in enumerate(files):
        memory = {"qom-type": "memory-backend-file", "id": f"ram{node}", "mem-path": file}
        words += ["-object", json.dumps({**memory, "size": machine.node_memory, "share": True})]
        cpus = f",cpus=0-{machine.cpus - 1}" if node == 0 else ""
        words += ["-numa", f"node,memdev=ram{node}{cpus}"]
    return words


def command_line(machine: Machine, wiring: Wiring, accelerator: str) -> list[str]:
    """QEMU's arguments, without GPUs. Memory is shared, so that GPUs can map it; there is no network."""
    words = [
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "none", "-nic", "none",
        "-machine", "q35", "-accel", accelerator,
        "-cpu", processor(accelerator),
        "-smp", str(machine.cpus), "-m", f"size={machine.memory >> 20}M",
        *memory_nodes(machine, wiring.memory),
        "-kernel", str(wiring.kernel), "-initrd", str(wiring.initrd), "-append", parameters(machine),
        *iommu(machine),
        "-chardev", f"file,id=console,path={escape(wiring.console)},append=on", "-serial", "chardev:console",
        "-chardev", f"socket,id=monitor,fd={wiring.monitor}", "-mon", "chardev=monitor,mode=control",
        "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=host,mount_tag=host,bus=pcie.0,addr=2",
        "-fsdev", f"local,id=scratch,path={escape(wiring.scratch)},security_model=none",
        "-device", "virtio-9p-pci,fsdev=scratch,mount_tag=scratch,bus=pcie.0,addr=3",
        "-device", "virtio-serial-pci,bus=pcie.0,addr=4",
        "-blockdev", json.dumps({"driver": "file", "node-name": "swap", "filename": wiring.swap, "locking": "off"}),
        "-device", "virtio-blk-pci,drive=swap,bus=pcie.0,addr=5",
    ]  # fmt: skip
    for name, descriptor in wiring.ports.items():
        kind = "virtconsole" if name == TERMINAL else "virtserialport"
        words += [
            "-chardev",
            f"socket,id={name},fd={descriptor}",
            "-device",
            f"{kind},chardev={name},name={name}",
        ]
    return words + gpu_ports(machine)


def escape(path: Path) -> str:
    """A path inside one of QEMU's comma-separated options."""
    return str(path).replace(",", ",,")
