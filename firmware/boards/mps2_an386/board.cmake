# SPDX-License-Identifier: Apache-2.0
set(M3NET_BOARD_CORE cortex-m4f)          # a file of cmake/cores
set(M3NET_BOARD_ARCH cortex_m)            # a folder of arch
set(M3NET_BOARD_SOURCES board.c)
set(M3NET_BOARD_LINKER_SCRIPT mps2_an386.ld)
