# SPDX-License-Identifier: Apache-2.0
# Cortex-M7 with the double-precision FPU (STM32H7, MPS2 AN500).
set(M3NET_CORE_FLAGS -mcpu=cortex-m7 -mthumb -mfpu=fpv5-d16 -mfloat-abi=hard)
set(M3NET_CORE_DEFINITIONS ARM_MATH_CM7 __FPU_PRESENT=1)
# No vector unit, as for the Cortex-M4.
set(M3NET_CORE_KERNEL_FLAGS -fno-tree-vectorize -fno-tree-slp-vectorize)
