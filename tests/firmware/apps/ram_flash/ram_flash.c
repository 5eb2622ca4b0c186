// SPDX-License-Identifier: Apache-2.0
// A storage in the SSRAM that MPS2 boards have in the place of flash. It outlasts a reset.

#include <string.h>

#include "board_config.h"
#include "platform.h"

static uint8_t* place(uint32_t offset) { return (uint8_t*)(BOARD_STORAGE_BASE + offset); }

m3net_status m3net_board_storage_read(uint32_t offset, void* bytes, size_t count) {
  memcpy(bytes, place(offset), count);
  return M3NET_OK;
}

m3net_status m3net_board_storage_erase(uint32_t sector) {
  memset(place(sector * BOARD_STORAGE_SECTOR_BYTES), 0xFF, BOARD_STORAGE_SECTOR_BYTES);
  return M3NET_OK;
}

m3net_status m3net_board_storage_program(uint32_t offset, const void* word) {
  for (uint32_t i = 0; i < BOARD_STORAGE_WORD_BYTES; ++i) {
    place(offset)[i] &= ((const uint8_t*)word)[i];  // bits only ever fall
  }
  return M3NET_OK;
}
