# SPDX-License-Identifier: MIT
"""Builds that a patch makes necessary."""

from __future__ import annotations

import pytest

from reports.patch.kernels import GPUSVM, XE, modules_of


@pytest.mark.parametrize(
    ("files", "modules"),
    [
        (["drivers/gpu/drm/xe/xe_svm.c", "drivers/gpu/drm/xe/xe_svm.h"], (XE,)),
        (["include/uapi/drm/xe_drm.h"], (XE,)),
        (["drivers/gpu/drm/drm_pagemap.c"], (GPUSVM,)),
        (["drivers/gpu/drm/drm_gpusvm.c", "drivers/gpu/drm/xe/xe_vm.c"], (GPUSVM, XE)),
        (["include/drm/drm_gpusvm.h"], (GPUSVM, XE)),
        (["Documentation/gpu/rfc/gpusvm.rst", "MAINTAINERS"], ()),
        (["drivers/gpu/drm/xe/Makefile"], None),
        (["drivers/gpu/drm/xe/Kconfig.debug"], None),
        (["drivers/gpu/drm/drm_gem.c"], None),
        (["drivers/gpu/drm/xe/xe_svm.c", "mm/hmm.c"], None),
    ],
)
def test_modules_that_change_with_files(files: list[str], modules: tuple[str, ...] | None) -> None:
    assert modules_of(files) == modules
