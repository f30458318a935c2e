# SPDX-License-Identifier: MIT
"""Names of kernels that users may give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guest import GuestError, debian, kernels
from guest.debian import Package
from tests.guest import made


def package(name: str, version: str = "7.3.4-1~bpo13+1", size: int = 20_000_000) -> Package:
    return Package(name, version, f"pool/{name}.deb", size, "00")


def names(packages: list[Package]) -> list[str]:
    return [package.name for package in packages]


def test_up_to_6_18_a_kernel_is_one_package() -> None:
    found = kernels.group([package("linux-image-6.18.15+deb13-amd64")])
    assert names(found["6.18.15"]) == ["linux-image-6.18.15+deb13-amd64"]


def test_from_6_19_on_a_kernel_is_three_packages() -> None:
    found = kernels.group(
        package(f"linux-{part}-6.19.14+deb13-amd64", size=2048 if part == "image" else 20_000_000)
        for part in ("image", "binary", "modules", "base")
    )
    assert names(found["6.19.14"]) == [
        f"linux-{part}-6.19.14+deb13-amd64" for part in ("base", "binary", "modules")
    ]


def test_an_unsigned_image_does_until_there_is_a_signed_one() -> None:
    parts = [package(f"linux-{part}-7.3.4+deb13-amd64") for part in ("base", "binary-unsigned", "modules")]
    assert "linux-binary-unsigned-7.3.4+deb13-amd64" in names(kernels.group(parts)["7.3.4"])
    parts.append(package("linux-binary-7.3.4+deb13-amd64"))
    assert "linux-binary-7.3.4+deb13-amd64" in names(kernels.group(parts)["7.3.4"])


def test_a_kernel_of_which_a_part_has_left_the_index_is_not_listed() -> None:
    parts = [package(f"linux-{part}-7.1.3+deb13-amd64") for part in ("base", "binary")]
    assert kernels.group(parts) == {}


@pytest.mark.parametrize(
    "name", ["linux-image-7.3.4+deb13-rt-amd64", "linux-image-amd64", "linux-headers-7.3.4+deb13-amd64"]
)
def test_other_packages_are_not_kernels(name: str) -> None:
    assert kernels.group([package(name)]) == {}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("7.3", "7.3.12"), ("7.3.4", "7.3.4"), ("7", "7.10.1"), ("7.1", None), ("7.3.1", None)],
)
def test_the_newest_of_a_series_is_taken(wanted: str, found: str | None) -> None:
    assert kernels.newest(["7.3.4", "7.3.12", "7.10.1", "6.18.15"], wanted) == found


def test_a_kernel_in_the_cache_needs_no_index(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_cache / "kernels/7.3.4").mkdir(parents=True)
    monkeypatch.setattr(kernels, "obtainable", lambda: pytest.fail("asked"))
    assert kernels.exact_version("7.3.4") == "7.3.4"


def test_without_an_index_the_projects_own_table_is_used(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def away() -> None:
        raise GuestError("the mirror is away")

    monkeypatch.setattr(kernels, "indexed", away)
    assert kernels.exact_version("7.3") == "7.3.4"
    assert "the mirror is away; the project's own list is used" in capsys.readouterr().err


def test_a_version_that_is_not_there_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "indexed", dict)
    with pytest.raises(GuestError, match=r"no Debian kernel 5\.4; there are 6\.17, 6\.18"):
        kernels.exact_version("5.4")


def test_every_recorded_kernel_is_whole_and_can_be_verified() -> None:
    table = kernels.recorded()
    assert {"6.17.13", "6.18.15", "6.19.14", "7.0.13", "7.2.12", "7.3.4"} <= table.keys()
    for version, packages in table.items():
        assert kernels.group(packages)[version] == packages
        for entry in packages:
            assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
            assert entry.path.startswith("pool/")
            assert entry.size > 0


def test_a_built_tree_is_a_kernel(tmp_path: Path) -> None:
    kernel = kernels.provide(str(made.built_tree(tmp_path)))
    assert kernel.release == made.RELEASE
    assert kernel.version == (7, 3, 4)
    assert [module.name for module in kernel.files] == ["overlay", "9pnet", "9p", "9pnet_virtio"]
    assert [module.name for module in kernel.driver] == ["drm", "drm_gpusvm_helper", "xe"]


def test_an_image_and_its_modules_are_a_kernel(tmp_path: Path) -> None:
    tree = made.built_tree(tmp_path / "tree")
    image = tmp_path / "bzImage"
    image.write_bytes(made.bzimage())
    assert kernels.provide(f"{image}:{tree}").boot == image


def test_a_module_is_replaced(tmp_path: Path) -> None:
    tree = made.built_tree(tmp_path / "tree")
    patched = tmp_path / "xe.ko"
    patched.write_bytes(made.module("xe", depends="drm"))
    assert [module.name for module in kernels.provide(str(tree), [patched]).driver] == ["drm", "xe"]


def test_a_module_of_another_kernel_is_refused(tmp_path: Path) -> None:
    tree = made.built_tree(tmp_path / "tree")
    other = tmp_path / "xe.ko"
    other.write_bytes(made.module("xe", release="7.2.12"))
    with pytest.raises(GuestError, match=r"xe\.ko was built for 7\.2\.12, the kernel is 7\.3\.4-test"):
        kernels.provide(str(tree), [other])


def test_a_kernel_without_gpu_svm_is_refused_by_the_options_name(tmp_path: Path) -> None:
    tree = made.built_tree(tmp_path, "DRM_XE_GPUSVM")
    with pytest.raises(GuestError, match="CONFIG_DRM_XE_GPUSVM=y"):
        kernels.provide(str(tree))


def test_a_tree_without_modules_is_refused(tmp_path: Path) -> None:
    tree = made.built_tree(tmp_path)
    (tree / "modules.order").write_text("")
    with pytest.raises(GuestError, match=r"no xe\.ko below .*make modules"):
        kernels.provide(str(tree))


def test_a_tree_that_was_not_built_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match=r"no kernel image .*make bzImage modules"):
        kernels.provide(str(tmp_path))


def test_a_kernel_before_the_emulated_gpu_is_refused_and_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "indexed", lambda: {"6.16.12": [], "6.17.8": []})
    assert kernels.obtainable().keys() - kernels.recorded().keys() == {"6.17.8"}
    tree = made.built_tree(tmp_path)
    (tree / "arch/x86/boot/bzImage").write_bytes(made.bzimage("6.16.12"))
    with pytest.raises(
        GuestError, match=r"kernel 6\.16\.12 does not know the emulated GPU: 6\.17 is the first"
    ):
        kernels.provide(str(tree))


@pytest.mark.parametrize("wanted", ["newest", "7.x", "/no/such/tree"])
def test_what_is_no_kernel_is_refused_with_what_may_be_written(wanted: str) -> None:
    with pytest.raises(
        GuestError, match=r"is not a version \(7\.3\), a Debian package, one that was built here"
    ):
        kernels.provide(wanted)


def test_the_kernel_inside_the_image_is_booted_if_it_can_be(tmp_path: Path) -> None:
    tree = made.built_tree(tmp_path)
    with (tree / ".config").open("a") as file:
        file.write("CONFIG_PVH=y\n")
    assert kernels.provide(str(tree)).boot.read_bytes() == b"\x7fELF kernel"


def test_an_unpacked_debian_kernel_is_found_in_both_layouts(tmp_path: Path) -> None:
    for name, image in (("old", "boot/vmlinuz-6.18"), ("new", "usr/lib/modules/7.3/vmlinuz.unsigned")):
        directory = tmp_path / name
        (directory / "usr/lib/modules" / ("7.3" if name == "new" else "6.18")).mkdir(parents=True)
        (directory / image).parent.mkdir(parents=True, exist_ok=True)
        (directory / image).touch()
        assert kernels.installed(directory)[0] == directory / image


def test_a_fetched_kernel_is_kept_ready(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packages are fetched once; the modules to load are kept decompressed."""
    fetched = []
    deb = tmp_path / "kernel.deb"

    def fetch(self: debian.Archive, packages: list[Package]) -> list[Path]:
        fetched.append(names(packages))
        deb.touch()
        return [deb]

    def unpack(files: list[Path], directory: Path) -> None:
        modules = directory / "usr/lib/modules" / made.RELEASE
        made.built_tree(modules)
        (modules / "arch/x86/boot/bzImage").rename(modules / "vmlinuz")
        (modules / "config").write_text(made.config())

    monkeypatch.setattr(kernels, "indexed", lambda: {"7.3.9": [package("linux-image-7.3.9+deb13-amd64")]})
    monkeypatch.setattr(debian.Archive, "fetch", fetch)
    monkeypatch.setattr(debian, "unpack", unpack)
    for _ in range(2):
        kernel = kernels.provide("7.3")
    assert fetched == [["linux-image-7.3.9+deb13-amd64"]]
    assert not deb.exists()
    assert kernel.driver[-1].name == "xe"
    assert len(list((own_cache / "modules").glob("7.3.9-*/xe.ko"))) == 1


def test_another_choice_of_modules_is_decompressed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cached kernel gets the modules that a later version of the rig loads."""
    tree = made.built_tree(tmp_path)
    first = kernels.decompressed("7.3.9", tree)
    assert kernels.decompressed("7.3.9", tree) == first
    monkeypatch.setattr(kernels, "FILES", (*kernels.FILES, "drm"))
    assert (kernels.decompressed("7.3.9", tree) / "drm.ko").is_file()
    assert kernels.decompressed("7.3.9", tree) != first
