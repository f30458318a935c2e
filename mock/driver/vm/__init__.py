# SPDX-License-Identifier: MIT
"""The GPU's address spaces: VMAs, the steps that change them, page tables, userptrs (xe_vm.c, xe_pt.c, drm_gpuvm.c)."""
