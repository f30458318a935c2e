# SPDX-License-Identifier: MIT
"""Initramfs archives, read back field by field."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

from guest.cpio import Writer


def entries(data: bytes) -> dict[str, tuple[int, int, bytes]]:
    """Name to (mode, mtime, content) of every entry, as the kernel reads them (init/initramfs.c)."""
    found = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * index : at + 14 + 8 * index], 16) for index in range(13)]
        _, mode, _, _, _, mtime, size, _, _, _, _, name_size, _ = fields
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        content_at = -(-(at + 110 + name_size) // 4) * 4
        if name == "TRAILER!!!":
            assert not any(data[content_at:])
            return found
        assert name not in found
        found[name] = mode, mtime, data[content_at : content_at + size]
        at = -(-(content_at + size) // 4) * 4


def written(fill) -> dict[str, tuple[int, int, bytes]]:
    file = io.BytesIO()
    writer = Writer(file)
    fill(writer)
    writer.close()
    assert file.tell() % 512 == 0
    return entries(file.getvalue())


def test_parents_come_before_what_is_in_them() -> None:
    found = written(lambda w: w.data(PurePosixPath("/a/b/c"), b"x", mode=0o600, mtime=7))
    assert list(found) == ["a", "a/b", "a/b/c"]
    assert found["a"][0] == 0o040755
    assert found["a/b/c"] == (0o100600, 7, b"x")


def test_an_entry_is_written_once() -> None:
    def fill(writer: Writer) -> None:
        writer.directory(PurePosixPath("/a"))
        writer.data(PurePosixPath("/a/b"), b"first")
        writer.data(PurePosixPath("/a/b"), b"second")

    assert written(fill)["a/b"][2] == b"first"


def test_a_file_of_the_host_keeps_path_mode_and_time(tmp_path: Path) -> None:
    file = tmp_path / "tool"
    file.write_bytes(b"#!/bin/sh\n")
    file.chmod(0o755)
    mode, mtime, content = written(lambda w: w.host(file))[str(file)[1:]]
    assert (mode, mtime, content) == (0o100755, int(file.stat().st_mtime), b"#!/bin/sh\n")


def test_links_on_the_way_to_a_file_stay_links(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/libx.so.1.2").write_bytes(b"x")
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "usr/lib/libx.so.1").symlink_to("libx.so.1.2")
    found = written(lambda w: w.host(tmp_path / "lib/libx.so.1"))
    root = str(tmp_path)[1:]
    assert found[f"{root}/lib"][::2] == (0o120777, b"usr/lib")
    assert found[f"{root}/usr/lib/libx.so.1"][::2] == (0o120777, b"libx.so.1.2")
    assert found[f"{root}/usr/lib/libx.so.1.2"][2] == b"x"
    assert f"{root}/lib/libx.so.1" not in found


def test_a_link_to_an_absolute_path_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    found = written(lambda w: w.host(tmp_path / "link"))
    assert found[f"{str(tmp_path)[1:]}/real"][2] == b"x"
