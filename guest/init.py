# SPDX-License-Identifier: MIT
"""The guest's first process. Runs from the initramfs with the standard library alone; nothing else imports it.

Loads the drivers, puts the environment over the host's files, starts the one command, and reports to the host as JSON
lines on the status port. The kernel panics when this process ends, so every way out is a report and a power-off.
"""

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
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_MOVE = 1, 2, 4, 8192
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


def load_modules(names: list[str]) -> None:
    for name in names:
        module = os.open(f"{RIG}/modules/{name}.ko", os.O_RDONLY)
        done = libc.syscall(SYS_FINIT_MODULE, module, b"", 0)
        if done < 0 and ctypes.get_errno() != 17:  # EEXIST: built in
            check(done, f"load {name}")
        os.close(module)


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


def open_port(name: str, flags: int) -> int:
    return os.open(wait_until(lambda: find_port(name), f"port {name}"), flags)


class Status:
    """The line to the host. Each report carries the guest's uptime in seconds."""

    def __init__(self) -> None:
        self.port = open_port("status", os.O_WRONLY)

    def report(self, event: str, **fields: Any) -> None:
        with open("/proc/uptime") as file:
            uptime = float(file.read().split()[0])
        os.write(self.port, json.dumps({"event": event, "uptime": uptime, **fields}).encode() + b"\n")


def mount_kernel_files(root: str = "") -> None:
    mount("proc", f"{root}/proc", "proc", "", MS_NOSUID)
    mount("sysfs", f"{root}/sys", "sysfs", "", MS_NOSUID)
    mount("devtmpfs", f"{root}/dev", "devtmpfs", "mode=0755", MS_NOSUID)


def close_whole_directories() -> None:
    """Mark the directories of the environment that hide the host's of the same name (overlayfs: opaque)."""
    for name in os.listdir(f"{RIG}/whole"):
        with open(f"{RIG}/whole/{name}") as file:
            for path in file.read().splitlines():
                os.setxattr(path, "trusted.overlay.opaque", b"y")


def assemble_root(config: dict[str, Any]) -> None:
    """The host's files below, this initramfs (the environment) over them, a writable layer on top: all at /."""
    close_whole_directories()
    mount("host", f"{RIG}/host", "9p", "trans=virtio,version=9p2000.L,cache=loose,msize=512000", MS_RDONLY)
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
    for path in ("/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr"):
        number = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}[os.path.basename(path)]
        os.symlink(f"/proc/self/fd{number}", ROOT + path)
    if config["scratch"]:
        mount(
            "scratch", ROOT + config["scratch"], "9p", "trans=virtio,version=9p2000.L,cache=mmap,msize=512000"
        )
    modules = f"{ROOT}/lib/modules/{os.uname().release}"
    os.makedirs(os.path.dirname(modules), exist_ok=True)
    if not os.path.lexists(modules):
        os.symlink(config["modules"], modules)
    os.chdir(ROOT)
    check(libc.mount(ROOT.encode(), b"/", None, ctypes.c_ulong(MS_MOVE), None), "move the root")
    os.chroot(".")


def write_settings() -> None:
    for path, value in (
        ("/proc/sys/kernel/hostname", "guest"),
        ("/proc/sys/kernel/hung_task_timeout_secs", "60"),
    ):
        if os.path.exists(path):
            with open(path, "w") as file:
                file.write(value)


def devices(count: int) -> list[str] | None:
    """The render nodes, once there are ``count``."""
    found = (
        sorted(n for n in os.listdir("/dev/dri") if n.startswith("renderD"))
        if os.path.isdir("/dev/dri")
        else []
    )
    return found if len(found) >= count else None


def start(config: dict[str, Any]) -> int:
    """Start the command with the host's channels as its standard files; returns its process id."""
    child = os.fork()
    if child:
        return child
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.setsid()
        if config["terminal"]:
            terminal = os.open("/dev/hvc0", os.O_RDWR)
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *config["terminal"], 0, 0))
            files = [terminal] * 3
        else:
            files = [
                open_port("stdin", os.O_RDONLY),
                open_port("stdout", os.O_WRONLY),
                open_port("stderr", os.O_WRONLY),
            ]
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.closerange(3, 64)
        os.chdir(config["directory"])
        os.environ.clear()
        os.environ.update(config["environment"])
        if config["gpus"]:
            os.environ["SVMCTS_CHECKS"] = wait_until(lambda: find_port("checks"), "port checks")
        os.execvp(config["command"][0], config["command"])
    except OSError as error:
        os.write(2, f"svmcts: {config['command'][0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


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


def probe(config: dict[str, Any]) -> int:
    """Load the driver in a process of its own: it takes seconds, and the root can be put together meanwhile."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        load_modules(config["driver"])
        code = 0
    except OSError:
        traceback.print_exc()
    finally:
        os._exit(code)


def run(config: dict[str, Any], status: Status) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    driver = probe(config)
    load_modules(config["files"])
    assemble_root(config)
    write_settings()
    status.report("root")
    # An interpreter starts early and imports while the driver probes; the host holds its input back until "ready".
    command = start(config) if config["early"] else 0
    children = Children(status)
    if children.wait_for(driver):
        raise OSError(0, "the driver does not load, see the console")
    found = (
        wait_until(lambda: devices(config["gpus"]), f"{config['gpus']} render nodes")
        if config["gpus"]
        else []
    )
    status.report("ready", devices=found, release=os.uname().release)
    return children.wait_for(command or start(config))


def main() -> NoReturn:
    mount_kernel_files()
    # Standard files on the console, for whatever goes wrong before the channels are open.
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
