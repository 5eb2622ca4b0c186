// SPDX-License-Identifier: Apache-2.0

#include "storage.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "platform.h"

#ifndef M3NET_HOST_STORAGE_WORD_BYTES
#define M3NET_HOST_STORAGE_WORD_BYTES 4
#endif

#define WORD M3NET_HOST_STORAGE_WORD_BYTES
#define WORDS (256u / WORD)  // of a sector: a few records
#define LOG_SECTORS 2u
#define SLOT_SECTORS 8u
#define SECTORS (LOG_SECTORS + 2u * SLOT_SECTORS)
#define HAS_CHECK_BITS (WORD > 4)  // long words have them, and take one programming

const m3net_storage m3net_board_storage = {WORDS * WORD, LOG_SECTORS, WORD};

typedef enum { GOOD, WEAK, UNREADABLE } word_state;

typedef struct {
  uint8_t bytes[SECTORS][WORDS][WORD];
  word_state states[SECTORS][WORDS];
} content;

static content now __attribute__((aligned(16))), kept;
const m3net_slots m3net_board_slots = {SLOT_SECTORS, (const uint8_t*)now.bytes};
uint32_t host_storage_steps;
uint32_t host_storage_cut_step = HOST_NO_CUT;
host_cut host_storage_cut;
bool host_storage_worn;

static void misuse(const char* text) {
  fprintf(stderr, "storage: %s\n", text);
  abort();
}

static void set_erased(uint32_t sector, uint32_t words) {
  memset(now.bytes[sector], 0xFF, words * WORD);
  memset(now.states[sector], 0, words * sizeof(word_state));
}

void host_storage_blank(void) {
  for (uint32_t sector = 0; sector < SECTORS; ++sector) set_erased(sector, WORDS);
  host_storage_cut_step = HOST_NO_CUT;
  host_storage_worn = false;
}

void host_storage_keep(void) { kept = now; }

void host_storage_restore(void) { now = kept; }

void host_storage_damage(uint32_t offset, uint8_t bits) { ((uint8_t*)now.bytes)[offset] ^= bits; }

// Whether the power fails in this step.
static bool is_cut(void) { return host_storage_steps++ == host_storage_cut_step; }

static void lose_power(void) {
  host_storage_cut_step = HOST_NO_CUT;
  longjmp(host_restart, 1);
}

m3net_status m3net_board_storage_read(uint32_t offset, void* bytes, size_t count) {
  if (offset > sizeof(now.bytes) || count > sizeof(now.bytes) - offset) misuse("read outside");
  for (size_t at = offset / WORD; count > 0u && at <= (offset + count - 1u) / WORD; ++at) {
    if (now.states[at / WORDS][at % WORDS] == UNREADABLE) return M3NET_ERROR_HARDWARE;
  }
  memcpy(bytes, (const uint8_t*)now.bytes + offset, count);
  return M3NET_OK;
}

m3net_status m3net_board_storage_erase(uint32_t sector) {
  if (sector >= SECTORS) misuse("no such sector");
  if (host_storage_worn) return M3NET_ERROR_HARDWARE;
  const bool cut = is_cut();
  if (cut && host_storage_cut == HOST_CUT_HALF) set_erased(sector, WORDS / 2u);
  if (cut && host_storage_cut == HOST_CUT_WEAK) {
    for (uint32_t i = 0; i < WORDS * WORD; ++i) {
      now.bytes[sector][i / WORD][i % WORD] |= (uint8_t)(i * 2654435761u >> 24);
    }
  }
  if (!cut || host_storage_cut == HOST_CUT_WHOLE) set_erased(sector, WORDS);
  if (cut) lose_power();
  return M3NET_OK;
}

m3net_status m3net_board_storage_program(uint32_t offset, const void* word) {
  if (offset % WORD != 0u || offset >= sizeof(now.bytes)) misuse("a word at no word's place");
  if ((uintptr_t)word % 4u != 0u) misuse("a word in memory that is not aligned");
  if (host_storage_worn) return M3NET_ERROR_HARDWARE;
  const uint32_t at = offset / WORD;
  uint8_t* bytes = now.bytes[at / WORDS][at % WORDS];
  word_state* state = &now.states[at / WORDS][at % WORDS];
  for (uint32_t i = 0; i < WORD; ++i) {
    if (bytes[i] != 0xFFu) misuse("a word is programmed over another");
  }
  if (*state != GOOD) return M3NET_ERROR_HARDWARE;
  const bool cut = is_cut();
  const bool half = cut && host_storage_cut == HOST_CUT_HALF;
  const bool begun = !cut || half || host_storage_cut == HOST_CUT_WHOLE;
  // Bits only ever fall.
  for (uint32_t i = 0; begun && i < (half ? WORD / 2u : WORD); ++i) {
    bytes[i] &= ((const uint8_t*)word)[i];
  }
  if (half && HAS_CHECK_BITS) *state = UNREADABLE;
  if (cut && host_storage_cut == HOST_CUT_WEAK) *state = WEAK;
  if (cut) lose_power();
  return M3NET_OK;
}
