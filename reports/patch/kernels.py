# SPDX-License-Identifier: MIT
"""Kernels to try: a base as a whole, a change as modules for the base where only modules change."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from guest import builds
from guest.builds import Build
from reports.patch.changes import Change

XE = "drivers/gpu/drm/xe/xe.ko"
GPUSVM = "drivers/gpu/drm/drm_gpusvm_helper.ko"
"""drm_gpusvm.c, drm_pagemap.c and drm_pagemap_util.c (drivers/gpu/drm/Makefile)."""
_MODULES = {
    "drivers/gpu/drm/xe/": (XE,),
    "include/uapi/drm/xe_drm.h": (XE,),
    "drivers/gpu/drm/drm_gpusvm.c": (GPUSVM,),
    "drivers/gpu/drm/drm_pagemap.c": (GPUSVM,),
    "drivers/gpu/drm/drm_pagemap_util.c": (GPUSVM,),
    "include/drm/drm_gpusvm.h": (GPUSVM, XE),
    "include/drm/drm_pagemap.h": (GPUSVM, XE),
    "include/drm/drm_pagemap_util.h": (GPUSVM, XE),
}
"""Folder of files, and the modules that alone contain them; longer paths are not needed here."""
_NOTHING = ("Documentation/", "MAINTAINERS", "drivers/gpu/drm/xe/tests/")
"""Files that no kernel for guests is made of."""
_CONFIGURES = ("Kconfig", "Kconfig.debug", "Kconfig.profile", "Makefile")
"""Files that may change the configuration, and with it the whole kernel."""


def modules_of(files: Iterable[str]) -> tuple[str, ...] | None:
    """The modules that change with these files; None where it takes another kernel."""
    found: dict[str, None] = {}
    for file in files:
        if file.startswith(_NOTHING):
            continue
        part_of = next((made for place, made in _MODULES.items() if file.startswith(place)), None)
        if part_of is None or Path(file).name in _CONFIGURES:
            return None
        found |= dict.fromkeys(part_of)
    return tuple(found)


def build(base: Build, change: Change, files: Iterable[str], jobs: int, folder: Path) -> list[str]:
    """The options of pytest for a guest with the change, after building it. Raises GuestError."""
    modules = modules_of(files)
    if modules is None:
        whole = builds.make(change.source, base.profiles, jobs)
        return ["--guest", whole.name]
    made = builds.make_modules(change.source, base, modules, jobs, folder) if modules else []
    return ["--guest", base.name, *(f"--module={path}" for path in made)]
