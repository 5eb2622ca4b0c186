# SPDX-License-Identifier: Apache-2.0
# Cortex-M33 with the DSP extension and without FPU (MPS2 AN505, whose core has an FPU that stays
# unused).
set(M3NET_CORE_FLAGS -mcpu=cortex-m33+nofp -mthumb -mfloat-abi=soft)
# No float in what runs for each frame.
set(M3NET_CORE_DEFINITIONS ARMCM33 __DSP_PRESENT=1 M3NET_FRONTEND_FIXED=1)
# No vector unit, as for the Cortex-M4.
set(M3NET_CORE_KERNEL_FLAGS -fno-tree-vectorize -fno-tree-slp-vectorize)
