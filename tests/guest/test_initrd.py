# SPDX-License-Identifier: MIT
"""The initramfs: its contents, and that it runs."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

from guest import PROJECT, initrd
from tests.guest import pretended
from tests.guest.test_cpio import entries


def test_the_initramfs_has_init_the_modules_and_the_environment(tmp_path: Path) -> None:
    kernel, environment = pretended.kernel(tmp_path), tmp_path / "environment.cpio"
    environment.write_bytes(b"the environment")
    initrd.write(tmp_path / "initrd", kernel, environment)
    data = (tmp_path / "initrd").read_bytes()
    own = data.removesuffix(b"the environment")
    assert len(own) == len(data) - len(b"the environment")
    assert len(own) % 512 == 0  # where the kernel looks for the next archive
    found = entries(own)
    mode, _, init = found["init"]
    assert stat.S_IMODE(mode) == 0o755
    assert init.startswith(f"#!{Path(sys.executable).resolve()} -ISE\n".encode())
    compile(init, "init", "exec")
    compile(found["svmcts/worker.py"][2], "worker", "exec")
    assert found["svmcts/modules/overlay.ko"][2] == kernel.files[0].elf
    assert "svmcts/modules/xe.ko" not in found  # loaded from the host's files
    assert found["svmcts/project/conftest.py"][2] == (PROJECT / "conftest.py").read_bytes()
    assert str(PROJECT / "conftest.py").lstrip("/") not in found  # it would hide the host's
    config = json.loads(found["svmcts/config.json"][2])
    assert config["files"] == ["overlay"]
    for name in initrd.MOUNT_POINTS:
        assert stat.S_ISDIR(found[name][0])
