# SPDX-License-Identifier: MIT
"""Names for values."""

from __future__ import annotations

import pytest

from ioctl import drm, history, names, xe
from ioctl.about import Chain, Family, Flexible, Pointer, Selected, flags
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
    """A flag that is added to ioctl.xe without a family would be printed as a number."""
    constants = {
        name for module in (xe, drm) for name, fact in of_module(module).items() if isinstance(fact, Value)
    }
    assert {name for name in constants - names.COMMANDS if names.family_of(name) is None} == ALONE


@pytest.mark.parametrize("family", names.FAMILIES, ids=lambda family: family.prefixes[0])
def test_every_family_has_names_and_one_for_each_value(family: Family) -> None:
    """A prefix without a name is a mistake; so are two names for one value, except end marks."""
    members = [name for m in (xe, drm) for name in vars(m) if names.family_of(name) == family]
    assert members
    assert sorted(names.members(family).values()) == sorted(members)


@pytest.mark.parametrize("struct", names.structures(), ids=lambda struct: struct.__name__)
def test_every_meaning_is_of_a_field_that_exists(struct: type) -> None:
    """A renamed field would lose its meaning silently."""
    for path in names.about(struct):
        value = struct()
        for name in path.split("."):
            assert hasattr(value, name), path
            value = getattr(value, name)


def test_pointers_and_counts_name_fields_that_exist() -> None:
    """Each is asked once about an empty structure."""
    for struct in names.structures():
        for meaning in names.about(struct).values():
            for one in meaning if isinstance(meaning, tuple) else (meaning,):
                match one:
                    case Pointer():
                        assert one.size(struct()) >= 0
                        one.element(struct())
                    case Chain():
                        one.families(struct())
                    case Selected():
                        one.member(struct())
                    case Flexible(count=count) if count:
                        assert getattr(struct(), count) == 0


def flag_fields() -> list[tuple[type, str, Family]]:
    """Every field of flags that xe_drm.h names flags for."""
    return [
        (struct, name, meaning)
        for struct in names.structures()
        for name, meaning in names.about(struct).items()
        if isinstance(meaning, Family) and meaning.flags and struct.__module__ == xe.__name__
    ]


@pytest.mark.parametrize("kernel", history.recorded().names)
def test_known_bits_are_those_of_the_recorded_header(kernel: str) -> None:
    """A second witness: the record, by prefix, and not the structures."""
    table = history.recorded().table(kernel)
    assert flag_fields()
    for struct, name, family in flag_fields():
        bits = 0
        for word, fact in table.items():
            if names.family_of(word) == family and isinstance(fact, Value):
                came = history.since(word)
                bits |= fact.value if history.sort_key(came) <= history.sort_key(kernel) else 0
        if kernel == xe.LINUX:
            assert names.known_bits(struct, name) == bits, (struct, name)
        if history.sort_key(kernel) <= history.sort_key(xe.LINUX):
            assert names.known_bits(struct, name, kernel) == bits, (struct, name)


def test_known_values_are_those_of_a_kernel() -> None:
    """Later names are unknown; a field without names has no known values."""
    later, query = xe.DRM_XE_VM_BIND_FLAG_DECOMPRESS, xe.drm_xe_device_query
    assert names.known_bits(xe.drm_xe_vm_bind_op, "flags") & later
    assert not names.known_bits(xe.drm_xe_vm_bind_op, "flags", "7.0") & later
    assert names.known_bits(xe.drm_xe_vm_bind_op, "flags", "7.1") & later
    assert names.known(query, "query", "6.12") < names.known(query, "query")
    assert names.known_bits(drm.drm_syncobj_handle, "flags", request=drm.DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE) == 3
    with pytest.raises(KeyError, match=r"drm_xe_vm_bind_op\.addr has no names"):
        names.known(xe.drm_xe_vm_bind_op, "addr")


@pytest.mark.parametrize(
    ("family", "value", "bits", "expected"),
    [
        (names.family(xe.drm_xe_vm_bind_op, "flags"), 0, 32, [0]),
        (
            names.family(xe.drm_xe_vm_bind_op, "flags"),
            0x21,
            32,
            ["DRM_XE_VM_BIND_FLAG_READONLY", "DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR"],
        ),
        (
            names.family(xe.drm_xe_vm_bind_op, "flags"),
            0x80000002,
            32,
            ["DRM_XE_VM_BIND_FLAG_IMMEDIATE", 0x80000000],
        ),
        (names.family(xe.drm_xe_vm_bind_op, "op"), 4, 32, ["DRM_XE_VM_BIND_OP_PREFETCH"]),
        (names.family(xe.drm_xe_vm_bind_op, "op"), 5, 32, [5]),
        (xe.PREFERRED_LOC, 0xFFFFFFFF, 32, ["DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM"]),
        (xe.PREFERRED_LOC, 3, 32, [3]),
        (xe.QUEUE_GROUP, 1 << 63 | 5, 64, ["DRM_XE_MULTI_GROUP_CREATE", 5]),
        (xe.QUEUE_PROPERTY, 0, 32, ["DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY"]),
    ],
)
def test_values_are_spelled(family: Family, value: int, bits: int, expected: list[str | int]) -> None:
    """Names first, the rest as one number."""
    assert names.spell(family, value, bits) == expected


def test_a_name_for_no_flags_is_not_among_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero is in every number."""
    monkeypatch.setattr(names, "members", lambda _: {0: "NONE", 1: "ONE"})
    assert names.spell(flags("NONE"), 1) == ["ONE"]


def test_a_command_number_is_no_flag_and_no_property() -> None:
    """DRM_XE_EXEC_QUEUE_SET_PROPERTY begins like the properties."""
    assert names.family_of("DRM_XE_EXEC_QUEUE_SET_PROPERTY") is None
    assert names.family_of("DRM_XE_EXEC_QUEUE_CREATE") is None
