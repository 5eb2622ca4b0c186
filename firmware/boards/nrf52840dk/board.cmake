# SPDX-License-Identifier: Apache-2.0
set(M3NET_BOARD_CORE cortex-m4f)
set(M3NET_BOARD_ARCH cortex_m)
set(M3NET_BOARD_SOURCES board.c microphone.c)
set(M3NET_BOARD_LINKER_SCRIPT nrf52840dk.ld)
set(M3NET_BOARD_THIRD_PARTY nrfx)
set(M3NET_BOARD_SYSTEM_INCLUDES "${M3NET_SRC_NRFX}/bsp/stable/mdk")
set(M3NET_BOARD_DEFINITIONS NRF52840_XXAA)
# The board comes without boot loader. One that takes UF2 files wants the image behind the MBR and,
# if there is one, the SoftDevice.
set(M3NET_FLASH_START 0x0 CACHE STRING "first address: 0x1000 behind an MBR, 0x26000 behind S140 6")
set(M3NET_BOARD_LINK_OPTIONS -Wl,--defsym=m3net_flash_start=${M3NET_FLASH_START})
set(M3NET_BOARD_UF2_FAMILY 0xADA52840)
set(M3NET_BOARD_UF2_FIRST_ADDRESS 0x1000)
set(M3NET_BOARD_FLASH
  "nrfjprog --family NRF52 --program {hex} --sectorerase --verify --reset"
  "pyocd load --target nrf52840 {hex}"
  "openocd -f board/nordic_nrf52_dk.cfg -c 'program {elf} verify reset exit'")
