// SPDX-License-Identifier: Apache-2.0
// Sleep, restart, and the note of its reason for the next start.

#include "cortex_m.h"

#define AIRCR (*(volatile uint32_t*)0xE000ED0Cu)
#define AIRCR_KEY 0x05FA0000u
#define AIRCR_RESET (1u << 2)
#define CCR (*(volatile uint32_t*)0xE000ED14u)
#define CCR_DATA_CACHE (1u << 16)
#define DCCMVAC (*(volatile uint32_t*)0xE000EF68u)  // writes the cache line of an address back

// The word and its complement: memory after power-up does not look like a note.
__attribute__((section(".noinit"))) static volatile uint32_t note, note_complement;

#define NOTE_OF(reason) (0x4D335200u | (uint32_t)(reason))

static void write_note(uint32_t word, uint32_t complement) {
  note = word;
  note_complement = complement;
  if (CCR & CCR_DATA_CACHE) {  // a reset discards what is only in the cache
    __asm volatile("dsb" ::: "memory");
    DCCMVAC = (uint32_t)(uintptr_t)&note;
    DCCMVAC = (uint32_t)(uintptr_t)&note_complement;
  }
  __asm volatile("dsb" ::: "memory");
}

void m3net_reset_note(m3net_reset_reason reason) { write_note(NOTE_OF(reason), ~NOTE_OF(reason)); }

m3net_reset_reason m3net_reset_take_note(void) {
  const uint32_t found = note;
  const bool valid = found == ~note_complement && (found & ~0xFFu) == NOTE_OF(0) &&
                     (found & 0xFFu) <= M3NET_RESET_FAULT;
  write_note(0, 0);
  return valid ? (m3net_reset_reason)(found & 0xFFu) : M3NET_RESET_UNKNOWN;
}

// Of the last reset.
static m3net_reset_reason kept_reason;

void m3net_reset_keep(m3net_reset_reason reason) { kept_reason = reason; }

void m3net_core_restart(void) {
  __asm volatile("dsb" ::: "memory");
  AIRCR = AIRCR_KEY | AIRCR_RESET;
  for (;;) {
  }
}

__attribute__((weak)) void m3net_board_idle(void) { m3net_core_sleep(); }

__attribute__((weak)) void m3net_board_reset(void) {
  m3net_reset_note(M3NET_RESET_SOFTWARE);
  m3net_core_restart();
}

__attribute__((weak)) m3net_reset_reason m3net_board_reset_reason(void) { return kept_reason; }
