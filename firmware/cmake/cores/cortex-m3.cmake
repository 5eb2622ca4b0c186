# SPDX-License-Identifier: Apache-2.0
# Cortex-M3, without FPU (STM32F1, LPC17xx, MPS2 AN385).
set(M3NET_CORE_FLAGS -mcpu=cortex-m3 -mthumb -mfloat-abi=soft)
# No float in what runs for each frame.
set(M3NET_CORE_DEFINITIONS M3NET_FRONTEND_FIXED=1)
# No vector unit, as for the Cortex-M4.
set(M3NET_CORE_KERNEL_FLAGS -fno-tree-vectorize -fno-tree-slp-vectorize)
