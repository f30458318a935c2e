# SPDX-License-Identifier: MIT
"""Numbers and layouts of mock.linux, against the C compiler and the running kernel."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from mock.filter import DEVICES, PROGRAMS
from mock.linux import adviser, bpf, inotify, procfs, ptrace, seccomp, userfaultfd
from mock.linux.instructions import CLONE, LISTINGS, NAME, instructions
from mock.linux.syscall import MACHINE, NUMBERS
from mock.looking import _STAT, _STATX

PROGRAM = r"""
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/stat.h>
#include <linux/userfaultfd.h>
#define V(name, value) printf("%s %lld\n", name, (long long)(value))
int main(void) {
@BODY@
return 0; }
"""


@pytest.fixture(scope="module")
def compiler() -> str:
    found = shutil.which("cc") or shutil.which("gcc")
    if not found:
        pytest.skip("NEEDS:compiler: no C compiler")
    return found


def ask(compiler: str, directory: Path, expressions: dict[str, str]) -> dict[str, int]:
    """Values of C expressions; those whose macro this machine's headers do not have are left out."""
    lines = []
    for name, expression in expressions.items():
        line = f'V("{name}", {expression});'
        macro = expression if expression.isidentifier() else ""
        lines.append(f"#ifdef {macro}\n{line}\n#endif" if macro.isupper() else line)
    source = directory / "probe.c"
    source.write_text(PROGRAM.replace("@BODY@", "\n".join(lines)))
    subprocess.run([compiler, "-o", directory / "probe", source], check=True)
    out = subprocess.run([directory / "probe"], capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in (line.split() for line in out.splitlines())}


def test_system_call_numbers(compiler: str, tmp_path: Path) -> None:
    """Every system call has the number of this machine's headers."""
    found = ask(
        compiler, tmp_path, {name: f"SYS_{name}" for name in NUMBERS if name not in ("openat2", "faccessat2")}
    )
    assert found == {name: NUMBERS[name] for name in found}
    assert len(found) > 30


def test_request_numbers(compiler: str, tmp_path: Path) -> None:
    """Every ioctl number and flag of the mock's own requests is the header's."""
    ours = {
        "SECCOMP_IOCTL_NOTIF_RECV": seccomp._RECV,
        "SECCOMP_IOCTL_NOTIF_SEND": seccomp._SEND,
        "SECCOMP_IOCTL_NOTIF_ID_VALID": seccomp._ID_VALID,
        "SECCOMP_IOCTL_NOTIF_ADDFD": seccomp._ADDFD,
        "SECCOMP_IOCTL_NOTIF_SET_FLAGS": seccomp._SET_FLAGS,
        "SECCOMP_FILTER_FLAG_TSYNC": seccomp._FLAG_TSYNC,
        "SECCOMP_FILTER_FLAG_NEW_LISTENER": seccomp._FLAG_NEW_LISTENER,
        "SECCOMP_FILTER_FLAG_TSYNC_ESRCH": seccomp._FLAG_TSYNC_ESRCH,
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": seccomp._FLAG_WAIT_KILLABLE_RECV,
        "SECCOMP_ADDFD_FLAG_SEND": seccomp._ADDFD_SEND,
        "SECCOMP_USER_NOTIF_FLAG_CONTINUE": seccomp._CONTINUE,
        "SECCOMP_RET_ALLOW": bpf.Verdict.ALLOW,
        "SECCOMP_RET_USER_NOTIF": bpf.Verdict.USER_NOTIF,
        "UFFDIO_API": userfaultfd._API,
        "UFFDIO_REGISTER": userfaultfd._REGISTER,
        "UFFDIO_UNREGISTER": userfaultfd._UNREGISTER,
        "UFFDIO_WAKE": userfaultfd._WAKE,
        "UFFDIO_COPY": userfaultfd._COPY,
        "UFFDIO_ZEROPAGE": userfaultfd._ZEROPAGE,
        "UFFDIO_WRITEPROTECT": userfaultfd._WRITEPROTECT,
        "USERFAULTFD_IOC_NEW": userfaultfd._IOC_NEW,
        "UFFD_USER_MODE_ONLY": userfaultfd._USER_MODE_ONLY,
        "UFFD_PAGEFAULT_FLAG_WRITE": userfaultfd.PAGEFAULT_WRITE,
        "UFFDIO_REGISTER_MODE_MISSING": userfaultfd.Mode.MISSING,
        "UFFDIO_REGISTER_MODE_WP": userfaultfd.Mode.WP,
        "MADV_DONTNEED_LOCKED": adviser.MADV_DONTNEED_LOCKED,
        "MADV_DONTFORK": adviser.MADV_DONTFORK,
        "IN_CLOSE_WRITE": inotify.IN_CLOSE_WRITE,
        "IN_CLOSE_NOWRITE": inotify.IN_CLOSE_NOWRITE,
        "PROCMAP_QUERY": procfs._PROCMAP_QUERY,
        **{f"UFFD_FEATURE_{feature.name}": feature for feature in userfaultfd.Feature},
        **{f"UFFD_EVENT_{kind.name}": kind for kind in userfaultfd.Kind},
    }
    found = ask(compiler, tmp_path, {name: name for name in ours})
    assert found == {name: int(ours[name]) for name in found}
    assert len(found) > 40


