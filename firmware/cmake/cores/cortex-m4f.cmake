# SPDX-License-Identifier: Apache-2.0
# Cortex-M4 with the single-precision FPU (nRF52840, STM32F4, MPS2 AN386).
set(M3NET_CORE_FLAGS -mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard)
set(M3NET_CORE_DEFINITIONS ARM_MATH_CM4 __FPU_PRESENT=1)
# No vector unit: what the vectoriser makes of pairs of words costs more than it saves.
set(M3NET_CORE_KERNEL_FLAGS -fno-tree-vectorize -fno-tree-slp-vectorize)
