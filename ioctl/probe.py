# SPDX-License-Identifier: MIT
"""What a C compiler makes of a header: the table of its sizes, offsets, numbers and values.

The compiler only has to translate to assembly. Each fact is an operand of an asm statement that ends up as
text in the output, the way the kernel builds its asm-offsets.h, so nothing is linked or run and cross
compilers do as well.
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from ioctl import header
from ioctl.facts import Field, Number, Size, Table, Text, Value
from ioctl.header import HeaderError

COMPILERS = ("cc", "gcc", "clang")
# Stands for drm.h, so that any xe_drm.h can be checked alone: that of a kernel tree has __user in it and
# needs other headers of its version. Numbers are built as in asm-generic/ioctl.h.
DRM_H = """\
typedef unsigned char __u8; typedef signed char __s8;
typedef unsigned short __u16; typedef short __s16;
typedef unsigned int __u32; typedef int __s32;
typedef unsigned long long __u64; typedef long long __s64;
#define _IOC(dir, type, nr, size) (((dir) << 30) | ((size) << 16) | ((type) << 8) | (nr))
#define _IO(type, nr) _IOC(0U, type, nr, 0)
#define _IOW(type, nr, argument) _IOC(1U, type, nr, sizeof(argument))
#define _IOR(type, nr, argument) _IOC(2U, type, nr, sizeof(argument))
#define _IOWR(type, nr, argument) _IOC(3U, type, nr, sizeof(argument))
#define DRM_IO(nr) _IO('d', nr)
#define DRM_IOR(nr, argument) _IOR('d', nr, argument)
#define DRM_IOW(nr, argument) _IOW('d', nr, argument)
#define DRM_IOWR(nr, argument) _IOWR('d', nr, argument)
#define DRM_COMMAND_BASE 0x40
#define DRM_COMMAND_END 0xa0
"""
FACT = re.compile(r"->(\S+) [$#]?(-?\d+) [$#]?(-?\d+) [$#]?(\d)")


class NoCompilerError(Exception):
    """No C compiler was found; the message says where it was looked for."""


def find_compiler() -> list[str]:
    """The command of a C compiler: $CC, or cc, gcc or clang on PATH; NoCompilerError if there is none."""
    chosen = shlex.split(os.environ.get("CC", ""))
    for command in [chosen] if chosen else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    looked = f"$CC is {chosen[0]!r}" if chosen else f"{', '.join(COMPILERS)} not on PATH"
    raise NoCompilerError(f"no C compiler ({looked}): install one, on Debian apt-get install gcc")


class Probe:
    """A header copied next to a stand-in for drm.h, and a compiler."""

    def __init__(self, path: Path, compiler: list[str]) -> None:
        try:
            self.text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise HeaderError(f"{path}: {reason}") from None
        self.path = path
        self.compiler = compiler
        self.declared = header.parse(self._compile("-E", "-dD", source=""), "xe_drm.h", str(path))
        if not any(name.startswith("DRM_XE_") for name in self.declared.macros):
            raise HeaderError(f"{path}: declares no DRM_XE_ names, not a xe_drm.h")

    def table(self, *options: str) -> Table:
        """All facts, with these compiler options; HeaderError when the compiler cannot find one."""
        shown: dict[str, str] = {}
        for name, members in self.declared.structs.items():
            shown[name] = f"sizeof(struct {name})"
            for member in members:
                shown[f"{name}.{member.path}@"] = f"__builtin_offsetof(struct {name}, {member.path})"
                if not member.flexible:
                    shown[f"{name}.{member.path}"] = f"sizeof(((struct {name} *)0)->{member.path})"
        shown.update((name, name) for name in (*self.declared.macros, *self.declared.enumerators))
        lines = "".join(f'SHOW("{name}", {value})\n' for name, value in shown.items())
        source = (
            '#define SHOW(name, value) asm volatile(".ascii \\"->" name " %0 %1 %2\\"" : : '
            '"i"((int)((unsigned long long)(value) >> 32)), "i"((int)(value)), "i"((value) < 0));\n'
            "void facts(void) {\n" + lines + "}\n"
        )
        numbers = {
            name: (int(high) if int(negative) else int(high) % 2**32) << 32 | int(low) % 2**32
            for name, high, low, negative in FACT.findall(self._compile("-S", *options, source=source))
        }
        return self._facts(numbers)

    def _facts(self, numbers: dict[str, int]) -> Table:
        table: Table = {}
        for name, members in self.declared.structs.items():
            table[name] = Size(numbers[name])
            for member in members:
                full = f"{name}.{member.path}"
                table[full] = Field(numbers[full + "@"], numbers.get(full, 0), member.type)
        for name in (*self.declared.macros, *self.declared.enumerators):
            if "_IOCTL_" in name:
                table[name] = Number(numbers[name] % 2**32)
            else:
                comment = re.search(rf"\b{name}\b[^\n]*non-ABI", self.text)
                table[name] = Value(numbers[name], abi=comment is None)
        for name, texts in self.declared.texts.items():
            table.update((f"{name}[{numbers[index]}]", Text(text)) for index, text in texts.items())
        return table

    def _compile(self, *options: str, source: str) -> str:
        with tempfile.TemporaryDirectory(prefix="svmcts-abi-") as name:
            place = Path(name)
            (place / "xe_drm.h").write_text(self.text)
            (place / "drm.h").write_text(DRM_H)
            (place / "probe.c").write_text('#include "xe_drm.h"\n' + source)
            run = subprocess.run(
                [
                    *self.compiler,
                    "-w",
                    "-x",
                    "c",
                    f"-I{self.path.resolve().parent}",
                    *options,
                    "probe.c",
                    "-o",
                    "-",
                ],
                cwd=place,
                capture_output=True,
                text=True,
                check=False,
            )
        if run.returncode:
            errors = [line for line in run.stderr.splitlines() if "error:" in line]
            first = (errors or run.stderr.splitlines() or ["no message"])[0]
            raise HeaderError(f"{self.path}: {self.compiler[0]}: {first}")
        return run.stdout
