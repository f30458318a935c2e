# SPDX-License-Identifier: MIT
"""Warm starts: a machine that has booted, saved once, of which every run gets a copy.

Under TCG a boot takes as long as a hundred tests. The saved machine (the template) has booted, and Python waits in it
with pytest imported (guest/worker.py); a copy gets its GPUs plugged in, its instructions, and continues. The driver
under test is loaded then: a patched one starts as fast as the kernel's own, whatever its parameters are.

A template is the machine's memory, as files with holes that are copied, and the state of its devices. Nothing is on
the disk to swap to when it is saved: a copy gets a new one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from guest import PROJECT, GuestError, cache, initrd, project
from guest.channels import CHUNK, Channels
from guest.machine import NODES, PORTS, Wiring, command_line
from guest.start import Gpus, Parts, Place, guest_memory, path_of

DEADLINE_S = 900.0  # a busy machine takes minutes, and the user can see that it is running
RATE_STEP = (
    10_000  # kHz; two measurements differ by less, and only at the edge of a step are they rounded apart
)
IMPORTED = "project"  # what the worker of a template has imported: a digest
REFRESH_S = 86400.0  # age at which a template of a changed project is made again
KEPT = 8  # templates; each is 430 MB. One command may need one for each of several kernels


def possible(parts: Parts) -> bool:
    """Whether this machine may be started from a template.

    Not with KVM, which boots in a second, and not with parts that probably only one run has.
    """
    if os.environ.get("SVMCTS_WARM") == "0" or not parts.accelerator.startswith("tcg"):
        return False
    return bool(parts.kernel.debian or parts.kernel.build) and not parts.booted.options


def digest(parts: Parts) -> str:
    """Inputs of a template: QEMU, the machine, and all that is in the initramfs, except for the project's files.

    These may change from one run to the next: see ``is_current``.
    """
    program = parts.qemu.program.stat()
    wiring = Wiring(
        parts.kernel.boot,
        Path("initrd"),
        memory_files(Path()),
        "swap",
        Path("console"),
        Path("scratch"),
        dict.fromkeys(PORTS, 0),
        0,
    )
    facts = [
        [str(parts.qemu.program), program.st_size, program.st_mtime_ns],
        command_line(parts.booted, wiring, parts.accelerator),
        [(module.name, hashlib.sha256(module.elf).hexdigest()) for module in parts.kernel.files],
        str(parts.environment),
        [path.read_text() for path in (Path(initrd.__file__), *initrd.SOURCES.values())],
        str(PROJECT),
        round(parts.rate / RATE_STEP) if parts.rate else None,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def memory_files(template: Path) -> list[str]:
    """The saved memory of each NUMA node."""
    return [str(template / f"memory{node}") for node in range(NODES)]


def key(parts: Parts) -> str:
    return f"templates/{parts.kernel.release}-{digest(parts)}"


def provide(parts: Parts) -> Path:
    """The template for these parts, made if the cache has none, or an old one of a changed project."""

    def get() -> Path:
        return cache.provide(key(parts), lambda path: build(parts, path))

    directory = get()
    if not is_current(directory) and time.time() - cache.last_used(directory / IMPORTED) > REFRESH_S:
        shutil.rmtree(directory, ignore_errors=True)
        directory = get()
    cache.keep_newest(directory, KEPT)
    return directory


def is_current(template: Path) -> bool:
    """Whether the project's files are those that the template's worker has imported."""
    try:
        return (template / IMPORTED).read_text() == project.digest(PROJECT)
    except FileNotFoundError:
        return False


def build(parts: Parts, directory: Path) -> None:
    with cache.at_work(f"preparing fast starts of kernel {parts.kernel.release} (once)"):
        _build(parts, directory)


def _build(parts: Parts, directory: Path) -> None:
    ramdisk = directory / "initrd"
    (directory / IMPORTED).write_text(project.digest(PROJECT))
    initrd.write(ramdisk, parts.kernel, parts.environment)
    memory = memory_files(directory)
    for path in memory:
        with Path(path).open("wb") as file:
            file.truncate(parts.machine.node_memory)
    place = Place(directory, directory / "console.log", directory / "scratch")
    place.scratch.mkdir()
    with (
        Channels(PORTS) as channels,
        parts.launched(place, ramdisk, memory, channels) as (process, monitor),
    ):
        channels.handed_over()
        channels.send("control", {"template": True})
        wait_for_template(channels, place)
        monitor.execute("stop")
        monitor.save(str(directory / "state"))
        process.kill()
        process.wait()
    ramdisk.write_bytes(b"")
    # Memory that the kernel freed or cleared need not be saved, nor copied at every start.
    if shutil.which("fallocate"):
        for path in memory:
            subprocess.run(["fallocate", "--dig-holes", path], check=False)


def wait_for_template(channels: Channels, place: Place) -> None:
    status = channels.ours["status"]
    status.settimeout(DEADLINE_S)
    buffer = b""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        try:
            data = status.recv(CHUNK)
        except TimeoutError:
            break
        *lines, buffer = (buffer + data).split(b"\n")
        for event in map(json.loads, lines):
            if event["event"] == "template":
                return
            if event["event"] == "failed":
                raise GuestError(f"the guest did not come up: {event['message']}")
        if not data:
            raise GuestError(f"the guest's kernel ended: {last_console_line(place)}")
    raise GuestError("the guest did not come up in time")


def last_console_line(place: Place) -> str:
    lines = place.console.read_text(errors="replace").splitlines() if place.console.exists() else []
    return lines[-1] if lines else "its console is empty"


class CopyError(GuestError):
    """A copy of ``template`` could not be started."""

    def __init__(self, template: Path, why: str) -> None:
        super().__init__(why)
        self.template = template


@dataclasses.dataclass(frozen=True)
class Warm:
    """Continues from a template. Raises CopyError when that cannot be done."""

    parts: Parts
    template: Path

    def __call__(self, place: Place, channels: Channels, gpus: Gpus) -> subprocess.Popen[bytes]:
        try:
            return self._copy(place, channels, gpus)
        except (GuestError, OSError) as error:
            raise CopyError(self.template, str(error)) from error

    def _copy(self, place: Place, channels: Channels, gpus: Gpus) -> subprocess.Popen[bytes]:
        shutil.copyfile(self.template / "console.log", place.console)
        with guest_memory() as memory:
            for path, file in zip(memory_files(self.template), memory, strict=True):
                copy_data(Path(path), file)
                if (size := os.fstat(file).st_size) != self.parts.machine.node_memory:
                    raise GuestError(f"the saved memory has {size} bytes")
            launched = self.parts.launched(
                place,
                self.template / "initrd",
                [path_of(file) for file in memory],
                channels,
                inherit=memory,
                extra=["-incoming", "defer", "-S"],
            )
            with launched as (process, monitor):
                monitor.restore(str(self.template / "state"))
                for gpu in gpus:
                    monitor.execute("device_add", **gpu)
                monitor.execute("cont")
                return process


def copy_data(source: Path, target: int) -> None:
    """Copy a file with its holes; the target is empty and becomes as long."""
    with source.open("rb") as file:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        os.ftruncate(target, size)
        offset = 0
        while offset < size:
            try:
                start = os.lseek(descriptor, offset, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole is left
                return
            offset = os.lseek(descriptor, start, os.SEEK_HOLE)
            os.lseek(target, start, os.SEEK_SET)
            while start < offset:
                start += os.sendfile(target, descriptor, start, offset - start)
