# SPDX-License-Identifier: MIT
"""Measuring of a header: all constructs of uAPI headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ioctl.compiler import NoCompilerError, find_compiler
from ioctl.facts import Field, Size, Table, Text, Value
from ioctl.probe import Probe
from ioctl.source import HeaderError, find

try:
    COMPILER = find_compiler()
except NoCompilerError as error:
    pytest.skip(str(error), allow_module_level=True)

FLAG = "#define DRM_XE_X_FLAG_A (1 << 0)\n"


def measured(tmp_path: Path, text: str, *, name: str = "xe_drm.h") -> Table:
    """The facts of a header with this text, in a folder with other headers."""
    path = tmp_path / name
    path.write_text(text)
    return Probe(find(str(path), tmp_path), COMPILER).table()


def test_members_come_with_their_paths_and_types(tmp_path: Path) -> None:
    """Unnamed members belong to the owner, named ones get a path, arrays and flexible arrays are marked."""
    table = measured(
        tmp_path,
        FLAG + "struct b { __u32 q; };\n"
        "struct a {\n"
        "  __u32 x;\n"
        "  struct b y[2];\n"
        "  union { __u64 p; struct { __u32 lo; __u32 hi; }; };\n"
        "  struct { __u32 val; } inner;\n"
        "  struct tag { __u8 t; } tagged;\n"
        "  __u64 __attribute__((aligned(8))) z;\n"
        "  const __s32 m[2][3];\n"
        "  enum e { E1 = 7 } kind;\n"
        "  void *where;\n"
        "  char tail[];\n"
        "} __attribute__((packed));\n",
    )
    assert {name: fact for name, fact in table.items() if name.startswith("a.")} == {
        "a.x": Field(0, 4, "__u32"),
        "a.y": Field(4, 8, "struct b[]"),
        "a.p": Field(12, 8, "__u64"),
        "a.lo": Field(12, 4, "__u32"),
        "a.hi": Field(16, 4, "__u32"),
        "a.inner": Field(20, 4, "struct"),
        "a.inner.val": Field(20, 4, "__u32"),
        "a.tagged": Field(24, 1, "struct tag"),
        "a.z": Field(32, 8, "__u64"),
        "a.m": Field(40, 24, "__s32[][]"),
        "a.kind": Field(64, 4, "enum e"),
        "a.where": Field(68, 8, "pointer"),
        "a.tail": Field(76, 0, "char[]"),
    }
    assert (table["a"], table["tag"], table["E1"]) == (Size(80), Size(1), Value(7))


def test_constants_are_found_wherever_they_are(tmp_path: Path) -> None:
    """In structures and enums, too; what is not a number is kept as text, guards and undefined names are not."""
    table = measured(
        tmp_path,
        '#ifndef GUARD\n#define GUARD\n#define DRM_XE_F(x) x\n#define DRM_XE_S "text"\n#define DRM_XE_A 1\n'
        "struct s {\n#define DRM_XE_B (1 << 0)\n  __u32 x;\n};\n"
        "enum e {\n#define DRM_XE_C 3\n  D = _IO('i', 0x0),\n  E,\n  F2 = (1 + (2)), /* non-ABI */\n  G = -1,\n};\n"
        '#define DRM_XE_T { [D] = "d", [DRM_XE_C] = "c" }\n'
        "#define DRM_XE_N -5\n#define DRM_XE_TOP (1ull << 63)\n#define DRM_XE_GONE 1\n#undef DRM_XE_GONE\n"
        "#define DRM_XE_CALL some_call()\n#define DRM_XE_OPEN (1\n#endif\n",
    )
    assert {name: fact for name, fact in table.items() if not name.startswith("s")} == {
        "DRM_XE_F": Text("(x) x"),
        "DRM_XE_S": Text('"text"'),
        "DRM_XE_A": Value(1),
        "DRM_XE_B": Value(1),
        "DRM_XE_C": Value(3),
        "D": Value(ord("i") << 8),
        "E": Value((ord("i") << 8) + 1),
        "F2": Value(3, abi=False),
        "G": Value(-1),
        f"DRM_XE_T[{ord('i') << 8}]": Text("d"),
        "DRM_XE_T[3]": Text("c"),
        "DRM_XE_N": Value(-5),
        "DRM_XE_TOP": Value(1 << 63),
        "DRM_XE_CALL": Text("some_call()"),
        "DRM_XE_OPEN": Text("(1"),
    }


CONSTRUCTS = {
    "counted-by": ("struct drm_xe_x { __u32 n; __u32 pad; __u64 v[] __counted_by(n); };", ""),
    "flex-array-in-union": (
        "struct drm_xe_x { __u32 n; __u32 pad; union { __DECLARE_FLEX_ARRAY(__u64, v); __u8 b[8]; }; };",
        "drm_xe_x.v",
    ),
    "struct-group": (
        "struct drm_xe_x { __struct_group(drm_xe_head, head, , __u32 a; __u32 b;); __u64 v; };",
        "drm_xe_x.head",
    ),
    "aligned-u64": ("struct drm_xe_x { __u32 a; __u32 pad; __aligned_u64 v; };", ""),
    "typedef-of-struct": ("typedef struct { __u32 a; __u32 pad; __u64 v; } drm_xe_x;", ""),
    "typedef-of-number": ("typedef __u64 drm_xe_id_t; struct drm_xe_x { drm_xe_id_t v; };", "drm_xe_id_t"),
    "stdint": ("#include <stdint.h>\nstruct drm_xe_x { uint64_t v; };", ""),
    "static-assert": ('struct drm_xe_x { __u64 v; }; _Static_assert(sizeof(struct drm_xe_x) == 8, "8");', ""),
    "static-inline": (
        "struct drm_xe_x { __u64 v; }; static inline int drm_xe_y(int a) { return ({ __typeof__(a) b = a; b; }); }",
        "",
    ),
    "several-declarators": ("struct drm_xe_x { __u32 a, b, c[2]; __u64 v; };", "drm_xe_x.c"),
    "user-pointer": ("struct drm_xe_x { void __user *p; __u64 v; };", "drm_xe_x.p"),
    "le64": ("struct drm_xe_x { __le32 a; __be32 b; __u64 v; };", "drm_xe_x.b"),
    "packed": ("struct drm_xe_x { __u8 a; __u64 v; } __packed;", ""),
    "extern-c": (
        '#if defined(__cplusplus)\nextern "C" {\n#endif\nstruct drm_xe_x { __u64 v; };\n'
        "#if defined(__cplusplus)\n}\n#endif",
        "",
    ),
    "macro-for-a-type": ("struct drm_xe_x { __u64 v; };\n#define drm_xe_old drm_xe_x", "drm_xe_old"),
}


@pytest.mark.parametrize("name", CONSTRUCTS)
@pytest.mark.parametrize("options", [(), ("-m32",)], ids=["64", "32"])
def test_uapi_c_is_measured(name: str, options: tuple[str, ...], tmp_path: Path) -> None:
    """At both widths; types are those below their typedefs."""
    text, also = CONSTRUCTS[name]
    path = tmp_path / "xe_drm.h"
    path.write_text(FLAG + text + "\n")
    table = Probe(find(str(path), tmp_path), COMPILER).table(*options)
    assert table["DRM_XE_X_FLAG_A"] == Value(1)
    field = table["drm_xe_x.v"]
    assert isinstance(field, Field)
    assert field.type.removesuffix("[]") == "__u64"
    assert not also or also in table
    assert not [key for key in table if "__empty" in key]


@pytest.mark.parametrize(
    "include",
    ['"drm.h"', "<drm/drm.h>", "<uapi/drm/drm.h>", "<linux/types.h>", "<linux/ioctl.h>", "<linux/stddef.h>"],
)
def test_headers_around_are_stood_in_for(include: str, tmp_path: Path) -> None:
    """Whether they are installed, for whichever width, or not."""
    text = FLAG + f"#include {include}\nstruct drm_xe_x {{ __u64 v; }};\n"
    path = tmp_path / "xe_drm.h"
    path.write_text(text + "#define DRM_IOCTL_XE_X DRM_IOWR(0x40, struct drm_xe_x)\n")
    for options in ((), ("-m32",)):
        table = Probe(find(str(path), tmp_path), COMPILER).table(*options)
        assert str(table["DRM_IOCTL_XE_X"]) == "request 0xc0086440"
        assert "__u64" not in table


@pytest.mark.parametrize("include", ['"xe_drm.h"', "<drm/xe_drm.h>", "<uapi/drm/xe_drm.h>"])
def test_header_that_extends_xe_drm_h_is_measured(include: str, tmp_path: Path) -> None:
    """With what is in the headers next to it, one of which includes the drm.h that is there."""
    (tmp_path / "xe_drm.h").write_text(
        '#ifndef X\n#define X\n#include "drm.h"\nstruct drm_xe_x { __u64 v; };\n#endif\n'
    )
    (tmp_path / "drm.h").write_text("#ifndef _DRM_H_\n#error the real one\n#endif\n")
    table = measured(
        tmp_path, FLAG + f"#include {include}\nstruct drm_xe_y {{ struct drm_xe_x x; }};\n", name="xe_more.h"
    )
    assert (table["drm_xe_x"], table["drm_xe_y.x"]) == (Size(8), Field(0, 8, "struct drm_xe_x"))


def test_what_system_headers_declare_is_left_out(tmp_path: Path) -> None:
    """It is not the header's."""
    table = measured(tmp_path, FLAG + "#include <stdint.h>\n")
    assert set(table) == {"DRM_XE_X_FLAG_A"}


def test_line_directives_hide_nothing(tmp_path: Path) -> None:
    """A generated header says that its text is of another file."""
    table = measured(
        tmp_path,
        '#line 7 "xe_drm.h.in"\n' + FLAG + '# 9 "/usr/include/x.h" 3\nstruct drm_xe_x { __u64 v; };\n',
    )
    assert set(table) == {"DRM_XE_X_FLAG_A", "drm_xe_x", "drm_xe_x.v"}


def test_place_of_an_error_is_that_in_the_header(tmp_path: Path) -> None:
    """Its name and line."""
    with pytest.raises(HeaderError, match=r"xe_drm\.h: \S+: xe_drm\.h:3:\d+: .*no_such_type"):
        measured(tmp_path, FLAG + "\nstruct a { no_such_type x; };\n")
