# SPDX-License-Identifier: MIT
"""Starting QEMU: a kernel that boots."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from guest import GuestError, accelerator, initrd, kconfig
from guest.channels import Channels
from guest.kernels import Kernel
from guest.machine import NODES, SWAP, Machine, Wiring, command_line
from guest.modules import split_parameters
from guest.processes import last_line, spawn
from guest.qemu import Qemu
from guest.qmp import Monitor

Gpus = Sequence[Mapping[str, object]]


@dataclasses.dataclass(frozen=True)
class Place:
    """Place of a running machine: its directory (for logs, and for relative paths), its console's file, its scratch."""

    directory: Path
    console: Path
    scratch: Path


class Start(Protocol):
    """Starts QEMU with these GPUs plugged in. Raises GuestError when QEMU does not come up."""

    def __call__(self, place: Place, channels: Channels, gpus: Gpus) -> subprocess.Popen[bytes]: ...


@dataclasses.dataclass(frozen=True)
class Parts:
    """Parameters of every start."""

    qemu: Qemu
    kernel: Kernel
    environment: Path
    machine: Machine
    accelerator: str
    rate: int | None
    """Frequency of the time stamp counter in kHz, for a guest that would have to measure it (guest/tsc.py)."""

    @classmethod
    def gather(
        cls, qemu: Qemu, kernel: Kernel, environment: Path, machine: Machine, rate: int | None
    ) -> Parts:
        if machine.iommu:
            kconfig.check_iommu(kernel.release, kernel.options)
        chosen = accelerator.choose(qemu, kernel.boot)
        return cls(qemu, kernel, environment, machine, chosen, rate if chosen.startswith("tcg") else None)

    @property
    def booted(self) -> Machine:
        """The machine that boots: without parameters of the driver's modules, which are loaded later."""
        _, options = self._parameters()
        return dataclasses.replace(self.machine, options=tuple(options))

    def driver(self, directory: Path) -> list[dict[str, str]]:
        """The driver's modules in load order: ``path`` of the file, and ``parameters``.

        A module without an uncompressed file is written into ``directory``.
        """
        parameters, _ = self._parameters()
        loaded = []
        for module in self.kernel.driver:
            path = module.path
            if path is None:
                path = directory / f"{module.name}.ko"
                path.write_bytes(module.elf)
            loaded.append({"path": str(path), "parameters": " ".join(parameters[module.name])})
        return loaded

    def _parameters(self) -> tuple[dict[str, list[str]], list[str]]:
        return split_parameters(self.machine.options, [module.name for module in self.kernel.driver])

    @contextlib.contextmanager
    def launched(
        self,
        place: Place,
        ramdisk: Path,
        memory: Sequence[str],
        channels: Channels,
        *,
        inherit: Sequence[int] = (),
        extra: Sequence[str] = (),
    ) -> Iterator[tuple[subprocess.Popen[bytes], Monitor]]:
        """QEMU and its monitor during set-up; QEMU is killed if that fails."""
        machine = self.booted
        if self.rate:
            machine = dataclasses.replace(machine, options=(f"tsc_early_khz={self.rate}", *machine.options))
        ours, theirs = socket.socketpair()
        ports = channels.descriptors()
        with ours, theirs, memory_file("guest swap", SWAP) as swap:
            wiring = Wiring(
                self.kernel.boot,
                ramdisk,
                memory,
                path_of(swap),
                place.console,
                place.scratch,
                ports,
                theirs.fileno(),
            )
            process = spawn(
                [*self.qemu.command, *command_line(machine, wiring, self.accelerator), *extra],
                place.directory,
                place.directory / "qemu.log",
                env={**os.environ, **self.qemu.environment},
                pass_fds=[theirs.fileno(), swap, *ports.values(), *inherit],
            )
            theirs.close()
            try:
                yield process, Monitor(ours)
            except BaseException as error:
                process.kill()
                process.wait()
                if isinstance(error, GuestError):
                    raise GuestError(f"{error} ({last_line(place.directory / 'qemu.log')})") from error
                raise


@dataclasses.dataclass(frozen=True)
class Cold:
    """Boots the kernel."""

    parts: Parts

    def __call__(self, place: Place, channels: Channels, gpus: Gpus) -> subprocess.Popen[bytes]:
        ramdisk = place.directory / "initrd"
        initrd.write(ramdisk, self.parts.kernel, self.parts.environment)
        plugged = [word for gpu in gpus for word in ("-device", json.dumps(gpu))]
        with guest_memory() as memory:
            paths = [path_of(file) for file in memory]
            # Its monitor answers when QEMU has read its files.
            with self.parts.launched(place, ramdisk, paths, channels, inherit=memory, extra=plugged) as (
                process,
                _,
            ):
                ramdisk.unlink()
                return process


@contextlib.contextmanager
def memory_file(name: str, size: int = 0) -> Iterator[int]:
    """A file in memory, freed when the last process closes it; its holes take no memory."""
    file = os.memfd_create(name)
    try:
        os.truncate(file, size)
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def guest_memory() -> Iterator[list[int]]:
    """A file for QEMU to map for each NUMA node."""
    with contextlib.ExitStack() as files:
        yield [files.enter_context(memory_file(f"guest memory {node}")) for node in range(NODES)]


def path_of(file: int) -> str:
    """Path with which a program that inherits ``file`` can open it."""
    return f"/proc/self/fd/{file}"
