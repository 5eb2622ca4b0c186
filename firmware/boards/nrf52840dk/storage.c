// SPDX-License-Identifier: Apache-2.0
// The storage: pages of the nRF52840's flash. The core stands still while it is written, for at
// most 85 ms (a page erase).

#include <string.h>

#include "board.h"
#include "cortex_m.h"
#include "platform.h"

static m3net_status finish(void) {
  const bool ready = m3net_wait_for(&NRF_NVMC->READY, NVMC_READY_READY_Msk,
                                    NVMC_READY_READY_Ready << NVMC_READY_READY_Pos);
  NRF_NVMC->CONFIG = NVMC_CONFIG_WEN_Ren << NVMC_CONFIG_WEN_Pos;
  return ready ? M3NET_OK : M3NET_ERROR_HARDWARE;
}

m3net_status m3net_board_storage_read(uint32_t offset, void* bytes, size_t count) {
  memcpy(bytes, (const void*)(BOARD_STORAGE_BASE + offset), count);
  return M3NET_OK;
}

m3net_status m3net_board_storage_erase(uint32_t sector) {
  NRF_NVMC->CONFIG = NVMC_CONFIG_WEN_Een << NVMC_CONFIG_WEN_Pos;
  NRF_NVMC->ERASEPAGE = BOARD_STORAGE_BASE + sector * BOARD_STORAGE_SECTOR_BYTES;
  return finish();
}

m3net_status m3net_board_storage_program(uint32_t offset, const void* word) {
  NRF_NVMC->CONFIG = NVMC_CONFIG_WEN_Wen << NVMC_CONFIG_WEN_Pos;
  *(volatile uint32_t*)(BOARD_STORAGE_BASE + offset) = *(const uint32_t*)word;
  return finish();
}
