# SPDX-License-Identifier: MIT
"""The guest's first process. Runs from the initramfs with the standard library alone; nothing else imports it.

It reads instructions as JSON lines on the control port, and writes reports to the status port. A first line of
``{"template": true}`` makes it prepare everything that every run needs, and wait: the host then saves the machine, and
copies of it continue from there with instructions of their own.

The kernel panics when this process ends, so every way out is a report and a power-off.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import struct
import sys
import termios
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
RIG = "/svmcts"
ROOT = f"{RIG}/root"
SYS_FINIT_MODULE = 313  # x86-64
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC = 1, 2, 4, 0x1000, 0x4000
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207  # include/uapi/linux/random.h
RB_POWER_OFF = 0x4321FEDC
DEADLINE_S = 60.0
POLL_S = 0.005
HEARTBEAT_S = 5.0

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str, kind: str, options: str = "", flags: int = 0) -> None:
    os.makedirs(target, exist_ok=True)
    done = libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    check(done, f"mount {kind} on {target}")


def load_module(path: str, parameters: str = "") -> None:
    # As in sensitivity/modules.py, which is not in the initramfs: this file stands alone there.
    module = os.open(path, os.O_RDONLY)
    done = libc.syscall(SYS_FINIT_MODULE, module, parameters.encode(), 0)
    if done < 0 and ctypes.get_errno() != 17:  # EEXIST: built in
        check(done, f"load {path}")
    os.close(module)


def load_driver(modules: list[dict[str, str]]) -> None:
    """Load the driver under test from the host's files."""
    for module in modules:
        load_module(f"{RIG}/host{module['path']}", module["parameters"])


def wait_until(condition: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S) -> T:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(POLL_S)
    raise TimeoutError(f"{what}: not within {deadline_s:.0f} s")


def find_port(name: str) -> str | None:
    """The device of the virtio-serial port that the host called ``name``."""
    ports = "/sys/class/virtio-ports"
    if not os.path.isdir(ports):
        return None
    for port in os.listdir(ports):
        try:
            with open(f"{ports}/{port}/name") as file:
                if file.read().strip() == name and os.path.exists(f"/dev/{port}"):
                    return f"/dev/{port}"
        except FileNotFoundError:
            continue  # a port shows up before its name does
    return None


def port(name: str) -> str:
    return wait_until(lambda: find_port(name), f"port {name}")


class Status:
    """The connection to the host. Each report carries the guest's uptime in seconds."""

    def __init__(self) -> None:
        self.port = os.open(port("status"), os.O_WRONLY)

    def report(self, event: str, **fields: Any) -> None:
        with open("/proc/uptime") as file:
            uptime = float(file.read().split()[0])
        os.write(self.port, json.dumps({"event": event, "uptime": uptime, **fields}).encode() + b"\n")


class Children:
    """Reaps every process of the guest, with a heartbeat for the host while it waits for one of them."""

    def __init__(self, status: Status) -> None:
        self.status = status
        self.ended: dict[int, int] = {}

    def wait_for(self, child: int) -> int:
        """The exit status of ``child``, as a shell would give it."""
        while child not in self.ended:
            process, result = self._reap()
            if process:
                code = os.waitstatus_to_exitcode(result)
                self.ended[process] = code if code >= 0 else 128 - code
            elif signal.sigtimedwait({signal.SIGCHLD}, HEARTBEAT_S) is None:
                self.status.report("alive")
        return self.ended[child]

    @staticmethod
    def _reap() -> tuple[int, int]:
        try:
            return os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0, 0


