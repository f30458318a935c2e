# SPDX-License-Identifier: MIT
"""Options of the kernel's configuration that change what the driver can do (drivers/gpu/drm/Kconfig, xe/Kconfig)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KernelConfig:
    """Options a kernel was built with; by default, all of them.

    drm_gpusvm     CONFIG_DRM_GPUSVM: userptr. DRM_XE selects it except on UML; before 7.0 only with DEVICE_PRIVATE.
    drm_xe_gpusvm  CONFIG_DRM_XE_GPUSVM: CPU address mirrors
    drm_xe_pagemap CONFIG_DRM_XE_PAGEMAP: VRAM as memory of processes
    """

    drm_gpusvm: bool = True
    drm_xe_gpusvm: bool = True
    drm_xe_pagemap: bool = True

    def __post_init__(self) -> None:
        if self.drm_xe_pagemap and not self.drm_xe_gpusvm:
            raise ValueError("DRM_XE_PAGEMAP depends on DRM_XE_GPUSVM")
        if self.drm_xe_gpusvm and not self.drm_gpusvm:
            raise ValueError("DRM_XE_GPUSVM selects DRM_GPUSVM")


COMPLETE = KernelConfig()
"""The configuration that distributions ship."""
