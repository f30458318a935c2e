# SPDX-License-Identifier: MIT
"""Names for values."""

import pytest

from ioctl import drm, names, xe
from ioctl.facts import Value, of_module

# Limits, an id and the driver's range of numbers: no field holds one of several of them.
ALONE = {
    "DRM_COMMAND_BASE",
    "DRM_COMMAND_END",
    "DRM_CLIENT_NAME_MAX_LEN",
    "DRM_XE_MAX_SYNCS",
    "DRM_XE_PXP_HWDRM_DEFAULT_SESSION",
}


def test_every_constant_is_in_a_family() -> None:
    """A flag that is added to ioctl.xe without a family would be told as a number."""
    constants = {
        name for module in (xe, drm) for name, fact in of_module(module).items() if isinstance(fact, Value)
    }
    assert {name for name in constants - names.COMMANDS if names.family_of(name) is None} == ALONE


@pytest.mark.parametrize("family", names.FAMILIES, ids=lambda family: family.prefixes[0])
def test_every_family_has_names_and_one_for_each_value(family: names.Family) -> None:
    """A prefix that fits nothing is a mistake; so are two names of one value, except for end marks."""
    members = [name for m in (xe, drm) for name in vars(m) if names.family_of(name) == family]
    assert members
    assert sorted(family.names.values()) == sorted(members)


@pytest.mark.parametrize("struct", names.FIELDS, ids=lambda struct: struct.__name__)
def test_every_table_is_for_fields_that_exist(struct: type) -> None:
    """A renamed field would lose its names without a word."""
    assert set(names.FIELDS[struct]) <= {field[0] for field in struct._fields_}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("family", "value", "bits", "expected"),
    [
        (names.BIND_FLAGS, 0, 32, [0]),
        (names.BIND_FLAGS, 0x21, 32, ["DRM_XE_VM_BIND_FLAG_READONLY", "DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR"]),
        (names.BIND_FLAGS, 0x80000002, 32, ["DRM_XE_VM_BIND_FLAG_IMMEDIATE", 0x80000000]),
        (names.BIND_OP, 4, 32, ["DRM_XE_VM_BIND_OP_PREFETCH"]),
        (names.BIND_OP, 5, 32, [5]),
        (names.PREFERRED_LOC, 0xFFFFFFFF, 32, ["DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM"]),
        (names.PREFERRED_LOC, 3, 32, [3]),
        (names.QUEUE_GROUP, 1 << 63 | 5, 64, ["DRM_XE_MULTI_GROUP_CREATE", 5]),
        (names.QUEUE_PROPERTY, 0, 32, ["DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY"]),
    ],
)
def test_values_are_spelled(family: names.Family, value: int, bits: int, expected: list[str | int]) -> None:
    """Names first, the rest as one number."""
    assert family.spell(value, bits) == expected


def test_a_name_for_no_flags_is_not_among_flags() -> None:
    """Zero is in every number."""
    family = names.Family(("NONE",), flags=True)
    vars(family)["names"] = {0: "NONE", 1: "ONE"}
    assert family.spell(1) == ["ONE"]


def test_a_command_number_is_no_flag_and_no_property() -> None:
    """DRM_XE_EXEC_QUEUE_SET_PROPERTY begins like the properties."""
    assert names.family_of("DRM_XE_EXEC_QUEUE_SET_PROPERTY") is None
    assert names.family_of("DRM_XE_EXEC_QUEUE_CREATE") is None
