# SPDX-License-Identifier: MIT
"""svmcts abi: every kind of breakage is named, additions pass, and a header that cannot be checked gives one line."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.answers import status_of
from fixtures.checks import wait_until
from ioctl import abi, compiler, history, source, xe
from ioctl.compare import apart
from ioctl.compiler import NoCompilerError, find_compiler
from ioctl.history import History
from tests.git_tree import GitTree
from tests.ioctl.c_header import header

try:
    find_compiler()
    COMPILER = ""
except NoCompilerError as error:
    COMPILER = str(error)

FREE = max(int(apart(request.number)[3], 16) for request in xe.REQUESTS) + 1
"""The next request number."""
needs_compiler = pytest.mark.skipif(bool(COMPILER), reason=COMPILER)
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the record that ends with the version of ``ioctl.xe``, so that later records do not break tests."""
    known = history.recorded()
    later = [name for name in known.names if history.sort_key(name) > history.sort_key(xe.LINUX)]
    copy = tmp_path / "abi_history.json"
    monkeypatch.setattr(history, "FILE", copy)
    history.write(functools.reduce(History.without, later, known))
    history.recorded.cache_clear()
    yield copy
    history.recorded.cache_clear()


def run(arguments: list[str]) -> int:
    """The exit status of ``svmcts abi``."""
    return status_of("svmcts abi", lambda: abi.main(arguments))


def checked(path: Path, text: str, capsys: Capture, *options: str) -> tuple[int, list[str]]:
    """Exit status and output lines of a check of ``text`` against the version that ``ioctl.xe`` is of."""
    path.write_text(text)
    base = [] if "--base" in options else ["--base", xe.LINUX]
    status = run([str(path), *base, *options])
    out, err = capsys.readouterr()
    return status, (out + err).splitlines()


def changed(*edits: tuple[str, str]) -> str:
    """The header of ``ioctl.xe`` with these replacements, each of which must fit exactly once."""
    text = header()
    for old, new in edits:
        assert text.count(old) == 1, (old, text.count(old))
        text = text.replace(old, new)
    return text


