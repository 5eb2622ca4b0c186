# SPDX-License-Identifier: Apache-2.0
set(M3NET_BOARD_CORE cortex-m3)
set(M3NET_BOARD_ARCH cortex_m)
set(M3NET_BOARD_DRIVERS mps2 cmsdk_uart cmsdk_watchdog)
set(M3NET_BOARD_LINKER_SCRIPT mps2_an385.ld)
