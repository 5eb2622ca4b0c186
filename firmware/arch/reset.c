// SPDX-License-Identifier: Apache-2.0
// The note of a restart's reason for the next start, and what boards do unless they have their own.

#include "arch.h"

// The word and its complement: memory after power-up does not look like a note.
__attribute__((section(".noinit"))) static volatile uint32_t note, note_complement;

#define NOTE_OF(reason) (0x4D335200u | (uint32_t)(reason))

static void write_note(uint32_t word, uint32_t complement) {
  note = word;
  note_complement = complement;
  m3net_core_write_back(&note);
  m3net_core_write_back(&note_complement);
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

__attribute__((weak)) void m3net_board_idle(void) { m3net_core_sleep(); }

__attribute__((weak)) void m3net_board_reset(void) {
  m3net_reset_note(M3NET_RESET_SOFTWARE);
  m3net_core_restart();
}

__attribute__((weak)) m3net_reset_reason m3net_board_reset_reason(void) { return kept_reason; }
