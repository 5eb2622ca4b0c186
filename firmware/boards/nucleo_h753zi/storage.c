// SPDX-License-Identifier: Apache-2.0
// The storage: sectors of 128 KB in bank 2 of the STM32H753's flash, with words of 32 bytes. The
// core runs on from bank 1 while bank 2 is written; code in bank 2, which only an image of more
// than 1 MB has, waits for 1.1 s and at most 2.2 s (the data sheet's figures for an erase at 32
// bits).

#include <string.h>

#include "board.h"
#include "cortex_m.h"
#include "platform.h"

#define KEY_1 0x45670123u
#define KEY_2 0xCDEF89ABu
#define BANK_2 FLASH_BANK2_BASE
#define BY_32_BITS FLASH_CR_PSIZE_1
#define ERASE_MS 8000u
#define ERRORS                                                                               \
  (FLASH_SR_WRPERR | FLASH_SR_PGSERR | FLASH_SR_STRBERR | FLASH_SR_INCERR | FLASH_SR_OPERR | \
   FLASH_SR_RDPERR | FLASH_SR_RDSERR)

static bool wait_until_idle(uint32_t most_ms) {
  const uint32_t start = m3net_cycles();
  while (FLASH->SR2 & (FLASH_SR_QW | FLASH_SR_WBNE)) {
    if (m3net_cycles() - start > most_ms * (BOARD_CLOCK_HZ / 1000u)) return false;
  }
  return true;
}

static bool unlock(void) {
  if (!wait_until_idle(1)) return false;
  if (FLASH->CR2 & FLASH_CR_LOCK) {
    FLASH->KEYR2 = KEY_1;
    FLASH->KEYR2 = KEY_2;
  }
  FLASH->CCR2 = ERRORS;  // its bits have the places of the status register's
  return !(FLASH->CR2 & FLASH_CR_LOCK);
}

static m3net_status lock(bool done) {
  const bool good = done && !(FLASH->SR2 & ERRORS);
  if (done) FLASH->CR2 = FLASH_CR_LOCK;
  return good ? M3NET_OK : M3NET_ERROR_HARDWARE;
}

// A word that a power cut left half programmed has two wrong bits or more; reading it is a bus
// fault. Above the priority of faults the core goes on, and the flag tells.
m3net_status m3net_board_storage_read(uint32_t offset, void* bytes, size_t count) {
  const uint32_t mask = __get_FAULTMASK();
  __set_FAULTMASK(1);
  SCB->CCR |= SCB_CCR_BFHFNMIGN_Msk;
  FLASH->CCR2 = FLASH_CCR_CLR_DBECCERR;
  __DSB();
  __ISB();
  memcpy(bytes, (const void*)(BOARD_STORAGE_BASE + offset), count);
  __DSB();
  const bool whole = !(FLASH->SR2 & FLASH_SR_DBECCERR);
  FLASH->CCR2 = FLASH_CCR_CLR_DBECCERR;
  SCB->CFSR = SCB_CFSR_BUSFAULTSR_Msk;  // writing ones clears them
  SCB->CCR &= ~SCB_CCR_BFHFNMIGN_Msk;
  __DSB();
  __ISB();
  __set_FAULTMASK(mask);
  return whole ? M3NET_OK : M3NET_ERROR_HARDWARE;
}

m3net_status m3net_board_storage_erase(uint32_t sector) {
  const uint32_t address = BOARD_STORAGE_BASE + sector * BOARD_STORAGE_SECTOR_BYTES;
  const uint32_t number = (address - BANK_2) / BOARD_STORAGE_SECTOR_BYTES;
  if (!unlock()) return M3NET_ERROR_HARDWARE;
  FLASH->CR2 = FLASH_CR_SER | (number << FLASH_CR_SNB_Pos) | BY_32_BITS;
  FLASH->CR2 |= FLASH_CR_START;
  const m3net_status status = lock(wait_until_idle(ERASE_MS));
  SCB_InvalidateDCache_by_Addr((void*)address, BOARD_STORAGE_SECTOR_BYTES);
  return status;
}

// The flash starts when it has all of the word.
m3net_status m3net_board_storage_program(uint32_t offset, const void* word) {
  volatile uint32_t* to = (volatile uint32_t*)(BOARD_STORAGE_BASE + offset);
  const uint32_t* from = word;
  if (!unlock()) return M3NET_ERROR_HARDWARE;
  FLASH->CR2 = FLASH_CR_PG | BY_32_BITS;
  __ISB();
  __DSB();
  for (uint32_t i = 0; i < BOARD_STORAGE_WORD_BYTES / sizeof(*to); ++i) to[i] = from[i];
  __ISB();
  __DSB();
  const m3net_status status = lock(wait_until_idle(100));
  SCB_InvalidateDCache_by_Addr((void*)to, BOARD_STORAGE_WORD_BYTES);
  return status;
}
