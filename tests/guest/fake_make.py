# SPDX-License-Identifier: MIT
"""make of a pretended kernel tree, whose files determine what fails: run as ``make`` (tests/guest/test_builds.py)."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.guest import made

MODULES = {"fs/overlayfs/overlay": "", "drivers/gpu/drm/drm": "", "drivers/gpu/drm/xe/xe": "drm"}


def main(arguments: list[str]) -> None:
    variables = dict(word.split("=", 1) for word in arguments if "=" in word)
    out, tree = Path(variables["O"]), Path()
    with (out / "calls").open("a") as calls:
        calls.write(" ".join(word for word in arguments if not word.startswith("O=")) + "\n")
    config = out / ".config"
    if "allnoconfig" in arguments:
        config.write_text("CONFIG_X86=y\n# CONFIG_DRM_XE is not set\n# CONFIG_SOUND is not set\n")
    if "olddefconfig" in arguments:
        lost = (tree / "lost").read_text().split()
        kept = [
            line
            for line in config.read_text().splitlines()
            if not re.match(rf"CONFIG_({'|'.join(lost)})=", line)
        ]
        config.write_text("\n".join(kept) + "\n")
    if "bzImage" in arguments:
        build(tree, out, variables)


def build(tree: Path, out: Path, variables: dict[str, str]) -> None:
    release = "7.3.4" + variables["LOCALVERSION"]
    for file in sorted(tree.glob("drivers/gpu/drm/**/*.c")):
        name = file.relative_to(tree).with_suffix(".o")
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        print(f"  CC [M]  {name}", flush=True)
        text = file.read_text()
        if "broken" in text:
            print(f"{file.absolute()}:3:1: error: expected ';' before '}}' token\n{file}:9:1: error: another")
            print(f"make[4]: *** [scripts/Makefile.build:287: {name}] Error 1")
            sys.exit(2)
        if "slow" in text and not (out / "slow").exists():
            (out / "slow").touch()
            time.sleep(1000)
        (out / name).with_name(f".{name.name}.cmd").touch()
        if variables.get(f"GCOV_PROFILE_{name.name}"):
            (out / name).with_suffix(".gcno").touch()
    for path, needs in MODULES.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / f"{path}.ko").write_bytes(made.module(Path(path).name, depends=needs, release=release))
    (out / "modules.order").write_text("".join(f"{path}.o\n" for path in MODULES))
    (out / "Module.symvers").touch()
    for name, content in (
        ("include/config/kernel.release", f"{release}\n".encode()),
        ("arch/x86/boot/bzImage", made.bzimage(release)),
    ):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)


main(sys.argv[1:])
