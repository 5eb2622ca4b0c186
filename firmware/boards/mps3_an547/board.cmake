# SPDX-License-Identifier: Apache-2.0
set(M3NET_BOARD_CORE cortex-m55)
set(M3NET_BOARD_ARCH cortex_m)
set(M3NET_BOARD_SOURCES board.c)
set(M3NET_BOARD_DRIVERS cmsdk_uart cmsdk_watchdog)
set(M3NET_BOARD_LINKER_SCRIPT mps3_an547.ld)
