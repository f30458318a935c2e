# SPDX-License-Identifier: MIT
"""The QEMU command line of a machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guest.machine import GIB, PORTS, TERMINAL, Machine, Topology, Wiring, command_line, gpu, parameters


def wiring(*, console: str = "/run/console.log") -> Wiring:
    return Wiring(
        kernel=Path("/k/vmlinux"),
        initrd=Path("/k/initrd"),
        memory=["/proc/self/fd/9", "/proc/self/fd/10"],
        swap="/proc/self/fd/8",
        console=Path(console),
        scratch=Path("/run/scratch"),
        ports={"status": 11, TERMINAL: 12},
        monitor=13,
    )


def words(machine: Machine) -> list[str]:
    return command_line(machine, wiring(), "tcg")


def devices(machine: Machine) -> list[dict[str, object]]:
    """The devices of a machine with its GPUs plugged in."""
    line = words(machine)
    values = [line[index + 1] for index, word in enumerate(line) if word == "-device"]
    gpus = [gpu(index, f"gpu{index}.sock") for index in range(machine.gpus)]
    return [*(json.loads(value) for value in values if value.startswith("{")), *gpus]


def test_one_gpu_is_below_a_root_port() -> None:
    root, gpu = devices(Machine(gpus=1))
    assert (root["driver"], gpu["driver"], gpu["bus"]) == ("pcie-root-port", "vfio-user-pci", root["id"])
    assert gpu["socket"] == {"path": "gpu0.sock", "type": "unix"}


def test_two_near_gpus_share_a_switch() -> None:
    found = devices(Machine(gpus=2, topology=Topology.NEAR))
    drivers = [device["driver"] for device in found]
    assert drivers.count("x3130-upstream") == 1
    ports = {device["id"]: device for device in found if device["driver"] == "xio3130-downstream"}
    assert {device["bus"] for device in found if device["driver"] == "vfio-user-pci"} == ports.keys()
    assert {port["bus"] for port in ports.values()} == {"switch"}


def test_two_far_gpus_have_root_ports_of_their_own() -> None:
    found = devices(Machine(gpus=2, topology=Topology.FAR))
    roots = {device["id"] for device in found if device["driver"] == "pcie-root-port"}
    assert {device["bus"] for device in found if device["driver"] == "vfio-user-pci"} == roots
    assert (
        len({(device["chassis"], device["addr"]) for device in found if device["driver"] == "pcie-root-port"})
        == 2
    )


@pytest.mark.parametrize("machine", [Machine(gpus=0), Machine(gpus=2)])
def test_there_is_no_network_and_no_display(machine: Machine) -> None:
    line = words(machine)
    for option in ("-nic", "-display", "-vga"):
        assert line[line.index(option) + 1] == "none"
    assert "-nodefaults" in line


def values(line: list[str], option: str) -> list[str]:
    return [line[index + 1] for index, word in enumerate(line) if word == option]


def test_memory_can_be_mapped_by_the_emulated_gpus() -> None:
    """It is shared, and the memory of each node is a file of its own from the beginning of it."""
    line = words(Machine(memory=2 * GIB))
    assert [json.loads(value) for value in values(line, "-object")] == [
        {"qom-type": "memory-backend-file", "id": f"ram{node}", "mem-path": path, "size": GIB, "share": True}
        for node, path in enumerate(("/proc/self/fd/9", "/proc/self/fd/10"))
    ]
    assert line[line.index("-m") + 1] == "size=2048M"


def test_a_machine_has_two_nodes_and_its_processors_at_the_first() -> None:
    assert values(words(Machine(cpus=3)), "-numa") == ["node,memdev=ram0,cpus=0-2", "node,memdev=ram1"]


def test_there_is_a_disk_to_swap_to() -> None:
    line = words(Machine())
    (disk,) = (json.loads(value) for value in values(line, "-blockdev"))
    assert disk["filename"] == "/proc/self/fd/8"
    assert f"virtio-blk-pci,drive={disk['node-name']},bus=pcie.0,addr=5" in line


def test_huge_pages_are_reserved_while_there_are_any() -> None:
    """Pages move between nodes only when a test moves them."""
    assert {"hugepages=32", "numa_balancing=disable"} <= set(parameters(Machine()).split())


def test_the_hosts_files_are_read_only_and_the_scratch_is_not() -> None:
    host, scratch = [word for word in words(Machine()) if word.startswith("local,id=")]
    assert "path=/," in host
    assert "readonly=on" in host
    assert "path=/run/scratch," in scratch
    assert "readonly" not in scratch


def test_ports_are_the_descriptors_that_qemu_inherits() -> None:
    line = words(Machine())
    assert "socket,id=status,fd=11" in line
    assert "virtserialport,chardev=status,name=status" in line
    assert "virtconsole,chardev=terminal,name=terminal" in line
    assert "socket,id=monitor,fd=13" in line


def test_a_machine_waits_for_its_gpus_with_all_its_ports() -> None:
    """One saved machine serves all commands and GPUs."""
    assert "vfio-user" not in " ".join(words(Machine(gpus=2)))
    assert {"control", "status", "checks", "orders", "stdin", "stdout", "stderr", "terminal"} == set(PORTS)


def test_there_is_room_for_the_vram_of_a_gpu_that_is_plugged_in_later() -> None:
    assert "pci=hpmmioprefsize=8G" in parameters(Machine())


def test_memory_is_copied_the_fast_way_in_software() -> None:
    line = words(Machine())
    assert {"erms=off", "fsrm=off", "smap=off"} <= set(line[line.index("-cpu") + 1].split(","))
    line = command_line(Machine(), wiring(), "kvm")
    assert line[line.index("-cpu") + 1] == "max"


def test_commas_in_paths_do_not_end_an_option() -> None:
    assert "file,id=console,path=/a,,b/console.log,append=on" in command_line(
        Machine(), wiring(console="/a,b/console.log"), "tcg"
    )


def test_whatever_goes_wrong_in_the_kernel_ends_the_guest() -> None:
    assert {"panic=-1", "oops=panic", "softlockup_panic=1", "hung_task_panic=1"} <= set(
        parameters(Machine()).split()
    )


def test_an_iommu_comes_before_the_devices_behind_it() -> None:
    line = words(Machine(iommu=True))
    devices = [line[at + 1] for at, word in enumerate(line) if word == "-device"]
    assert json.loads(devices[0]) == {"driver": "intel-iommu", "caching-mode": True}
    assert {"intel_iommu=on", "iommu.strict=1"} <= set(parameters(Machine(iommu=True)).split())
    assert "iommu" not in " ".join(words(Machine()))


def test_the_users_kernel_parameters_come_last() -> None:
    assert parameters(Machine(options=("xe.wedged_mode=0",))).split()[-1] == "xe.wedged_mode=0"
