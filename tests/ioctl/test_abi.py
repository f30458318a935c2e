# SPDX-License-Identifier: MIT
"""svmcts abi: every sort of breakage is named, additions pass, and what cannot be checked is said in one line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ioctl import abi, history
from ioctl.probe import NoCompilerError, find_compiler
from tests.ioctl.c_header import header

try:
    find_compiler()
    COMPILER = ""
except NoCompilerError as error:
    COMPILER = str(error)

needs_compiler = pytest.mark.skipif(bool(COMPILER), reason=COMPILER)
Capture = pytest.CaptureFixture[str]


def checked(path: Path, text: str, capsys: Capture, *options: str) -> tuple[int, list[str]]:
    """Exit status and output lines of a check of ``text`` against Linux 7.3."""
    path.write_text(text)
    base = [] if "--base" in options else ["--base", "7.3"]
    status = abi.main([str(path), *base, *options])
    out, err = capsys.readouterr()
    return status, (out + err).splitlines()


def changed(*edits: tuple[str, str]) -> str:
    """The header of 7.3 with these replacements, each of which must fit exactly once."""
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
        [("DRM_IOW(0x4c, struct drm_xe_madvise)", "DRM_IOW(0x50, struct drm_xe_madvise)")],
        [
            "breaks  DRM_IOCTL_XE_MADVISE: request 0x4040644c -> 0x40406450: number 0x4c -> 0x50"
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
                "#define DRM_XE_SYNC_FLAG_SIGNAL 1\n#define DRM_XE_SYNC_FLAG_FOO 0x3",
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
            "#define DRM_XE_FOO 0x10\n"
            "#define DRM_IOCTL_XE_FOO DRM_IOWR(0x50, struct drm_xe_foo)\n"
            "#define DRM_IOCTL_XE_VM_BIND ",
        ),
        (
            "#define DRM_XE_SYNC_FLAG_SIGNAL 1",
            "#define DRM_XE_SYNC_FLAG_SIGNAL 1\n#define DRM_XE_SYNC_FLAG_FOO 2",
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
        "adds    DRM_XE_SYNC_FLAG_FOO: 2",
        "adds    DRM_XE_FOO: 0x10",
        "adds    DRM_IOCTL_XE_FOO: _IOWR('d', 0x50, 16 bytes) = 0xc0106450",
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
            "#define DRM_IOCTL_XE_FOO DRM_IOWR(0x52, struct drm_xe_foo)\n"
            "#define DRM_IOCTL_XE_VM_BIND ",
        )
    )
    status, lines = checked(tmp_path / "xe_drm.h", text, capsys)
    assert [line for line in lines if line.startswith("warns")] == [
        "warns   drm_xe_foo: bytes 2 to 3 have no name; call them pad and reject what is not zero",
        "warns   DRM_IOCTL_XE_FOO: number 0x52 leaves a hole below it; the header asks for none",
    ]
    assert status == 0


@needs_compiler
def test_a_layout_that_32_bit_programs_see_differently_breaks(tmp_path: Path, capsys: Capture) -> None:
    """A __u64 behind a lone __u32: its place depends on the architecture, and xe translates nothing."""
    text = changed(
        (
            "#define DRM_IOCTL_XE_VM_BIND ",
            "struct drm_xe_foo {\n\t__u32 id;\n\t__u64 value;\n};\n#define DRM_IOCTL_XE_VM_BIND ",
        )
    )
    status, lines = checked(tmp_path / "xe_drm.h", text, capsys)
    if "one width only" in lines[0]:
        pytest.skip("the compiler does not do -m32")
    assert status == 1
    assert "breaks  drm_xe_foo: differs for 32-bit programs: size 16 -> 12 bytes" in lines
    assert "breaks  drm_xe_foo.value: differs for 32-bit programs: offset 8 -> 4" in lines


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "declares no DRM_XE_ names, not a xe_drm.h"),
        (b"int x = 5;\n", "1: cannot read a declaration that begins with 'int'"),
        (b"\xff\xfe\x00", "not text"),
        (
            b"#define DRM_XE_A 1\nstruct a { __u32 b:3; };\n",
            "2: bit-field b: its place depends on the compiler",
        ),
        (b"#define DRM_XE_A 1\nstruct a {\n __u32 b;\n", "3: more expected, the end found"),
        (b"#define DRM_XE_A 1\n#define DRM_XE_B some_call()\n", "probe.c:"),
        (b"#define DRM_XE_A 1\nstruct a { struct b c; };\n", "xe_drm.h:2"),
        (
            b"#define DRM_XE_A 1\nstruct a { int b, c; };\n",
            "2: cannot read a member that begins with 'int b'",
        ),
        (b"#include <no/such/file.h>\n", "no/such/file.h: No such file or directory"),
        (b"#error not today\n", "not today"),
    ],
)
@needs_compiler
def test_what_is_no_header_is_said_in_one_line(
    text: bytes, complaint: str, tmp_path: Path, capsys: Capture
) -> None:
    """Exit status 2: neither good nor bad."""
    path = tmp_path / "xe_drm.h"
    path.write_bytes(text)
    assert abi.main([str(path), "--base", "7.3"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"svmcts abi: {path}:")
    assert complaint in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["missing.h", "."])
@needs_compiler
def test_a_missing_file_is_said(name: str, tmp_path: Path, capsys: Capture) -> None:
    """With its path."""
    assert abi.main([str(tmp_path / name)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_no_installed_header_is_said(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Without an argument, where nothing is installed."""
    monkeypatch.setattr(abi, "INSTALLED", (Path("/nonexistent/xe_drm.h"),))
    assert abi.main([]) == 2
    assert "no /nonexistent/xe_drm.h: give a HEADER, or install one" in capsys.readouterr().err


