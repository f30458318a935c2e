# SPDX-License-Identifier: MIT
"""Reasons why an option is lost: Kconfig files and their conditions."""

from __future__ import annotations

from pathlib import Path

import pytest

from guest.kconfig import depends
from guest.kconfig.depends import MODULE, NO, YES

TOP = """
source "arch/$(SRCARCH)/Kconfig"
menu "Drivers"
    depends on HAS_IOMEM && \\
        EXPERT
if PCI # not for all
menuconfig DRM
    tristate "DRM"
    depends on MMU if ARM
    help
      Text that says
      depends on NOTHING

      config NOTHING

source "drivers/Kconfig"
endif
choice
    depends on DEBUG
config ONE
    bool "one"
config TWO
    bool "two"
    depends on ONE=n
endchoice
endmenu
comment "A comment"
    depends on NOBODY
config AFTER
    bool "after"
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in (
        ("Kconfig", TOP),
        ("arch/x86/Kconfig", "config X86\n\tbool\n"),
        ("drivers/Kconfig", "config XE\n\ttristate\n\tdepends on DRM\n\thelp\n\t  depends on NOTHING\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


AROUND = ["HAS_IOMEM && EXPERT"]


@pytest.mark.parametrize(
    ("option", "conditions"),
    [
        ("X86", []),
        ("DRM", [*AROUND, "PCI", "MMU || !(ARM)"]),
        ("XE", [*AROUND, "PCI", "DRM"]),
        ("ONE", [*AROUND, "DEBUG"]),
        ("TWO", [*AROUND, "DEBUG", "ONE=n"]),
        ("AFTER", []),
        ("NOTHING", None),
    ],
)
def test_conditions_are_those_around_and_its_own(
    tree: Path, option: str, conditions: list[str] | None
) -> None:
    assert depends.conditions(tree, option) == conditions


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("Y", YES), ("M", MODULE), ("N", NO), ("UNKNOWN", NO), ("!N", YES), ("!M", MODULE), ("!Y", NO),
        ("Y && M", MODULE), ("N || M", MODULE), ("N && Y || Y", YES), ("N && (Y || Y)", NO), ("!(Y && M)", MODULE),
        ("M=m", YES), ("M = y", NO), ("M!=m", NO), ("UNKNOWN=n", YES), ('TEXT = "a b"', YES), ("TEXT != 'a b'", NO),
        ("Y != N", YES), ("$(cc-option,-fsanitize=$(X))", YES), ("!$(success,true)", NO), ("m", MODULE),
    ],
)  # fmt: skip
def test_condition_has_the_value_that_kconfig_gives_it(condition: str, value: int) -> None:
    options = {"Y": "y", "M": "m", "TEXT": "a b"}
    assert depends.evaluate(condition, options) == value


def test_reason_names_what_is_off(tree: Path) -> None:
    on = {"HAS_IOMEM": "y", "EXPERT": "y", "PCI": "y"}
    assert depends.reason(tree, "XE", on) == "it depends on DRM (DRM=n)"
    assert depends.reason(tree, "TWO", {**on, "ONE": "y"}) == (
        "it depends on DEBUG (DEBUG=n), and on ONE=n (ONE=y)"
    )
    assert depends.reason(tree, "XE", {**on, "DRM": "m"}) == (
        "its own conditions are met: another option overrides it"
    )
    assert depends.reason(tree, "NOWHERE", on) == "this kernel has no such option"