def inside(struct: str, old: str, new: str) -> tuple[str, str]:
    """An edit of one member of one structure."""
    body = re.search(rf"^struct {struct} \{{\n.*?^\}};\n", header(), re.MULTILINE | re.DOTALL)
    assert body
    assert body[0].count(old) == 1, (struct, old)
    return body[0], body[0].replace(old, new)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--syzlang", "xe_drm.h"], "--syzlang takes no HEADER"),
        (["--history", "xe_drm.h"], "--history takes no HEADER"),
        (["--syzlang", "--history"], "--history and --syzlang are different commands"),
        (["--history", "--base", "6.18"], "--base has no effect with --history"),
        (["xe_drm.h", "--from", "a package"], "--from has no effect without --record"),
    ],
)
def test_options_without_effect_are_refused(options: list[str], complaint: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        abi.main(options)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@needs_compiler
def test_the_recorded_header_passes(tmp_path: Path, capsys: Capture) -> None:
    """No findings, exit status 0."""
    status, lines = checked(tmp_path / "xe_drm.h", header(), capsys)
    assert status == 0
    assert lines[-1] == "0 breaks, 0 warns, 0 adds"
    assert len(lines) == 2


BREAKAGES = {
    "field-moved": (
        [
            inside(
                "drm_xe_vm_bind",
                "\t__u32 vm_id;\n\t__u32 exec_queue_id;",
                "\t__u32 exec_queue_id;\n\t__u32 vm_id;",
            )
        ],
        [
            "breaks  drm_xe_vm_bind.vm_id: offset 8 -> 12 (in the uAPI since <=6.12)",
            "breaks  drm_xe_vm_bind.exec_queue_id: offset 12 -> 8 (in the uAPI since <=6.12)",
        ],
    ),
    "field-narrowed": (
        [inside("drm_xe_madvise", "__u64 range;", "__u32 range;\n\t__u32 pad0;")],
        ["breaks  drm_xe_madvise.range: size 8 -> 4, type __u64 -> __u32 (in the uAPI since 6.18)"],
    ),
    "field-signed": (
        [inside("drm_xe_wait_user_fence", "__s64 timeout;", "__u64 timeout;")],
        ["breaks  drm_xe_wait_user_fence.timeout: type __s64 -> __u64 (in the uAPI since <=6.12)"],
    ),
    "field-removed": (
        [inside("drm_xe_sync", "\t__u64 timeline_value;\n\t__u64 reserved[2];", "\t__u64 reserved[3];")],
        ["breaks  drm_xe_sync.timeline_value: field removed from offset 24 (in the uAPI since <=6.12)"],
    ),
    "field-renamed": (
        [inside("drm_xe_vm_create", "__u32 vm_id;", "__u32 id;")],
        [
            "breaks  drm_xe_vm_create.vm_id: renamed to id: programs do not compile any more"
            " (in the uAPI since <=6.12)"
        ],
    ),
    "nested-field-renamed": (
        [inside("drm_xe_madvise", "__u16 region_instance;", "__u16 instance;")],
        [
            "breaks  drm_xe_madvise.preferred_mem_loc.region_instance: renamed to instance:"
            " programs do not compile any more (in the uAPI since 7.0)"
        ],
    ),
    "structure-grown": (
        [inside("drm_xe_vm_create", "__u64 reserved[2];", "__u64 reserved[2];\n\t__u64 more;")],
        [
            "breaks  drm_xe_vm_create: size 32 -> 40 bytes; room for more is in reserved fields and extensions"
            " (in the uAPI since <=6.12)",
            "breaks  DRM_IOCTL_XE_VM_CREATE: request 0xc0206443 -> 0xc0286443: size 32 -> 40"
            " (in the uAPI since <=6.12)",
        ],
    ),
    "reserved-lost": (
        [inside("drm_xe_vm_create", "__u64 reserved[2];", "__u64 reserved[1];")],
        [
            "breaks  drm_xe_vm_create: size 32 -> 24 bytes (in the uAPI since <=6.12)",
            "breaks  DRM_IOCTL_XE_VM_CREATE: request 0xc0206443 -> 0xc0186443: size 32 -> 24"
            " (in the uAPI since <=6.12)",
        ],
    ),
    "reserved-without-heir": (
        [inside("drm_xe_query_uc_fw_version", "\t__u16 pad;\n", "")],
        ["breaks  drm_xe_query_uc_fw_version.pad: removed, 2 bytes at 2 without a name"],
    ),
    "structure-removed": (
        [
            (inside("xe_vm_fault", "address;", "address;")[0], ""),
        ],
        ["breaks  xe_vm_fault: structure removed (in the uAPI since 7.1)"],
    ),
    "request-removed": (
        [("#define DRM_IOCTL_XE_MADVISE DRM_IOW(0x4c, struct drm_xe_madvise)\n", "")],
        ["breaks  DRM_IOCTL_XE_MADVISE: request removed (in the uAPI since 6.18)"],
    ),
    "request-renumbered": (
        [("DRM_IOW(0x4c, struct drm_xe_madvise)", f"DRM_IOW({FREE:#x}, struct drm_xe_madvise)")],
        [
            f"breaks  DRM_IOCTL_XE_MADVISE: request 0x4040644c -> 0x404064{FREE:x}: number 0x4c -> {FREE:#x}"
            " (in the uAPI since 6.18)"
        ],
    ),
    "request-turned": (
        [("DRM_IOW(0x45, struct drm_xe_vm_bind)", "DRM_IOWR(0x45, struct drm_xe_vm_bind)")],
        [
            "breaks  DRM_IOCTL_XE_VM_BIND: request 0x40886445 -> 0xc0886445: direction _IOW -> _IOWR"
            " (in the uAPI since <=6.12)"
        ],
    ),
    "request-number-reused": (
        [
            (
                "#define DRM_IOCTL_XE_VM_BIND ",
                "#define DRM_IOCTL_XE_FOO DRM_IOWR(0x4c, struct drm_xe_sync)\n#define DRM_IOCTL_XE_VM_BIND ",
            )
        ],
        ["breaks  DRM_IOCTL_XE_FOO: number 0x4c is that of DRM_IOCTL_XE_MADVISE"],
    ),
    "flag-moved": (
        [("#define DRM_XE_VM_BIND_FLAG_DECOMPRESS 128", "#define DRM_XE_VM_BIND_FLAG_DECOMPRESS 256")],
        ["breaks  DRM_XE_VM_BIND_FLAG_DECOMPRESS: value 0x80 -> 0x100 (in the uAPI since 7.1)"],
    ),
    "flag-bit-reused": (
        [
            (
                "#define DRM_XE_VM_BIND_FLAG_DECOMPRESS 128",
                "#define DRM_XE_VM_BIND_FLAG_DECOMPRESS 128\n#define DRM_XE_VM_BIND_FLAG_FOO (1 << 3)",
            )
        ],
        ["breaks  DRM_XE_VM_BIND_FLAG_FOO: bit 0x8 is that of DRM_XE_VM_BIND_FLAG_DUMPABLE"],
    ),
    "flag-bits-overlap": (
        [
            (
                "#define DRM_XE_SYNC_FLAG_SIGNAL 1",
                "#define DRM_XE_SYNC_FLAG_SIGNAL 1\n#define DRM_XE_SYNC_FLAG_FOO 0x40000001",
            )
        ],
        ["breaks  DRM_XE_SYNC_FLAG_FOO: bit 0x1 is that of DRM_XE_SYNC_FLAG_SIGNAL"],
    ),
    "flag-renamed": (
        [("#define DRM_XE_VM_BIND_FLAG_NULL 4", "#define DRM_XE_VM_BIND_FLAG_ZERO 4")],
        [
            "breaks  DRM_XE_VM_BIND_FLAG_NULL: removed, or renamed to DRM_XE_VM_BIND_FLAG_ZERO"
            " (in the uAPI since <=6.12)"
        ],
    ),
    "value-reused": (
        [("#define DRM_XE_ATOMIC_CPU 3", "#define DRM_XE_ATOMIC_CPU 3\n#define DRM_XE_ATOMIC_FOO 1")],
        ["breaks  DRM_XE_ATOMIC_FOO: value 1 is that of DRM_XE_ATOMIC_DEVICE"],
    ),
    "enumerators-shifted": (
        [
            (
                "enum { DRM_XE_OBSERVATION_OP_ADD_CONFIG = 1 };",
                "enum { DRM_XE_OBSERVATION_OP_FOO = 1 };\nenum { DRM_XE_OBSERVATION_OP_ADD_CONFIG = 2 };",
            ),
            (
                "enum { DRM_XE_OBSERVATION_OP_REMOVE_CONFIG = 2 };",
                "enum { DRM_XE_OBSERVATION_OP_REMOVE_CONFIG = 3 };",
            ),
        ],
        [
            "breaks  DRM_XE_OBSERVATION_OP_ADD_CONFIG: value 1 -> 2 (in the uAPI since <=6.12)",
            "breaks  DRM_XE_OBSERVATION_OP_REMOVE_CONFIG: value 2 -> 3 (in the uAPI since <=6.12)",
        ],
    ),
    "name-in-a-table-changed": (
        [('[DRM_XE_RAS_ERR_COMP_PCIE] = "pcie"', '[DRM_XE_RAS_ERR_COMP_PCIE] = "pci"')],
        ['breaks  DRM_XE_RAS_ERROR_COMPONENT_NAMES[4]: "pcie" -> "pci" (in the uAPI since 7.2)'],
    ),
    "constant-called-non-abi": (
        [
            (
                "enum { DRM_XE_OBSERVATION_OP_REMOVE_CONFIG = 2 };",
                "enum { DRM_XE_OBSERVATION_OP_REMOVE_CONFIG = 2 }; /* non-ABI */",
            )
        ],
        ["breaks  DRM_XE_OBSERVATION_OP_REMOVE_CONFIG: now called non-ABI (in the uAPI since <=6.12)"],
    ),
}


@needs_compiler
@pytest.mark.parametrize("name", BREAKAGES)
def test_a_breakage_is_named_with_what_it_was_and_its_age(name: str, tmp_path: Path, capsys: Capture) -> None:
    """Exit status 1 and exactly these lines."""
    edits, expected = BREAKAGES[name]
    status, lines = checked(tmp_path / "xe_drm.h", changed(*edits), capsys)
    assert status == 1
    assert [line for line in lines if line.startswith("breaks")] == expected
    assert lines[-1].startswith(f"{len(expected)} breaks, ")


@needs_compiler
def test_additions_are_listed_and_pass(tmp_path: Path, capsys: Capture) -> None:
    """A new request with its structure, a new flag, a name for reserved room, the end mark of an enum moved."""
    text = changed(
        (
            "#define DRM_IOCTL_XE_VM_BIND ",
            "struct drm_xe_foo {\n\t__u64 extensions;\n\t__u32 vm_id;\n\t__u32 pad;\n};\n"
            f"#define DRM_XE_FOO {FREE - 0x40:#x}\n"
            f"#define DRM_IOCTL_XE_FOO DRM_IOWR({FREE:#x}, struct drm_xe_foo)\n"
            "#define DRM_IOCTL_XE_VM_BIND ",
        ),
        (
            "#define DRM_XE_SYNC_FLAG_SIGNAL 1",
            "#define DRM_XE_SYNC_FLAG_SIGNAL 1\n#define DRM_XE_SYNC_FLAG_FOO 0x40000000",
        ),
        inside("drm_xe_vm_bind_op", "__u64 reserved[3];", "__u64 foo;\n\t__u64 reserved[2];"),
        (
            "enum { DRM_XE_RAS_ERR_COMP_MAX = 6 };",
            "enum { DRM_XE_RAS_ERR_COMP_FOO = 6 };\nenum { DRM_XE_RAS_ERR_COMP_MAX = 7 };",
        ),
    )
    status, lines = checked(tmp_path / "xe_drm.h", text, capsys)
    assert lines[1:] == [
        "adds    drm_xe_vm_bind_op.reserved: taken over by foo; 16 of 24 bytes are left",
        "adds    drm_xe_vm_bind_op.foo: __u64 at offset 56, 8 bytes",
        "adds    drm_xe_foo: structure of 16 bytes: extensions, vm_id, pad",
        "adds    DRM_XE_SYNC_FLAG_FOO: 0x40000000",
        f"adds    DRM_XE_FOO: {FREE - 0x40:#x}",
        f"adds    DRM_IOCTL_XE_FOO: _IOWR('d', {FREE:#x}, 16 bytes) = 0xc01064{FREE:x}",
        "adds    DRM_XE_RAS_ERR_COMP_FOO: 6",
        "0 breaks, 0 warns, 7 adds; ioctl/xe.py does not have 8 of the names yet",
    ]
    assert status == 0


@needs_compiler
def test_padding_without_a_name_and_skipped_numbers_are_warned_of(tmp_path: Path, capsys: Capture) -> None:
    """Not breakages: mistakes that become uAPI once merged."""
    text = changed(
        (
            "#define DRM_IOCTL_XE_VM_BIND ",
            "struct drm_xe_foo {\n\t__u16 id;\n\t__u32 value;\n};\n"
            f"#define DRM_IOCTL_XE_FOO DRM_IOWR({FREE + 2:#x}, struct drm_xe_foo)\n"
            "#define DRM_IOCTL_XE_VM_BIND ",
        )
    )
    status, lines = checked(tmp_path / "xe_drm.h", text, capsys)
    assert [line for line in lines if line.startswith("warns")] == [
        "warns   drm_xe_foo: bytes 2 to 3 have no name; call them pad and reject what is not zero",
        f"warns   DRM_IOCTL_XE_FOO: number {FREE + 2:#x} leaves a hole below it; the header asks for none",
    ]
    assert status == 0


@needs_compiler
def test_a_layout_that_32_bit_programs_see_differently_breaks(tmp_path: Path, capsys: Capture) -> None:
    """A __u64 after a single __u32: its offset depends on the architecture, and xe has no compat code."""
    text = changed(
        (
            "#define DRM_IOCTL_XE_VM_BIND ",
            "struct drm_xe_foo {\n\t__u32 id;\n\t__u64 value;\n};\n#define DRM_IOCTL_XE_VM_BIND ",
        )
    )
    status, lines = checked(tmp_path / "xe_drm.h", text, capsys)
    assert status == 1
    assert lines[0].endswith("; 64 and 32 bits")
    assert "breaks  drm_xe_foo: differs for 32-bit programs: size 16 -> 12 bytes" in lines
    assert "breaks  drm_xe_foo.value: differs for 32-bit programs: offset 8 -> 4" in lines


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "declares no DRM_XE_ names, not a xe_drm.h"),
        (b"int x = 5;\n", "declares no DRM_XE_ names, not a xe_drm.h"),
        (b"\xff\xfe\x00", "not text"),
        (
            b"#define DRM_XE_A 1\nstruct a { __u32 b:3; };\n",
            "2: bit-field b: its place depends on the compiler",
        ),
        (b"#define DRM_XE_A 1\nstruct a {\n __u32 b;\n", "end of xe_drm.h:2:"),
        (b"#define DRM_XE_A 1\nstruct a { struct b c; };\n", "xe_drm.h:2:"),
        (b'#define DRM_XE_A 1\n_Static_assert(sizeof(__u64) == 4, "no");\n', "static assertion failed"),
        (b"#include <no/such/file.h>\n", "no/such/file.h"),
        (b"#error not today\n", "not today"),
        (b"#error \x1b]0;a title\x07 \xc2\x9b31m\n", "]0;a title"),
        (b'#include "xe_drm.h"\n', "#include nested "),
    ],
)
@needs_compiler
def test_what_is_no_header_is_said_in_one_line(
    text: bytes, complaint: str, tmp_path: Path, capsys: Capture
) -> None:
    """Exit status 2: neither good nor bad."""
    path = tmp_path / "xe_drm.h"
    path.write_bytes(text)
    assert run([str(path), "--base", xe.LINUX]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"svmcts abi: {path}:")
    assert complaint in err
    assert err.count("\n") == 1
    assert err.strip().isprintable()


