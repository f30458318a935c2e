# SPDX-License-Identifier: MIT
"""Reading declarations: what uAPI headers are written with is understood, anything else is refused."""

import pytest

from ioctl.header import Declarations, HeaderError, Member, parse


def read(text: str) -> Declarations:
    """The declarations of a header that the preprocessor has been through."""
    return parse(text, "xe_drm.h", "some/xe_drm.h")


def test_members_come_with_their_paths_and_types() -> None:
    """Unnamed members belong to the owner, named ones get a path, arrays and flexible arrays are marked."""
    found = read(
        "struct a {\n"
        "  __u32 x;\n"
        "  struct b y[2];\n"
        "  union { __u64 p; struct { __u32 lo; __u32 hi; }; };\n"
        "  struct { __u32 val; } inner;\n"
        "  struct tag { __u8 t; } tagged;\n"
        "  __u64 __attribute__((aligned(8))) z;\n"
        "  char tail[];\n"
        "} __attribute__((packed));\n"
    )
    assert found.structs == {
        "a": [
            Member("x", "__u32"),
            Member("y", "struct b[]"),
            Member("p", "__u64"),
            Member("lo", "__u32"),
            Member("hi", "__u32"),
            Member("inner", "struct"),
            Member("inner.val", "__u32"),
            Member("tagged", "struct"),
            Member("tagged.t", "__u8"),
            Member("z", "__u64"),
            Member("tail", "char[]", flexible=True),
        ]
    }


def test_macros_and_enumerators_are_found_wherever_they_are() -> None:
    """In structures and enums, too; guards, functions and strings are no constants."""
    found = read(
        '#define GUARD\n#define F(x) x\n#define S "text"\n#define A 1\n'
        "struct s {\n#define B (1 << 0)\n  __u32 x;\n};\n"
        "enum e {\n#define C 3\n  D = _IO('i', 0x0),\n  E,\n  F2 = (1 + (2)),\n};\n"
        '#define T { [D] = "d", [E] = "e" }\n'
    )
    assert found.macros == {"A": "1", "B": "(1 << 0)", "C": "3"}
    assert found.enumerators == ["D", "E", "F2"]
    assert found.texts == {"T": {"D": "d", "E": "e"}}


def test_what_other_files_declare_is_left_out() -> None:
    """By the line marks of the preprocessor, which also give errors their line."""
    text = (
        '# 1 "xe_drm.h"\n#define A 1\n# 1 "drm.h" 1\nint other;\n#define B 2\n# 7 "xe_drm.h" 2\n#define C 3\n'
    )
    assert read(text).macros == {"A": "1", "C": "3"}
    with pytest.raises(HeaderError, match=r"^some/xe_drm\.h:8: cannot read a declaration .*'float'"):
        read(text + "float x;\n")


@pytest.mark.parametrize(
    "text",
    [
        "struct a",
        "struct a {",
        "struct a { __u32 x }",
        "struct a { __u32 x[2; };",
        "struct a { struct { __u32 x; }",
        "struct a { ; };",
        "struct a { __u32; };",
        "enum a { B",
        "enum a { B = (1 }",
        "enum { 3 };",
        "typedef int a;",
        "}",
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    """With a place, and without running on for ever."""
    with pytest.raises(HeaderError, match=r"^some/xe_drm\.h:1: "):
        read(text)
