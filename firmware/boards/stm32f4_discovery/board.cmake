# SPDX-License-Identifier: Apache-2.0
set(M3NET_BOARD_CORE cortex-m4f)
set(M3NET_BOARD_ARCH cortex_m)
set(M3NET_BOARD_SOURCES board.c microphone.c)
set(M3NET_BOARD_DRIVERS stm32_pins stm32_watchdog)
set(M3NET_BOARD_PDM ON)
set(M3NET_BOARD_LINKER_SCRIPT stm32f4_discovery.ld)
set(M3NET_BOARD_THIRD_PARTY cmsis-device-f4)   # names of third_party.lock
set(M3NET_BOARD_SYSTEM_INCLUDES "${M3NET_SRC_CMSIS_DEVICE_F4}/Include")
set(M3NET_BOARD_DEFINITIONS STM32F407xx)
set(M3NET_BOARD_FLASH
  "openocd -f board/stm32f4discovery.cfg -c 'program {elf} verify reset exit'"
  "st-flash --reset --format ihex write {hex}"
  "pyocd load --target stm32f407vgtx {hex}")
