# SPDX-License-Identifier: MIT
"""A header is never accepted or called broken by accident: full disk, hostile text, unread output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ioctl import xe
from ioctl.compiler import NoCompilerError, find_compiler
from tests.ioctl.c_header import header

ROOT = Path(__file__).resolve().parents[2]
try:
    find_compiler()
except NoCompilerError as error:
    pytest.skip(str(error), allow_module_level=True)


def svmcts_abi(*arguments: object, **options: Any) -> tuple[int, str]:
    """Exit status and standard error."""
    command = [sys.executable, ROOT / "svmcts", "abi", *map(str, arguments)]
    options = {"stdout": subprocess.DEVNULL, **options}
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120, check=False, **options)
    return done.returncode, done.stderr


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A header that breaks nothing."""
    path = tmp_path / "xe_drm.h"
    path.write_text(header())
    return path


def test_answer_nobody_reads_is_none(good: Path) -> None:
    """A pipe that is closed, a disk that is full."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        assert svmcts_abi(good, "--base", xe.LINUX, stdout=closed) == (
            2,
            "svmcts abi: standard output: Broken pipe: not all of the answer is written\n",
        )
    with Path("/dev/full").open("w") as full:
        assert svmcts_abi("--history", stdout=full) == (
            2,
            "svmcts abi: standard output: No space left on device: not all of the answer is written\n",
        )


def test_no_room_for_temporary_files_is_no_answer(good: Path, tmp_path: Path) -> None:
    """Files cannot grow: what the compiler writes is cut off."""
    status, said = svmcts_abi(good, "--base", xe.LINUX, preexec_fn=no_room)
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith("svmcts abi: ")


def no_room() -> None:
    """No file of this process can have more than 4 KiB."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


HOSTILE = {
    "deep": "struct drm_xe_a { " + "struct { " * 240 + "__u32 x;" + " } s;" * 240 + " };\n",
    "deeper": "struct drm_xe_a { " + "struct { " * 5000 + "__u32 x;" + " } s;" * 5000 + " };\n",
    "name-taken": "int values; int svmcts;\n",
    "type-taken": "typedef int __u64;\n",
    "keyword-taken": "#define sizeof 1\n#define unsigned float\n",
    "zero-byte": "#define DRM_XE_B \0 1\n",
    "pragma": '#pragma pack(1)\n#define DRM_XE_P _Pragma("GCC error \\"x\\"")\n',
    "huge-shift": "#define DRM_XE_B (1 << 4000000000)\n#define DRM_XE_D (1 / 0)\n",
    "incomplete": "struct drm_xe_a;\nunion drm_xe_b;\nenum drm_xe_c;\n",
    "huge-array": "struct drm_xe_a { __u8 x[0x7fffffffffffffff]; };\n",
    "vector": "typedef int drm_xe_v __attribute__((vector_size(16)));\nstruct drm_xe_a { drm_xe_v v; };\n",
    "empty-struct": "struct drm_xe_a { };\n",
    "line": '#line 1 "/etc/passwd"\nstruct drm_xe_a { __u32 a; };\n',
    "line-to-a-device": '#line 1 "own/../../../../dev/zero"\nstruct drm_xe_a { __u32 a; };\n',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_header_is_no_accident(name: str, tmp_path: Path) -> None:
    """A verdict about the header, or 2 with one line, within seconds."""
    path = tmp_path / "xe_drm.h"
    path.write_text("#define DRM_XE_A 1\n" + HOSTILE[name])
    base = tmp_path / "base.h"
    base.write_text("#define DRM_XE_A 2\n")
    status, said = svmcts_abi(path, "--base", base)
    assert (status, said.count("\n")) in ((1, 0), (2, 1)), said
    assert "Traceback" not in said
    assert said == "" or said.startswith("svmcts abi: ")