@needs_compiler
def test_the_installed_header_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Compared with the kernel version that the headers around it tell."""
    place = tmp_path / "include" / "drm"
    (tmp_path / "include" / "linux").mkdir(parents=True)
    place.mkdir()
    (place / "xe_drm.h").write_text(header())
    version = "#define LINUX_VERSION_MAJOR 7\n#define LINUX_VERSION_PATCHLEVEL 2\n"
    (tmp_path / "include" / "linux" / "version.h").write_text(version)
    monkeypatch.setattr(abi, "INSTALLED", (tmp_path / "no.h", place / "xe_drm.h"))
    assert abi.main([]) == 0
    assert re.search(r"compared with Linux 7\.2, as .*/linux/version\.h says 7\.2;", capsys.readouterr().out)


@needs_compiler
@pytest.mark.parametrize(("minor", "base"), [("4", "7.3"), ("1", "7.1")])
def test_in_a_kernel_tree_its_makefile_tells_the_version(
    minor: str, base: str, tmp_path: Path, capsys: Capture
) -> None:
    """A release candidate of a version that is not recorded yet must keep the newest recorded one."""
    place = tmp_path / "include" / "uapi" / "drm"
    place.mkdir(parents=True)
    (tmp_path / "Makefile").write_text(f"VERSION = 7\nPATCHLEVEL = {minor}\nSUBLEVEL = 0\n")
    (place / "xe_drm.h").write_text(header())
    assert abi.main([str(place / "xe_drm.h")]) == 0
    assert f"compared with Linux {base}, as {tmp_path}/Makefile says 7.{minor};" in capsys.readouterr().out


@needs_compiler
def test_a_tree_older_than_the_record_is_no_base(tmp_path: Path, capsys: Capture) -> None:
    """Nothing to compare with."""
    place = tmp_path / "include" / "uapi" / "drm"
    place.mkdir(parents=True)
    (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 8\n")
    (place / "xe_drm.h").write_text(header())
    assert abi.main([str(place / "xe_drm.h")]) == 2
    assert "is of Linux 6.8" in capsys.readouterr().err


@needs_compiler
def test_alone_a_header_is_compared_with_the_newest_version_it_has_names_of(
    tmp_path: Path, capsys: Capture
) -> None:
    """An older header is not blamed for what came later, and one that lost a single name is."""
    path = tmp_path / "some.h"
    path.write_text(header())
    assert abi.main([str(path)]) == 0
    assert "compared with Linux 7.3, the newest it has names of" in capsys.readouterr().out
    path.write_text(changed(("#define DRM_XE_VM_BIND_FLAG_DECOMPRESS 128\n", "")))
    assert abi.main([str(path)]) == 1
    assert "DRM_XE_VM_BIND_FLAG_DECOMPRESS: removed (in the uAPI since 7.1)" in capsys.readouterr().out


@needs_compiler
@pytest.mark.parametrize(("base", "status"), [("6.12", 0), ("6.18", 0), ("7.0", 1)])
def test_a_name_that_a_stable_update_brought_may_be_missing_before(
    base: str, status: int, tmp_path: Path, capsys: Capture
) -> None:
    """The recorded header of 6.18 has it, that of the release had not."""
    text = changed(("#define DRM_XE_MAX_SYNCS 1024\n", ""))
    assert checked(tmp_path / "xe_drm.h", text, capsys, "--base", base)[0] == status


@needs_compiler
def test_another_header_can_be_the_base(tmp_path: Path, capsys: Capture) -> None:
    """Before and after a patch."""
    before = tmp_path / "before.h"
    extra = "#define DRM_XE_SYNC_FLAG_SIGNAL 1\n#define DRM_XE_SYNC_FLAG_FOO 2"
    before.write_text(changed(("#define DRM_XE_SYNC_FLAG_SIGNAL 1", extra)))
    status, lines = checked(tmp_path / "after.h", header(), capsys, "--base", str(before))
    assert status == 1
    assert "breaks  DRM_XE_SYNC_FLAG_FOO: removed" in lines


@needs_compiler
def test_an_unknown_base_is_said(tmp_path: Path, capsys: Capture) -> None:
    """With those that there are."""
    status, lines = checked(tmp_path / "xe_drm.h", header(), capsys, "--base", "6.13")
    assert status == 2
    assert lines == [
        "svmcts abi: --base 6.13: no file, and recorded are 6.12, 6.16, 6.17, 6.18, 6.19, 7.0, 7.1, 7.2, 7.3"
    ]


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
    assert abi.main([str(tmp_path / "xe_drm.h")]) == 2
    assert complaint in capsys.readouterr().err


def test_the_history_tells_what_each_version_brought(capsys: Capture) -> None:
    """Recorded versions in order; no compiler is needed."""
    assert abi.main(["--history"]) == 0
    text = capsys.readouterr().out
    blocks = re.split(r"^Linux ", text, flags=re.MULTILINE)[1:]
    assert [block.split(" ")[0] for block in blocks] == history.recorded().names
    seven = next(block for block in blocks if block.startswith("7.1 "))
    assert "  adds request DRM_IOCTL_XE_VM_GET_PROPERTY = 0xc038644f\n" in seven
    assert "  adds DRM_XE_VM_BIND_FLAG_DECOMPRESS = 0x80\n" in seven
    assert "  adds field drm_xe_madvise.purge_state_val.retained_ptr, __u64 at 40\n" in seven
    assert "  lacks drm_xe_madvise.preferred_mem_loc.pad\n" in text
    assert "adds DRM_XE_MAX_SYNCS = 0x400, from 6.19 by a stable update" in text


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the record to write to."""
    copy = tmp_path / "abi_history.json"
    copy.write_text(history.FILE.read_text())
    monkeypatch.setattr(history, "FILE", copy)
    history.recorded.cache_clear()
    yield copy
    history.recorded.cache_clear()


