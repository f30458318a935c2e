# SPDX-License-Identifier: MIT
"""A kernel that cannot run the suite is refused with the option that it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from guest import GuestError, kconfig
from tests.guest import made


def test_a_kernel_with_everything_is_accepted() -> None:
    kconfig.check("7.3", kconfig.parse(made.config()))


@pytest.mark.parametrize("option", sorted(kconfig.REQUIRED))
def test_each_option_that_is_missing_is_named_with_its_purpose(option: str) -> None:
    with pytest.raises(GuestError) as refused:
        kconfig.check("7.3", kconfig.parse(made.config(option)))
    assert f"CONFIG_{option}=" in str(refused.value)
    assert kconfig.REQUIRED[option] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_all_missing_options_are_named_at_once() -> None:
    options = kconfig.parse(made.config("DRM_XE_GPUSVM", "9P_FS"))
    assert kconfig.missing(options) == ["CONFIG_9P_FS=m", "CONFIG_DRM_XE_GPUSVM=y"]


def test_a_module_does_not_do_where_init_needs_it_built_in() -> None:
    options = {**kconfig.parse(made.config()), "VIRTIO_CONSOLE": "m"}
    assert kconfig.missing(options) == ["CONFIG_VIRTIO_CONSOLE=y"]


def test_options_that_are_not_set_are_not_there() -> None:
    options = kconfig.parse('CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="text"\n')
    assert options == {"A": "y", "C": '"text"'}


@pytest.mark.parametrize("place", ["image/config-7.3.4-test", "modules/config", "modules/build/.config"])
def test_the_configuration_is_found_where_builds_leave_it(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text("CONFIG_A=y\n")
    found = kconfig.find(made.RELEASE, tmp_path / "image/bzImage", tmp_path / "modules")
    assert found == {"A": "y"}


def test_a_kernel_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        GuestError, match=r"no configuration of kernel 7\.3\.4-test found: put its \.config next to"
    ):
        kconfig.find(made.RELEASE, tmp_path / "bzImage", tmp_path)


def test_kernel_without_a_driver_of_the_iommu_is_refused() -> None:
    kconfig.check_iommu("7.3", {"INTEL_IOMMU": "y"})
    with pytest.raises(GuestError, match="CONFIG_INTEL_IOMMU=y: svmcts kernel build --profile iommu"):
        kconfig.check_iommu("7.3", {})