def fork(body: Callable[[], None]) -> int:
    """Run ``body`` in a child; returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        body()
        code = 0
    except OSError:
        traceback.print_exc()
    finally:
        os._exit(code)


class Interpreter:
    """Python that has imported what every worker imports, waiting for what to run (guest/worker.py)."""

    def __init__(self, python: str, project: str) -> None:
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()

        def run() -> None:
            os.setsid()
            os.close(self._orders)  # its end of file is a command, too
            for descriptor in (orders, answers):
                os.set_inheritable(descriptor, True)
            os.chdir(project)
            os.execv(python, [python, "-u", f"{RIG}/worker.py", str(orders), str(answers)])

        self.process = fork(run)
        os.close(orders)
        os.close(answers)

    def wait(self) -> None:
        """Wait until its imports are done. Raises OSError if they fail."""
        if not os.read(self._answers, 16):
            raise OSError(0, "Python cannot import what workers need, see the console")

    def go(self, told: dict[str, Any]) -> None:
        interpreter = told["interpreter"]
        names = ("stdin", "stdout", "stderr")
        order = {
            "root": ROOT,
            "ports": {name: port(name) for name in names},
            "directory": told["directory"],
            "environment": environment(told),
            **interpreter,
        }
        os.write(self._orders, json.dumps(order).encode() + b"\n")

    def dismiss(self) -> None:
        os.close(self._orders)


def mount_kernel_files(root: str = "") -> None:
    mount("proc", f"{root}/proc", "proc", "", MS_NOSUID)
    mount("sysfs", f"{root}/sys", "sysfs", "", MS_NOSUID)
    mount("devtmpfs", f"{root}/dev", "devtmpfs", "mode=0755", MS_NOSUID)


def show_project(project: str, prefix: str) -> None:
    """Show the packed part of the project at its own place, for a worker that imports it before the host's files come.

    By mounts, which overlayfs does not see in a layer (fs/overlayfs/super.c: clone_private_mount): in the guest's root
    the place has the host's files.
    """
    packed = f"{RIG}/project"
    if prefix.startswith(f"{project}/"):
        mount(prefix, packed + prefix.removeprefix(project), "none", flags=MS_BIND)
    mount(packed, project, "none", flags=MS_BIND | MS_REC)


def close_whole_directories() -> None:
    """Mark the directories of the environment that hide the host's of the same name (overlayfs: opaque)."""
    for name in os.listdir(f"{RIG}/whole"):
        with open(f"{RIG}/whole/{name}") as file:
            for path in file.read().splitlines():
                os.setxattr(path, "trusted.overlay.opaque", b"y")


def mount_host() -> None:
    mount("host", f"{RIG}/host", "9p", "trans=virtio,version=9p2000.L,cache=loose,msize=512000", MS_RDONLY)


def assemble_root(told: dict[str, Any], modules: str) -> None:
    """The host's files below, this initramfs (the environment) over them, a writable layer on top."""
    mount("layer", f"{RIG}/layer", "tmpfs", "mode=0755,size=50%")
    for name in ("upper", "work"):
        os.mkdir(f"{RIG}/layer/{name}")
    layers = f"lowerdir=/:{RIG}/host,upperdir={RIG}/layer/upper,workdir={RIG}/layer/work"
    mount("root", ROOT, "overlay", f"{layers},xino=off,index=off,metacopy=off")
    mount_kernel_files(ROOT)
    mount("devpts", f"{ROOT}/dev/pts", "devpts", "mode=0620,ptmxmode=0666")
    mount("shm", f"{ROOT}/dev/shm", "tmpfs", "mode=1777")
    mount("run", f"{ROOT}/run", "tmpfs", "mode=0755")
    mount("debugfs", f"{ROOT}/sys/kernel/debug", "debugfs")
    mount("tracefs", f"{ROOT}/sys/kernel/tracing", "tracefs")
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"{ROOT}/dev/{name}")
    if told["scratch"]:
        options = "trans=virtio,version=9p2000.L,cache=mmap,msize=512000"
        mount("scratch", ROOT + told["scratch"], "9p", options, MS_NOSUID | MS_NODEV)
    release = f"{ROOT}/lib/modules/{os.uname().release}"
    os.makedirs(os.path.dirname(release), exist_ok=True)
    if not os.path.lexists(release):
        os.symlink(modules, release)


def unpack_project(bundle: str, project: str) -> None:
    """Mount the folders of a bundle (guest/bundle.py) over the host's, each with the files that the bundle has."""
    if not bundle:
        return
    unpacked = f"{RIG}/unpacked"
    mount("unpacked", unpacked, "tmpfs", "mode=0755")
    with open(f"{RIG}/host{bundle}", "rb") as file:
        entries = json.loads(file.readline())
        for path, size, changed in entries:
            target = f"{unpacked}/{path}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as copy:
                copy.write(file.read(size))
            os.utime(target, ns=(changed, changed))
    for folder in os.listdir(unpacked):
        mount(f"{unpacked}/{folder}", f"{ROOT}{project}/{folder}", "none", flags=MS_BIND)


def settle(told: dict[str, Any]) -> None:
    """Set the time and seed the random numbers from the host: a copy of a saved machine has the old ones."""
    time.clock_settime(time.CLOCK_REALTIME, told["time"])
    seed = bytes.fromhex(told["seed"])
    with open("/dev/random", "wb") as device:
        fcntl.ioctl(device, RNDADDENTROPY, struct.pack("ii", len(seed) * 8, len(seed)) + seed)
        fcntl.ioctl(device, RNDRESEEDCRNG)


