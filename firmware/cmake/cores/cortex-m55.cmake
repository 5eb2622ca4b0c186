# SPDX-License-Identifier: Apache-2.0
# Cortex-M55 with Helium, integer and single precision (MPS3 AN547).
# The GNU assembler 2.40 reads the conditional VCVTNE of an IT block as Helium's VCVTN, so the
# compiler must not write any.
set(M3NET_CORE_FLAGS -mcpu=cortex-m55 -mthumb -mfloat-abi=hard -fno-if-conversion2)
set(M3NET_CORE_DEFINITIONS ARMCM55 __FPU_PRESENT=1 __DSP_PRESENT=1 __MVE_PRESENT=1)
# CMSIS-NN and CMSIS-DSP choose their Helium code by what the compiler says of the core.
set(M3NET_CORE_KERNEL_FLAGS "")
