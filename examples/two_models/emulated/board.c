// SPDX-License-Identifier: Apache-2.0
// Stands in for the microphone of an emulated board: the emulator loads a sound to SOUND_ADDRESS,
// its number of bytes first, and the program reads it as its standard input. What it prints leaves
// by semihosting.

#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  uint32_t bytes;
  uint8_t samples[];
} loaded_sound;

size_t fread(void* restrict to, size_t size, size_t count, FILE* restrict stream) {
  static uint32_t taken;
  const loaded_sound* sound = (const loaded_sound*)SOUND_ADDRESS;
  (void)stream;
  size_t items = 0;
  for (; items < count && sound->bytes - taken >= size; ++items) {
    memcpy((uint8_t*)to + items * size, sound->samples + taken, size);
    taken += (uint32_t)size;
  }
  return items;
}

#ifdef __arm__
// The C library has the rest of the start-up code.
extern void _start(void);
__attribute__((section(".vectors"))) void* const board_vectors[] = {(void*)0x20400000,
                                                                    (void*)_start};
#endif
