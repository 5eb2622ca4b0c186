// SPDX-License-Identifier: Apache-2.0
// Interrupts of the chip on their way to the board's handlers.

#include "arch.h"

// A board with interrupts defines this table in board.c. Only the declaration is weak: the compiler
// would assume the zeros of a weak definition.
#pragma weak m3net_board_interrupts
#pragma weak m3net_board_interrupt_count

void m3net_serve_interrupt(uint32_t interrupt) {
  if (&m3net_board_interrupt_count != NULL && interrupt < m3net_board_interrupt_count &&
      m3net_board_interrupts[interrupt]) {
    m3net_board_interrupts[interrupt]();
    return;
  }
  m3net_platform_panic("interrupt", "an interrupt that no driver serves; see board.c", interrupt);
}

bool m3net_wait_for(const volatile uint32_t* address, uint32_t mask, uint32_t value) {
  for (uint32_t looks = 0; looks < 1000000u; ++looks) {
    if ((*address & mask) == value) return true;
  }
  return false;
}