@needs_compiler
def test_a_new_version_is_recorded_as_its_difference(record: Path, tmp_path: Path, capsys: Capture) -> None:
    """One line a fact, and the age of new names is known at once."""
    path = tmp_path / "xe_drm.h"
    extra = "#define DRM_XE_SYNC_FLAG_SIGNAL 1\n#define DRM_XE_SYNC_FLAG_FOO 2"
    path.write_text(changed(("#define DRM_XE_SYNC_FLAG_SIGNAL 1", extra)))
    assert abi.main(["--record", "7.4", str(path), "--from", "somewhere"]) == 0
    entry = json.loads(record.read_text())["versions"]["7.4"]
    assert entry == {"header": "somewhere", "removed": [], "changed": {"DRM_XE_SYNC_FLAG_FOO": "value 2"}}
    history.recorded.cache_clear()
    assert history.since("DRM_XE_SYNC_FLAG_FOO") == "7.4"
    assert history.since("DRM_XE_VM_BIND_FLAG_DECOMPRESS") == "7.1"


@needs_compiler
def test_recording_a_version_again_changes_nothing_else(record: Path, tmp_path: Path) -> None:
    """The same header gives the same file."""
    path = tmp_path / "xe_drm.h"
    path.write_text(header())
    origin = json.loads(record.read_text())["versions"]["7.3"]["header"]
    before = record.read_text()
    assert abi.main(["--record", "7.3", str(path), "--from", origin]) == 0
    assert record.read_text() == before


@needs_compiler
def test_a_header_that_breaks_is_not_recorded(record: Path, tmp_path: Path, capsys: Capture) -> None:
    """The record is a promise."""
    path = tmp_path / "xe_drm.h"
    path.write_text(changed(("#define DRM_XE_ATOMIC_CPU 3", "#define DRM_XE_ATOMIC_CPU 4")))
    before = record.read_text()
    assert abi.main(["--record", "7.4", str(path), "--from", "somewhere"]) == 2
    out, err = capsys.readouterr()
    assert "DRM_XE_ATOMIC_CPU: value 3 -> 4" in out
    assert "not recorded" in err
    assert record.read_text() == before


def test_the_recorded_file_is_in_the_form_that_recording_writes() -> None:
    """A hand edit that the next --record would reformat."""
    past = history.recorded()
    assert history.FILE.read_text() == json.dumps(past.document(), indent=1) + "\n"
    assert past.names == sorted(past.names, key=history.sort_key)