def write_settings() -> None:
    for path, value in (
        ("/proc/sys/kernel/hostname", "guest"),
        ("/proc/sys/kernel/hung_task_timeout_secs", "60"),
        ("/proc/sys/kernel/core_pattern", "core"),  # in the directory of the process
    ):
        if os.path.exists(path):
            with open(path, "w") as file:
                file.write(value)


def swap_header(size: int) -> bytes:
    """The first page of a swap area of ``size`` bytes (include/linux/swap.h: union swap_header)."""
    page = os.sysconf("SC_PAGE_SIZE")
    numbers = struct.pack("=1024xIII", 1, size // page - 1, 0)  # version, last page, bad pages
    return numbers.ljust(page - 10, b"\0") + b"SWAPSPACE2"


def enable_swap(disk: str = "/dev/vda") -> None:
    """Swap to the disk, which is empty: mkswap(8), swapon(2). A kernel may have no driver for it, or no swap."""
    if not os.path.exists(disk) or not os.path.exists("/proc/swaps"):
        return
    with open(disk, "r+b", buffering=0) as file:
        header = swap_header(file.seek(0, os.SEEK_END))
        file.seek(0)
        file.write(header)
    check(libc.swapon(disk.encode(), 0), f"swapon {disk}")


def devices(count: int) -> list[str] | None:
    """The render nodes, or None if there are fewer than ``count``."""
    found = (
        sorted(n for n in os.listdir("/dev/dri") if n.startswith("renderD"))
        if os.path.isdir("/dev/dri")
        else []
    )
    return found if len(found) >= count else None


def environment(told: dict[str, Any]) -> dict[str, str]:
    variables: dict[str, str] = told["environment"]
    if not told["gpus"]:
        return variables
    return {**variables, "SVMCTS_CHECKS": port("checks"), "SVMCTS_ORDERS": port("orders")}


def start(told: dict[str, Any]) -> int:
    """Start the command with the host's channels as its standard files; returns its process id."""
    command: list[str] = told["command"]

    def run() -> None:
        variables = environment(told)
        os.setsid()
        os.chroot(ROOT)
        if told["terminal"]:
            terminal = os.open("/dev/hvc0", os.O_RDWR)
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *told["terminal"], 0, 0))
            files = [terminal] * 3
        else:
            files = [os.open(port(name), flag) for name, flag in (("stdin", 0), ("stdout", 1), ("stderr", 1))]
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.closerange(3, 64)
        os.chdir(told["directory"])
        os.environ.clear()
        os.environ.update(variables)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            os.write(2, f"svmcts: {command[0]}: {error.strerror}\n".encode())
            os._exit(127)

    return fork(run)


def run(config: dict[str, Any], status: Status) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    children = Children(status)
    with open(port("control")) as control:
        told = json.loads(control.readline())
        is_template = told.get("template", False)
        interpreter = None
        if is_template or told["interpreter"]:
            show_project(config["project"], config["prefix"])
            interpreter = Interpreter(config["python"], config["project"])
        for name in config["files"]:
            load_module(f"{RIG}/modules/{name}.ko")
        close_whole_directories()
        write_settings()
        if is_template:
            assert interpreter is not None
            interpreter.wait()
            status.report("template")
            told = json.loads(control.readline())
    settle(told)
    enable_swap()
    mount_host()
    # In a process of its own: it takes a second, and other things can be done in the meantime.
    driver = fork(lambda: load_driver(told["driver"]))
    assemble_root(told, config["modules"])
    unpack_project(told["bundle"], config["project"])
    status.report("root")
    if interpreter is not None and not told["interpreter"]:
        interpreter.dismiss()
        interpreter = None
    if interpreter is not None:
        # It goes on to import the suite; the host holds its input back until "ready".
        interpreter.go(told)
    if children.wait_for(driver):
        raise OSError(0, "the driver does not load, see the console")
    found = wait_until(lambda: devices(told["gpus"]), f"{told['gpus']} render nodes") if told["gpus"] else []
    status.report("ready", devices=found, release=os.uname().release)
    return children.wait_for(interpreter.process if interpreter is not None else start(told))


def main() -> NoReturn:
    mount_kernel_files()
    # Standard files on the console, for errors before the channels are open.
    console = os.open("/dev/console", os.O_RDWR)
    for number in range(3):
        os.dup2(console, number)
    with open(f"{RIG}/config.json") as file:
        config = json.load(file)
    status = Status()
    status.report("init")
    try:
        code = run(config, status)
        os.sync()
        status.report("exit", code=code)
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        status.report("failed", message=str(error))
    # The host ends QEMU on these reports; powering off is for a host that does not.
    time.sleep(DEADLINE_S)
    libc.reboot(RB_POWER_OFF)
    os._exit(1)


if __name__ == "__main__":
    main()