def test_instructions_of_the_adviser(compiler: str, tmp_path: Path) -> None:
    """The bytes of the adviser are what an assembler makes of the text next to them."""
    lines = [line.split(maxsplit=1) for line in LISTINGS[MACHINE].strip().splitlines()]
    syntax = ".intel_syntax noprefix\n" if MACHINE == "x86_64" else ""
    source, made = tmp_path / "adviser.s", tmp_path / "adviser.o"
    text = [line.partition("#")[0] for _, line in lines]
    source.write_text(syntax + "\n".join([*text, f'0: .asciz "{NAME}"', ""]))
    subprocess.run([compiler, "-c", "-o", made, source], check=True)
    code = instructions()
    assert code in made.read_bytes()
    before = code[: CLONE[MACHINE]]
    assert before == bytes.fromhex(lines[0][0])
    assert len(NAME) == 15


def test_layouts(compiler: str, tmp_path: Path) -> None:
    """Structures have the header's sizes and offsets."""
    ours = {
        "sizeof(struct seccomp_notif)": seccomp._NOTIF.size,
        "sizeof(struct seccomp_notif_resp)": seccomp._RESPONSE.size,
        "sizeof(struct seccomp_notif_addfd)": seccomp._ADDFD_STRUCT.size,
        "sizeof(struct uffd_msg)": userfaultfd._MESSAGE.size,
        "sizeof(struct uffdio_copy)": userfaultfd._COPY_STRUCT.size,
        "sizeof(struct uffdio_register)": userfaultfd._RANGE_MODE_OUT.size,
        "sizeof(struct uffdio_writeprotect)": userfaultfd._RANGE_MODE.size,
        "sizeof(struct inotify_event)": inotify._EVENT.size,
        "sizeof(struct stat)": _STAT[ptrace.MACHINE].size,
        "sizeof(struct statx)": _STATX.size,
        "offsetof(struct statx, stx_rdev_major)": 128,
        "sizeof(struct user_regs_struct)": 8 * ptrace._REGISTERS[ptrace.MACHINE],
        "(CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)": adviser.CLONE_FLAGS,
    }
    found = ask(compiler, tmp_path, {f"v{index}": text for index, text in enumerate(ours)})
    assert list(found.values()) == list(ours.values())


def test_stat_round_trip() -> None:
    """Struct stat as packed here is read back by the C library's rules: compared with a real one's fields."""
    packed = _STAT["x86_64"].pack(5, 6, 1, 0o20666, 0, 0, 0xE280, 7, 4096, 0, *[0] * 6)
    assert struct.unpack_from("=QQQIII4xQq", packed) == (5, 6, 1, 0o20666, 0, 0, 0xE280, 7)


def interpret(program: bytes, number: int, arguments: list[int], arch: int) -> int:
    """Run a classic BPF program on a struct seccomp_data."""
    data = struct.pack("=iIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    accumulator = at = 0
    while True:
        code, if_true, if_false, k = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("=I", data, k)[0]
            case 0x54:
                accumulator &= k
            case 0x15:
                at += if_true if accumulator == k else if_false
            case 0x35:
                at += if_true if accumulator >= k else if_false
            case 0x06:
                return int(k)
            case _:
                raise AssertionError(f"instruction {code:#x}")


@pytest.mark.skipif(not NUMBERS, reason="no numbers for this machine")
def test_filter_asks_about_the_right_calls() -> None:
    """The filter notifies of ioctls of type d, opens that do not create files, and high mappings of files; of
    nothing else.
    """
    arch = bpf._AUDIT_ARCH[ptrace.MACHINE]
    program = bpf.assemble(DEVICES)

    def asks(name: str, *arguments: int, machine: int = arch) -> bool:
        verdict = interpret(program, NUMBERS[name], list(arguments), machine)
        assert verdict in (bpf.Verdict.ALLOW, bpf.Verdict.USER_NOTIF)
        return verdict == bpf.Verdict.USER_NOTIF

    assert asks("ioctl", 3, 0xC0406401)
    assert asks("ioctl", 3, 0xFFFFFFFF00006400)  # the kernel looks at 32 bits
    assert not asks("ioctl", 3, 0x5401)
    assert not asks("ioctl", 3, 0x64000000)
    assert not asks("ioctl", 3, 0xC0406401, machine=arch ^ 1)
    assert asks("openat", 0, 0, os.O_RDWR | os.O_CLOEXEC)
    assert not asks("openat", 0, 0, os.O_RDWR | os.O_CREAT)
    assert asks("mmap", 0, 4096, 3, 1, 5, 1 << 32)
    assert not asks("mmap", 0, 4096, 3, 1, 5, 4096)
    assert not asks("mmap", 0, 4096, 3, 0x22, 0xFFFFFFFF, 1 << 32)
    assert not asks("mmap", 0, 4096, 3, 0x22, 0xFFFFFFFFFFFFFFFF, 0)
    assert asks("mremap", 0, 4096, 4096, 5, 0)
    assert not asks("mremap", 0, 4096, 4096, 3, 0)
    assert not asks("close", 3)
    assert not asks("newfstatat", 3)
    program = bpf.assemble(PROGRAMS)
    assert asks("newfstatat", 3)
    assert asks("readlinkat", 3)


def test_maps_by_text_and_by_query() -> None:
    """The two ways to read mappings agree."""
    maps = procfs.Maps(os.getpid())
    try:
        text = maps.all()
        if maps.at_or_after(0) is None or not maps._query:
            pytest.skip("NEEDS:procmap-query: Linux 6.11")
        for mapping in text:
            if mapping.start < 1 << 47:
                asked = maps.at_or_after(mapping.start)
                assert asked is not None
                assert asked[:3] == mapping[:3]
                assert asked.inode == mapping.inode
    finally:
        maps.close()
