# SPDX-License-Identifier: MIT
"""Kernel modules: names, dependencies, order, replacements."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest

from guest import GuestError, zstd
from guest.modules import Module, Tree, modinfo, module_name
from tests.guest import made


def test_a_module_is_known_by_its_name_in_the_kernel() -> None:
    assert module_name(Path("drivers/gpu/drm/drm-exec.ko.xz")) == "drm_exec"


def test_modinfo_has_every_tag_with_all_its_values() -> None:
    tags = modinfo(made.module("xe", depends="drm,ttm"))
    assert tags["name"] == ["xe"]
    assert tags["depends"] == ["drm,ttm"]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".ko", bytes), (".ko.xz", lzma.compress), (".ko.gz", gzip.compress), (".ko.zst", zstd.compress)],
)
def test_compressed_modules_are_read(tmp_path: Path, suffix: str, pack) -> None:
    path = tmp_path / f"xe{suffix}"
    path.write_bytes(pack(made.module("xe")))
    module = Module.read(path)
    assert (module.name, module.release) == ("xe", made.RELEASE)


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".ko.xz", lzma.compress), (".ko.gz", gzip.compress), (".ko.zst", zstd.compress)]
)
def test_a_damaged_module_is_named(tmp_path: Path, suffix: str, pack) -> None:
    (tmp_path / f"xe{suffix}").write_bytes(pack(made.module("xe"))[:-9])
    with pytest.raises(GuestError, match=rf"xe\{suffix} is damaged"):
        Module.read(tmp_path / f"xe{suffix}")


def test_a_file_that_is_no_module_is_named(tmp_path: Path) -> None:
    (tmp_path / "xe.ko").write_bytes(b"#!/bin/sh")
    with pytest.raises(GuestError, match=r"xe\.ko is not a kernel module"):
        Module.read(tmp_path / "xe.ko")


def test_dependencies_come_first_and_only_once(tmp_path: Path) -> None:
    order = Tree(made.built_tree(tmp_path)).load_order(["xe", "9p"])
    assert [module.name for module in order] == ["drm", "drm_gpusvm_helper", "xe", "9pnet", "9p"]


def test_soft_dependencies_to_load_before_are_dependencies() -> None:
    module = Module("a", b"", {"depends": [""], "softdep": ["pre: b c-d post: e"]})
    assert module.needs == ("b", "c_d")


def test_what_is_no_module_is_taken_to_be_built_in(tmp_path: Path) -> None:
    assert Tree(made.built_tree(tmp_path)).load_order(["virtio_pci"]) == []


def test_a_replacement_takes_the_place_of_the_module_of_its_name(tmp_path: Path) -> None:
    tree = made.built_tree(tmp_path / "tree")
    patched = tmp_path / "xe-patched.ko"
    patched.write_bytes(made.module("xe", depends="drm,ttm"))
    order = Tree(tree, [patched]).load_order(["xe"])
    assert order[-1].tags["depends"] == ["drm,ttm"]
    assert [module.name for module in order] == ["drm", "xe"]


def test_a_replacement_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match=r"--module .*/xe\.ko: no such file"):
        Tree(made.built_tree(tmp_path / "tree"), [tmp_path / "xe.ko"])


def test_modules_are_found_without_a_list_of_the_build(tmp_path: Path) -> None:
    tree = made.built_tree(tmp_path)
    (tree / "modules.order").unlink()
    assert [module.name for module in Tree(tree).load_order(["9p"])] == ["9pnet", "9p"]
