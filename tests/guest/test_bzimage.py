# SPDX-License-Identifier: MIT
"""Kernel images."""

from __future__ import annotations

from pathlib import Path

import pytest

from guest import GuestError
from guest.bzimage import Image
from tests.guest import made

KERNEL = b"\x7fELF" + bytes(range(256)) * 40


def image(tmp_path: Path, data: bytes) -> Image:
    path = tmp_path / "bzImage"
    path.write_bytes(data)
    return Image(path)


def test_the_release_is_read_from_the_header(tmp_path: Path) -> None:
    assert image(tmp_path, made.bzimage("6.18.15+deb13-amd64")).release == "6.18.15+deb13-amd64"


@pytest.mark.parametrize("form", ["gzip", "xz", "bzip2", "zstd", "none"])
def test_the_kernel_inside_is_unpacked(tmp_path: Path, form: str) -> None:
    assert image(tmp_path, made.bzimage(payload=made.payloads(KERNEL)[form])).vmlinux() == KERNEL


@pytest.mark.parametrize("form", ["gzip", "xz", "bzip2", "zstd"])
def test_kernel_that_is_cut_is_none(tmp_path: Path, form: str) -> None:
    payload = made.payloads(KERNEL)[form]
    assert image(tmp_path, made.bzimage(payload=payload[: len(payload) // 2])).vmlinux() is None


@pytest.mark.parametrize("payload", [b"\x02!L\x18lz4", b"", b"\x1f\x8bdamaged", b"\x28\xb5\x2f\xfddamaged"])
def test_what_cannot_be_unpacked_is_none(tmp_path: Path, payload: bytes) -> None:
    assert image(tmp_path, made.bzimage(payload=payload)).vmlinux() is None


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="is not an x86 kernel image"):
        image(tmp_path, bytes(4096))


def test_an_image_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="nothing/bzImage: No such file or directory"):
        Image(tmp_path / "nothing/bzImage")
