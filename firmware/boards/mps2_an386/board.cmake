# SPDX-License-Identifier: Apache-2.0
set(M3NET_BOARD_CORE cortex-m4f)          # a file of cmake/cores
set(M3NET_BOARD_ARCH cortex_m)            # a folder of arch
set(M3NET_BOARD_DRIVERS mps2 cmsdk_uart cmsdk_watchdog)   # files of drivers
set(M3NET_BOARD_LINKER_SCRIPT mps2_an386.ld)
