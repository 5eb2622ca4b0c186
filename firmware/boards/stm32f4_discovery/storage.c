// SPDX-License-Identifier: Apache-2.0
// The storage: sectors of 128 KB of the STM32F407's flash. It has one bank: the core stands still
// at its next fetch from it while a sector is erased, for 1 s and at most 2 s at words of 32 bits
// (the data sheet's figures); the watchdog's 30 s, by its slow clock at least 20 s, are longer.

#include <string.h>

#include "board.h"
#include "cortex_m.h"
#include "platform.h"

#define KEY_1 0x45670123u
#define KEY_2 0xCDEF89ABu
#define FIRST_LARGE_SECTOR 4u  // of 64 KB; each further one has 128 KB
#define WORDS_OF_32_BITS FLASH_CR_PSIZE_1
#define ERASE_MS 8000u
#define ERRORS \
  (FLASH_SR_OPERR | FLASH_SR_WRPERR | FLASH_SR_PGAERR | FLASH_SR_PGPERR | FLASH_SR_PGSERR)

// The reads of m3net_wait_for() may come from the instruction cache, which does not stand still.
static bool wait_for_erase(void) {
  const uint32_t start = m3net_cycles();
  while (FLASH->SR & FLASH_SR_BSY) {
    if (m3net_cycles() - start > ERASE_MS * (BOARD_CLOCK_HZ / 1000u)) return false;
  }
  return true;
}

static bool unlock(void) {
  if (!m3net_wait_for(&FLASH->SR, FLASH_SR_BSY, 0u)) return false;
  if (FLASH->CR & FLASH_CR_LOCK) {
    FLASH->KEYR = KEY_1;
    FLASH->KEYR = KEY_2;
  }
  FLASH->SR = ERRORS;  // writing ones clears them
  return !(FLASH->CR & FLASH_CR_LOCK);
}

static m3net_status lock(bool done) {
  const bool good = done && !(FLASH->SR & ERRORS);
  if (done) FLASH->CR = FLASH_CR_LOCK;  // while it is busy, the write would hang
  return good ? M3NET_OK : M3NET_ERROR_HARDWARE;
}

// The data cache keeps what was there before an erase; it is emptied while it is off.
static void empty_data_cache(void) {
  FLASH->ACR &= ~FLASH_ACR_DCEN;
  FLASH->ACR |= FLASH_ACR_DCRST;
  FLASH->ACR &= ~FLASH_ACR_DCRST;
  FLASH->ACR |= FLASH_ACR_DCEN;
}

m3net_status m3net_board_storage_read(uint32_t offset, void* bytes, size_t count) {
  memcpy(bytes, (const void*)(BOARD_STORAGE_BASE + offset), count);
  return M3NET_OK;
}

m3net_status m3net_board_storage_erase(uint32_t sector) {
  const uint32_t address = BOARD_STORAGE_BASE + sector * BOARD_STORAGE_SECTOR_BYTES;
  const uint32_t number = FIRST_LARGE_SECTOR + (address - FLASH_BASE) / BOARD_STORAGE_SECTOR_BYTES;
  if (!unlock()) return M3NET_ERROR_HARDWARE;
  FLASH->CR = FLASH_CR_SER | (number << FLASH_CR_SNB_Pos) | WORDS_OF_32_BITS;
  FLASH->CR |= FLASH_CR_STRT;
  const m3net_status status = lock(wait_for_erase());
  empty_data_cache();
  return status;
}

m3net_status m3net_board_storage_program(uint32_t offset, const void* word) {
  if (!unlock()) return M3NET_ERROR_HARDWARE;
  FLASH->CR = FLASH_CR_PG | WORDS_OF_32_BITS;
  *(volatile uint32_t*)(BOARD_STORAGE_BASE + offset) = *(const uint32_t*)word;
  __DSB();
  return lock(m3net_wait_for(&FLASH->SR, FLASH_SR_BSY, 0u));
}
