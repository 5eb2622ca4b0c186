# SPDX-License-Identifier: Apache-2.0
# RISC-V with 32 bits, multiplication, atomics and compressed instructions, without FPU (ESP32-C6,
# GD32VF103, QEMU's virt).
# This version of the specification counts the control and status registers to the base, as
# Debian's libraries for rv32imac do.
set(M3NET_CORE_FLAGS -march=rv32imac -mabi=ilp32 -misa-spec=2.2 -specs=picolibc.specs)
# No float in what runs for each frame.
set(M3NET_CORE_DEFINITIONS M3NET_FRONTEND_FIXED=1)
set(M3NET_CORE_KERNEL_FLAGS "")
