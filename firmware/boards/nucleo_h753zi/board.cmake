# SPDX-License-Identifier: Apache-2.0
set(M3NET_BOARD_CORE cortex-m7)
set(M3NET_BOARD_ARCH cortex_m)
# The board has no microphone; one of two kinds is wired to it.
set(M3NET_MICROPHONE "pdm" CACHE STRING "pdm: PDM microphone on the DFSDM; analog: on the ADC")
if(NOT M3NET_MICROPHONE MATCHES "^(pdm|analog)$")
  message(FATAL_ERROR "M3NET_MICROPHONE=${M3NET_MICROPHONE}: choose pdm or analog")
endif()
set(M3NET_BOARD_SOURCES board.c microphone_${M3NET_MICROPHONE}.c)
set(M3NET_BOARD_DRIVERS stm32_pins stm32_watchdog)
set(M3NET_BOARD_PDM ON)
set(M3NET_BOARD_LINKER_SCRIPT nucleo_h753zi.ld)
set(M3NET_BOARD_THIRD_PARTY cmsis-device-h7)
set(M3NET_BOARD_SYSTEM_INCLUDES "${M3NET_SRC_CMSIS_DEVICE_H7}/Include")
set(M3NET_BOARD_DEFINITIONS STM32H753xx)
set(M3NET_BOARD_FLASH
  "openocd -f board/st_nucleo_h743zi.cfg -c 'program {elf} verify reset exit'"
  "st-flash --reset --format ihex write {hex}"
  "pyocd load --target stm32h743zitx {hex}")