@pytest.mark.parametrize("name", ["missing.h", "."])
@needs_compiler
def test_a_missing_file_is_said(name: str, tmp_path: Path, capsys: Capture) -> None:
    """With its path."""
    assert run([str(tmp_path / name)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_no_installed_header_is_said(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Without an argument, and without an installed header."""
    monkeypatch.setattr(abi, "INSTALLED", (Path("/nonexistent/xe_drm.h"),))
    assert run([]) == 2
    assert "no /nonexistent/xe_drm.h: give a HEADER, or install one" in capsys.readouterr().err


@needs_compiler
def test_the_installed_header_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Compared with the kernel version of the headers next to it."""
    place = tmp_path / "include" / "drm"
    (tmp_path / "include" / "linux").mkdir(parents=True)
    place.mkdir()
    (place / "xe_drm.h").write_text(header())
    version = "#define LINUX_VERSION_MAJOR 7\n#define LINUX_VERSION_PATCHLEVEL 2\n"
    (tmp_path / "include" / "linux" / "version.h").write_text(version)
    monkeypatch.setattr(abi, "INSTALLED", (tmp_path / "no.h", place / "xe_drm.h"))
    assert run([]) == 0
    assert re.search(r"compared with Linux 7\.2, as .*/linux/version\.h says 7\.2;", capsys.readouterr().out)


@needs_compiler
@pytest.mark.parametrize("version", ["7.1", "9.0"])
def test_in_a_kernel_tree_its_makefile_tells_the_version(
    version: str, tmp_path: Path, capsys: Capture
) -> None:
    """A release candidate of a version that is not recorded yet must keep the newest recorded one."""
    place = tmp_path / "include" / "uapi" / "drm"
    place.mkdir(parents=True)
    major, minor = version.split(".")
    (tmp_path / "Makefile").write_text(f"VERSION = {major}\nPATCHLEVEL = {minor}\nSUBLEVEL = 0\n")
    (place / "xe_drm.h").write_text(header())
    assert run([str(place / "xe_drm.h")]) == 0
    base = version if version in history.recorded().names else history.recorded().names[-1]
    said = f"compared with Linux {base}, as {tmp_path}/Makefile says {version};"
    assert said in capsys.readouterr().out


@needs_compiler
def test_a_tree_older_than_the_record_is_no_base(tmp_path: Path, capsys: Capture) -> None:
    """Nothing to compare with."""
    place = tmp_path / "include" / "uapi" / "drm"
    place.mkdir(parents=True)
    (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 8\n")
    (place / "xe_drm.h").write_text(header())
    assert run([str(place / "xe_drm.h")]) == 2
    assert "is of Linux 6.8" in capsys.readouterr().err


@needs_compiler
def test_alone_a_header_is_compared_with_the_newest_version_it_has_names_of(
    tmp_path: Path, capsys: Capture
) -> None:
    """An older header may lack later names; a header that lost a single name is broken."""
    path = tmp_path / "some.h"
    path.write_text(header())
    assert run([str(path)]) == 0
    assert f"compared with Linux {xe.LINUX}, the newest it has names of" in capsys.readouterr().out
    path.write_text(changed(("#define DRM_XE_VM_BIND_FLAG_DECOMPRESS 128\n", "")))
    assert run([str(path)]) == 1
    assert "DRM_XE_VM_BIND_FLAG_DECOMPRESS: removed (in the uAPI since 7.1)" in capsys.readouterr().out


@needs_compiler
@pytest.mark.parametrize(("base", "status"), [("6.12", 0), ("6.18", 0), ("7.0", 1)])
def test_a_name_that_a_stable_update_brought_may_be_missing_before(
    base: str, status: int, tmp_path: Path, capsys: Capture
) -> None:
    """The recorded header of 6.18 has it; that of the release does not."""
    text = changed(("#define DRM_XE_MAX_SYNCS 1024\n", ""))
    assert checked(tmp_path / "xe_drm.h", text, capsys, "--base", base)[0] == status


@needs_compiler
def test_another_header_can_be_the_base(tmp_path: Path, capsys: Capture) -> None:
    """The headers before and after a patch can be compared."""
    before = tmp_path / "before.h"
    extra = "#define DRM_XE_SYNC_FLAG_SIGNAL 1\n#define DRM_XE_SYNC_FLAG_FOO 0x40000000"
    before.write_text(changed(("#define DRM_XE_SYNC_FLAG_SIGNAL 1", extra)))
    status, lines = checked(tmp_path / "after.h", header(), capsys, "--base", str(before))
    assert status == 1
    assert "breaks  DRM_XE_SYNC_FLAG_FOO: removed" in lines


@needs_compiler
def test_an_unknown_base_is_said(tmp_path: Path, capsys: Capture) -> None:
    """The message has the existing ones."""
    status, lines = checked(tmp_path / "xe_drm.h", header(), capsys, "--base", "6.13")
    assert status == 2
    known = ", ".join(history.recorded().names)
    assert lines == [f"svmcts abi: --base 6.13: no file, and recorded are {known}"]


@pytest.mark.parametrize(
    ("compiler", "complaint"),
    [
        ("", "no C compiler (cc, gcc, clang not on PATH): install one"),
        ("no-such-cc -m64", "no C compiler ($CC is 'no-such-cc'): install one"),
    ],
)
def test_without_a_compiler_that_is_said(
    compiler: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """One line, exit status 2."""
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run([str(tmp_path / "xe_drm.h")]) == 2
    assert complaint in capsys.readouterr().err


def test_the_history_tells_what_each_version_brought(capsys: Capture) -> None:
    """Recorded versions in order; no compiler is needed."""
    assert run(["--history"]) == 0
    text = capsys.readouterr().out
    blocks = re.split(r"^Linux ", text, flags=re.MULTILINE)[1:]
    assert [block.split(" ")[0] for block in blocks] == history.recorded().names
    seven = next(block for block in blocks if block.startswith("7.1 "))
    assert "  adds request DRM_IOCTL_XE_VM_GET_PROPERTY = 0xc038644f\n" in seven
    assert "  adds DRM_XE_VM_BIND_FLAG_DECOMPRESS = 0x80\n" in seven
    assert "  adds field drm_xe_madvise.purge_state_val.retained_ptr, __u64 at 40\n" in seven
    assert "  lacks drm_xe_madvise.preferred_mem_loc.pad\n" in text
    assert "adds DRM_XE_MAX_SYNCS = 0x400, from 6.19 by a stable update" in text


@needs_compiler
def test_a_new_version_is_recorded_as_its_difference(record: Path, tmp_path: Path, capsys: Capture) -> None:
    """One line per fact, and new names get their age."""
    path = tmp_path / "xe_drm.h"
    extra = "#define DRM_XE_SYNC_FLAG_SIGNAL 1\n#define DRM_XE_SYNC_FLAG_FOO 0x40000000"
    path.write_text(changed(("#define DRM_XE_SYNC_FLAG_SIGNAL 1", extra)))
    assert run(["--record", "9.4", str(path), "--from", "somewhere"]) == 0
    entry = json.loads(record.read_text())["versions"]["9.4"]
    assert entry == {
        "header": "somewhere",
        "removed": [],
        "changed": {"DRM_XE_SYNC_FLAG_FOO": "value 1073741824"},
    }
    history.recorded.cache_clear()
    assert history.since("DRM_XE_SYNC_FLAG_FOO") == "<=9.4"
    assert history.since("DRM_XE_VM_BIND_FLAG_DECOMPRESS") == "7.1"


@needs_compiler
def test_recording_a_version_again_changes_nothing_else(record: Path, tmp_path: Path) -> None:
    """The same header gives the same file."""
    path = tmp_path / "xe_drm.h"
    path.write_text(header())
    origin = json.loads(record.read_text())["versions"][xe.LINUX]["header"]
    before = record.read_text()
    assert run(["--record", xe.LINUX, str(path), "--from", origin]) == 0
    assert record.read_text() == before


@needs_compiler
def test_a_header_that_breaks_is_not_recorded(record: Path, tmp_path: Path, capsys: Capture) -> None:
    """The record is a promise."""
    path = tmp_path / "xe_drm.h"
    path.write_text(changed(("#define DRM_XE_ATOMIC_CPU 3", "#define DRM_XE_ATOMIC_CPU 4")))
    before = record.read_text()
    assert run(["--record", "9.4", str(path), "--from", "somewhere"]) == 2
    out, err = capsys.readouterr()
    assert "DRM_XE_ATOMIC_CPU: value 3 -> 4" in out
    assert "not recorded" in err
    assert record.read_text() == before


def test_the_recorded_file_is_in_the_form_that_recording_writes() -> None:
    """A hand edit that the next --record would reformat."""
    file = Path(history.__file__).with_name("abi_history.json")
    past = History(json.loads(file.read_text()))
    assert file.read_text() == json.dumps(past.document(), indent=1) + "\n"
    assert past.names == sorted(past.names, key=history.sort_key)


# Additions of a header are compared with all that is recorded, not only with its base.

BACKPORT = '#include "drm.h"\n#define DRM_XE_VM_BIND_FLAG_NULL (1 << 2)\n'


def pair(tmp_path: Path, base: str, text: str, capsys: Capture) -> tuple[int, list[str]]:
    """Exit status and findings of ``text`` against ``base``, both whole headers."""
    (tmp_path / "base.h").write_text(base)
    status, lines = checked(tmp_path / "xe_drm.h", text, capsys, "--base", str(tmp_path / "base.h"))
    return status, lines[1:-1]


ELSEWHERE = {
    "flag-on-another-bit": (
        "#define DRM_XE_VM_BIND_FLAG_DECOMPRESS (1 << 12)\n",
        ["breaks  DRM_XE_VM_BIND_FLAG_DECOMPRESS: 0x1000 here, 0x80 in Linux 7.1"],
    ),
    "flag-on-the-bit-of-another": (
        "#define DRM_XE_VM_BIND_FLAG_DECOMPRESS (1 << 6)\n",
        [
            "breaks  DRM_XE_VM_BIND_FLAG_DECOMPRESS: bit 0x40 is that of DRM_XE_VM_BIND_FLAG_MADVISE_AUTORESET"
            " since 6.18",
            "breaks  DRM_XE_VM_BIND_FLAG_DECOMPRESS: 0x40 here, 0x80 in Linux 7.1",
        ],
    ),
    "unknown-flag-on-a-later-bit": (
        "#define DRM_XE_VM_BIND_FLAG_FOO (1 << 7)\n",
        ["breaks  DRM_XE_VM_BIND_FLAG_FOO: bit 0x80 is that of DRM_XE_VM_BIND_FLAG_DECOMPRESS since 7.1"],
    ),
    "value-of-another": (
        "#define DRM_XE_DEVICE_QUERY_FOO 10\n",
        ["breaks  DRM_XE_DEVICE_QUERY_FOO: value 0xa is that of DRM_XE_DEVICE_QUERY_EU_STALL since <=6.16"],
    ),
    "request-on-another-number": (
        "struct drm_xe_madvise { __u64 a[8]; };\n"
        "#define DRM_IOCTL_XE_MADVISE DRM_IOW(0x5c, struct drm_xe_madvise)\n",
        [
            "breaks  drm_xe_madvise.a: the place at offset 0 is that of drm_xe_madvise.extensions since 6.18",
            "breaks  DRM_IOCTL_XE_MADVISE: request 0x4040645c here, request 0x4040644c in Linux 6.18",
        ],
    ),
    "request-on-the-number-of-another": (
        "struct drm_xe_foo { __u64 a; };\n#define DRM_IOCTL_XE_FOO DRM_IOW(0x4f, struct drm_xe_foo)\n",
        ["breaks  DRM_IOCTL_XE_FOO: number 0x4f is that of DRM_IOCTL_XE_VM_GET_PROPERTY since 7.1"],
    ),
    "structure-of-another-size": (
        "struct drm_xe_query_pxp_status { __u32 status; __u32 supported_session_types; __u64 reserved; };\n",
        ["breaks  drm_xe_query_pxp_status: 16 bytes here, 8 bytes in Linux 6.16"],
    ),
    "field-at-another-place": (
        "struct drm_xe_query_pxp_status { __u32 supported_session_types; __u32 status; };\n",
        [
            "breaks  drm_xe_query_pxp_status.supported_session_types: __u32 at offset 0 here,"
            " __u32 at offset 4 in Linux 6.16",
            "breaks  drm_xe_query_pxp_status.status: __u32 at offset 4 here, __u32 at offset 0 in Linux 6.16",
        ],
    ),
    "field-at-the-place-of-another": (
        "struct drm_xe_query_pxp_status { __u32 status; __u32 sessions; };\n",
        [
            "breaks  drm_xe_query_pxp_status.sessions: the place at offset 4 is that of"
            " drm_xe_query_pxp_status.supported_session_types since <=6.16"
        ],
    ),
}


@needs_compiler
@pytest.mark.parametrize("name", ELSEWHERE)
def test_new_name_unlike_recorded_one_breaks(name: str, tmp_path: Path, capsys: Capture) -> None:
    """A program built for the version that is named would find another meaning."""
    added, expected = ELSEWHERE[name]
    status, lines = pair(tmp_path, BACKPORT, BACKPORT + added, capsys)
    assert status == 1
    found = [line for line in lines if line.startswith("breaks")]
    assert found == expected


@needs_compiler
def test_backport_like_the_recorded_one_passes(tmp_path: Path, capsys: Capture) -> None:
    """The same name with the same value, and a structure as it is later."""
    added = (
        "#define DRM_XE_VM_BIND_FLAG_DECOMPRESS (1 << 7)\n"
        "struct drm_xe_query_pxp_status { __u32 status; __u32 supported_session_types; };\n"
    )
    status, lines = pair(tmp_path, BACKPORT, BACKPORT + added, capsys)
    assert (status, [line.split()[0] for line in lines]) == (0, ["adds", "adds"])


RELATED = {
    "renamed": (
        "#define DRM_XE_X_B 1\n#define DRM_XE_X_A DRM_XE_X_B\n",
        ["DRM_XE_X_B: 1, an alias of DRM_XE_X_A"],
    ),
    "renamed-in-brackets": (
        "#define DRM_XE_X_B 1\n#define DRM_XE_X_A (DRM_XE_X_B)\n",
        ["DRM_XE_X_B: 1, an alias of DRM_XE_X_A"],
    ),
    "alias": (
        "#define DRM_XE_X_A 1\n#define DRM_XE_X_B DRM_XE_X_A\n",
        ["DRM_XE_X_B: 1, an alias of DRM_XE_X_A"],
    ),
    "alias-of-an-alias": (
        "#define DRM_XE_X_C 1\n#define DRM_XE_X_B DRM_XE_X_C\n#define DRM_XE_X_A DRM_XE_X_B\n",
        ["DRM_XE_X_C: 1, an alias of DRM_XE_X_A", "DRM_XE_X_B: 1, an alias of DRM_XE_X_A"],
    ),
    "enumerator": (
        "enum { DRM_XE_X_B = 1, DRM_XE_X_A = DRM_XE_X_B };\n",
        ["DRM_XE_X_B: 1, an alias of DRM_XE_X_A"],
    ),
    "or": (
        "#define DRM_XE_X_A 1\n#define DRM_XE_X_B 2\n#define DRM_XE_X_ALL (DRM_XE_X_A | DRM_XE_X_B)\n",
        ["DRM_XE_X_B: 2", "DRM_XE_X_ALL: 3, of DRM_XE_X_A and DRM_XE_X_B"],
    ),
    "mask": (
        "#define DRM_XE_X_A 1\n#define DRM_XE_X_MASK (DRM_XE_X_A)\n",
        ["DRM_XE_X_MASK: 1, of DRM_XE_X_A"],
    ),
    "mask-as-a-number": (
        "#define DRM_XE_X_A 1\n#define DRM_XE_X_B 2\n#define DRM_XE_X_MASK 0x3\n",
        ["DRM_XE_X_B: 2", "DRM_XE_X_MASK: 3"],
    ),
}


@needs_compiler
@pytest.mark.parametrize("name", RELATED)
@pytest.mark.parametrize("family", ["VM_BIND_FLAG", "OA_CAPS"])
def test_aliases_and_masks_take_no_bit(name: str, family: str, tmp_path: Path, capsys: Capture) -> None:
    """A rename that stays compatible, and names for several flags."""
    text, expected = RELATED[name]
    flags = text.replace("DRM_XE_X_", f"DRM_XE_{family}_")
    first = "READONLY" if family == "VM_BIND_FLAG" else "BASE"
    second = "IMMEDIATE" if family == "VM_BIND_FLAG" else "SYNCS"
    names = {
        f"DRM_XE_{family}_A": f"DRM_XE_{family}_{first}",
        f"DRM_XE_{family}_B": f"DRM_XE_{family}_{second}",
    }

    def real(line: str) -> str:
        swapped = names if "_B 2" in text else {f"DRM_XE_{family}_A": names[f"DRM_XE_{family}_A"]}
        for short, long in swapped.items():
            line = re.sub(rf"\b{short}\b", long, line)
        return line

    base = real(f"#define DRM_XE_{family}_A 1\n")
    status, lines = pair(tmp_path, base, real(flags), capsys)
    assert lines == [f"adds    {real(line.replace('DRM_XE_X_', f'DRM_XE_{family}_'))}" for line in expected]
    assert status == 0


@needs_compiler
def test_mask_over_half_a_flag_breaks(tmp_path: Path, capsys: Capture) -> None:
    """The name alone does not make it a mask of flags."""
    base = "#define DRM_XE_OA_CAPS_BASE 1\n"
    text = base + "#define DRM_XE_OA_CAPS_MASK 0x101\n"
    status, lines = pair(tmp_path, base, text, capsys)
    assert status == 1
    assert lines[0] == "breaks  DRM_XE_OA_CAPS_MASK: bit 0x1 is that of DRM_XE_OA_CAPS_BASE"


@needs_compiler
def test_mask_that_grows_is_a_warning(tmp_path: Path, capsys: Capture) -> None:
    """It has to, with each new flag; one that loses a bit breaks."""
    one = "#define DRM_XE_OA_CAPS_BASE 1\n#define DRM_XE_OA_CAPS_MASK DRM_XE_OA_CAPS_BASE\n"
    two = (
        "#define DRM_XE_OA_CAPS_BASE 1\n#define DRM_XE_OA_CAPS_SYNCS 2\n"
        "#define DRM_XE_OA_CAPS_MASK (DRM_XE_OA_CAPS_BASE | DRM_XE_OA_CAPS_SYNCS)\n"
    )
    assert pair(tmp_path, one, two, capsys) == (
        0,
        ["warns   DRM_XE_OA_CAPS_MASK: covers more bits, 1 -> 3", "adds    DRM_XE_OA_CAPS_SYNCS: 2"],
    )
    assert pair(tmp_path, two, one, capsys)[0] == 1


# Both widths are measured, or there is no answer.


@needs_compiler
@pytest.mark.parametrize("include", ["<linux/types.h>", "<stdint.h>", "<drm/drm.h>", "<stddef.h>"])
def test_hole_of_32_bits_found_with_any_include(include: str, tmp_path: Path, capsys: Capture) -> None:
    """No 32-bit C library is needed for what headers include."""
    text = f"#include {include}\n" + BACKPORT + "struct drm_xe_foo { __u32 a; __u64 b; };\n"
    status, lines = pair(tmp_path, BACKPORT, text, capsys)
    assert status == 1
    assert "breaks  drm_xe_foo: differs for 32-bit programs: size 16 -> 12 bytes" in lines


@needs_compiler
def test_names_of_one_width_break(tmp_path: Path, capsys: Capture) -> None:
    """A program of the other width does not compile."""
    text = BACKPORT + "#ifdef __LP64__\n#define DRM_XE_LONG 1\n#else\n#define DRM_XE_SHORT 1\n#endif\n"
    status, lines = pair(tmp_path, BACKPORT, text, capsys)
    assert status == 1
    assert lines[:2] == [
        "breaks  DRM_XE_LONG: is not there for 32-bit programs",
        "breaks  DRM_XE_SHORT: is there for 32-bit programs only",
    ]


@needs_compiler
def test_width_that_cannot_be_measured_is_no_answer(tmp_path: Path, capsys: Capture) -> None:
    """Status 2 and the reason; breakage with 64 bits is still status 1."""
    only_64 = '\n#ifndef __LP64__\n#error "not for 32 bits"\n#endif\n'
    status, lines = checked(tmp_path / "xe_drm.h", header() + only_64, capsys)
    assert status == 2
    assert lines[0].endswith("; 64 bits only")
    assert lines[-1].startswith(f"svmcts abi: not checked for 32-bit programs: {tmp_path}/xe_drm.h:")
    assert lines[-1].endswith('"not for 32 bits"')
    broken = changed(("#define DRM_XE_ATOMIC_CPU 3", "#define DRM_XE_ATOMIC_CPU 4"))
    assert checked(tmp_path / "xe_drm.h", broken + only_64, capsys)[0] == 1


# Origins of headers.


@needs_compiler
def test_header_and_base_may_be_pipes(tmp_path: Path, capsys: Capture) -> None:
    """As a shell's <(git show REVISION:FILE) makes them: written, and perhaps closed, before they are read."""
    ends = [os.pipe() for _ in range(2)]
    for at, (_, write) in enumerate(ends):
        writer = threading.Thread(target=write_all, args=(write, header().encode()))
        writer.start()
        if at:
            writer.join(timeout=0.2)
    (new, _), (old, _) = ends
    try:
        assert run([f"/dev/fd/{new}", "--base", f"/dev/fd/{old}"]) == 0
    finally:
        os.close(new)
        os.close(old)
    assert capsys.readouterr().out.startswith(f"/dev/fd/{new}: compared with /dev/fd/{old}; 64 and 32 bits\n")


def write_all(descriptor: int, data: bytes) -> None:
    """All of it, until the end of the file."""
    with open(descriptor, "wb") as file:
        file.write(data)


FILE = "include/uapi/drm/xe_drm.h"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel tree with tags v7.2 and v9.0; the second has a flag more, in a header next to the first."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    made = GitTree(tmp_path / "linux")
    made.write(FILE, header())
    made.write("Makefile", "VERSION = 7\nPATCHLEVEL = 2\n")
    made.commit("v7.2")
    made.git("tag", "v7.2")
    made.write("include/uapi/drm/xe_more.h", "#define DRM_XE_SYNC_FLAG_FOO 0x40000000\n")
    made.write(FILE, header() + '#include "xe_more.h"\n')
    made.write("Makefile", "VERSION = 9\nPATCHLEVEL = 0\n")
    made.commit("v9.0")
    made.git("tag", "v9.0")
    (made.path / FILE).unlink()
    monkeypatch.chdir(made.path)
    return made.path


@needs_compiler
def test_two_git_revisions_are_compared(tree: Path, capsys: Capture) -> None:
    """Each with the headers next to it at that revision."""
    assert run([f"v9.0:{FILE}", "--base", f"v7.2:{FILE}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        f"v9.0:{FILE}: compared with v7.2:{FILE}; 64 and 32 bits",
        "adds    DRM_XE_SYNC_FLAG_FOO: 0x40000000",
    ]
    assert run([f"v7.2:{FILE}", "--base", f"v9.0:{FILE}"]) == 1
    assert "breaks  DRM_XE_SYNC_FLAG_FOO: removed\n" in capsys.readouterr().out


@needs_compiler
def test_git_revision_says_its_version(tree: Path, capsys: Capture) -> None:
    """By its Makefile, not by that of the work tree."""
    assert run([f"v7.2:{FILE}"]) == 0
    assert "compared with Linux 7.2, as v7.2:Makefile says 7.2;" in capsys.readouterr().out


@needs_compiler
@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        (f"v1.0:{FILE}", "no such file, and git says: fatal: "),
        ("v9.0:include/uapi/drm/i915_drm.h", "no file i915_drm.h in v9.0:include/uapi/drm/"),
        ("v9.0:nowhere/xe_drm.h", "no such file, and git says: fatal: "),
    ],
)
def test_git_revision_without_the_file_is_said(
    wanted: str, complaint: str, tree: Path, capsys: Capture
) -> None:
    """One line, status 2, as HEADER and as --base."""
    assert run([wanted, "--base", "7.2"]) == 2
    assert capsys.readouterr().err.startswith(f"svmcts abi: {wanted}: {complaint}")
    assert run([f"v9.0:{FILE}", "--base", wanted]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"svmcts abi: --base {wanted}: {complaint}")
    assert (out, err.count("\n")) == ("", 1)


# No wait is endless.


@needs_compiler
@pytest.mark.parametrize("as_base", [False, True])
def test_pipe_nobody_writes_to_is_refused(
    as_base: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """After a while."""
    monkeypatch.setattr(source, "SECONDS", 0.2)
    fifo, path = tmp_path / "fifo", tmp_path / "xe_drm.h"
    os.mkfifo(fifo)
    path.write_text(header())
    assert run([str(path), "--base", str(fifo)] if as_base else [str(fifo)]) == 2
    assert capsys.readouterr().err.endswith(f"{fifo}: not written to its end within 0.2 s\n")


@needs_compiler
@pytest.mark.parametrize(
    ("path", "complaint"),
    [("/dev/zero", "not a file"), ("/dev", "not a file, a directory"), ("a\0b", "not the name")],
)
def test_what_is_not_a_file_is_refused(path: str, complaint: str, capsys: Capture) -> None:
    """It is refused without being read."""
    assert run([path]) == 2
    assert complaint in capsys.readouterr().err


@needs_compiler
def test_endless_pipe_is_refused(capsys: Capture) -> None:
    """It is more than any header."""
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        assert endless.stdout
        assert run([f"/dev/fd/{endless.stdout.fileno()}"]) == 2
        endless.stdout.close()
        endless.terminate()
    assert capsys.readouterr().err.endswith(": more than 4 MiB, not a header\n")


@needs_compiler
@pytest.mark.parametrize("kind", ["include", "macro"])
def test_compiler_is_not_waited_for_without_end(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """An include of a pipe, and a macro that doubles forty times: no process of the compiler remains."""
    monkeypatch.setattr(compiler, "SECONDS", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fifo = tmp_path / "fifo.h"
    os.mkfifo(fifo)
    doubling = (
        "".join(f"#define X{at + 1} X{at} X{at}\n" for at in range(40)) + "#define X0 1 +\nint x = X40 1;\n"
    )
    text = f'#include "{fifo}"\n' if kind == "include" else doubling
    path = tmp_path / "xe_drm.h"
    path.write_text(text)
    assert run([str(path), "--base", xe.LINUX]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"svmcts abi: {path}: ")
    # The kernel may still be ending killed processes.
    wait_until(lambda: not running_below(tmp_path), 10, f"no process to be in {tmp_path}")


def running_below(folder: Path) -> list[str]:
    """The working directories in a folder that processes are in."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append(str((process / "cwd").readlink()))
    return [place for place in found if place.startswith(str(folder))]
