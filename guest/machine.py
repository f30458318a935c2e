# SPDX-License-Identifier: MIT
"""The virtual machine as data, and the QEMU command line it stands for."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

PORTS = ("status", "stdin", "stdout", "stderr")
GIB = 1 << 30


class Topology(StrEnum):
    """How two GPUs are connected. The kernel grants p2p below a common switch (drivers/pci/p2pdma.c)."""

    NEAR = "near"
    FAR = "far"


@dataclass(frozen=True)
class Machine:
    """What is in the machine.

    ``memory`` is in bytes, ``options`` are further kernel parameters, ``emulator`` further arguments of the emulated
    GPUs (``python -m guest.emulator --help``).
    """

    gpus: int = 1
    topology: Topology = Topology.NEAR
    memory: int = 4 * GIB
    cpus: int = 2
    options: Sequence[str] = ()
    emulator: Sequence[str] = ()


@dataclass(frozen=True)
class Wiring:
    """What connects the machine to this run: paths as QEMU sees them, and inherited file descriptors of the ports."""

    kernel: Path
    initrd: Path
    console: Path
    scratch: Path
    sockets: Sequence[str]
    ports: dict[str, int]


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
)


def parameters(machine: Machine) -> str:
    return " ".join((*PARAMETERS, *machine.options))


def device(**properties: object) -> list[str]:
    """One -device in JSON, the only form that vfio-user's socket address has."""
    return ["-device", json.dumps(properties)]


def gpu_devices(machine: Machine, sockets: Sequence[str]) -> list[str]:
    """The GPUs: below one PCIe switch (p2p is possible), or each below a root port of its own (it is not)."""
    words: list[str] = []
    near = machine.topology is Topology.NEAR and len(sockets) > 1
    if near:
        words += device(driver="pcie-root-port", id="root", bus="pcie.0", chassis=1, addr="5")
        words += device(driver="x3130-upstream", id="switch", bus="root")
    for index, socket in enumerate(sockets):
        port = f"port{index}"
        if near:
            words += device(driver="xio3130-downstream", id=port, bus="switch", chassis=2 + index, port=index)
        else:
            words += device(
                driver="pcie-root-port", id=port, bus="pcie.0", chassis=1 + index, addr=f"{5 + index}"
            )
        words += device(driver="vfio-user-pci", socket={"path": socket, "type": "unix"}, bus=port)
    return words


def command_line(machine: Machine, wiring: Wiring, accelerator: str) -> list[str]:
    """QEMU's arguments. Memory is shared, so that the emulated GPUs can map it; there is no network."""
    words = [
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "none", "-nic", "none",
        "-machine", "q35", "-accel", accelerator,
        # la57=off: a level less to walk in every software page walk.
        "-cpu", "max,la57=off",
        "-smp", str(machine.cpus), "-m", f"size={machine.memory >> 20}M",
        "-object", json.dumps({"qom-type": "memory-backend-memfd", "id": "ram", "size": machine.memory, "share": True}),
        "-numa", "node,memdev=ram",
        "-kernel", str(wiring.kernel), "-initrd", str(wiring.initrd), "-append", parameters(machine),
        "-chardev", f"file,id=console,path={escape(wiring.console)}", "-serial", "chardev:console",
        "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
        "-fsdev", f"local,id=scratch,path={escape(wiring.scratch)},security_model=none",
        "-device", "virtio-9p-pci,fsdev=scratch,mount_tag=scratch",
        "-device", "virtio-serial-pci",
    ]  # fmt: skip
    for name, descriptor in wiring.ports.items():
        words += ["-chardev", f"socket,id={name},fd={descriptor}"]
        if name == "terminal":
            words += ["-device", f"virtconsole,chardev={name},name={name}"]
        else:
            words += ["-device", f"virtserialport,chardev={name},name={name}"]
    return words + gpu_devices(machine, wiring.sockets)


def escape(path: Path) -> str:
    """A path inside one of QEMU's comma-separated options."""
    return str(path).replace(",", ",,")
