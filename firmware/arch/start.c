// SPDX-License-Identifier: Apache-2.0
// The part of a start that all cores share, and the watermark of the stack.

#include <stdint.h>

#include "arch.h"
#include "platform.h"

extern uint32_t m3net_stack_bottom[], m3net_stack_top[];
extern uint32_t m3net_data_start[], m3net_data_end[], m3net_data_load[];
extern uint32_t m3net_bss_start[], m3net_bss_end[];
extern void (*__init_array_start[])(void);
extern void (*__init_array_end[])(void);

int main(void);

#define STACK_PAINT 0xA5A5A5A5u
/// Words below the frame of m3net_start() that it may need itself.
#define SPARE_WORDS 16

// Runs before variables are initialised: uses only registers, linker symbols and the stack.
void m3net_start(void) {
  const uint32_t* load = m3net_data_load;
  for (uint32_t* word = m3net_data_start; word < m3net_data_end; ++word) *word = *load++;
  for (uint32_t* word = m3net_bss_start; word < m3net_bss_end; ++word) *word = 0u;
  const uint32_t* frame = (const uint32_t*)__builtin_frame_address(0);
  for (uint32_t* word = m3net_stack_bottom; word < frame - SPARE_WORDS; ++word) *word = STACK_PAINT;

  for (void (**one)(void) = __init_array_start; one < __init_array_end; ++one) (*one)();
  (void)main();
  for (;;) {
  }
}

size_t m3net_platform_stack_size(void) {
  return (size_t)((uintptr_t)m3net_stack_top - (uintptr_t)m3net_stack_bottom);
}

size_t m3net_platform_stack_used(void) {
  const uint32_t* word = m3net_stack_bottom;
  while (word < m3net_stack_top && *word == STACK_PAINT) ++word;
  return (size_t)((uintptr_t)m3net_stack_top - (uintptr_t)word);
}
