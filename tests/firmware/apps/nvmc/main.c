// SPDX-License-Identifier: Apache-2.0
// Records in the flash of an nRF51, whose controller has the registers of the nRF52840's: appended
// until both pages have been full, and read again after a reset. Says how it went by semihosting.

#include <string.h>

#include "board_config.h"
#include "platform.h"
#include "record_log.h"

#define RECORDS 40u
#define WORDS 15u
#define OWNER 7u
#define AIRCR (*(volatile uint32_t*)0xE000ED0Cu)
#define AIRCR_RESET 0x05FA0004u
#define SYS_WRITE0 4u
#define SYS_EXIT 0x18u
#define EXIT_IN_ORDER 0x20026u

extern uint8_t m3net_stack_top[];
void m3net_reset(void);

__attribute__((section(".start"), used)) static const void* const vectors[] = {m3net_stack_top,
                                                                               m3net_reset};

const m3net_storage m3net_board_storage = {
    .sector_bytes = BOARD_STORAGE_SECTOR_BYTES,
    .sector_count = BOARD_STORAGE_SECTORS,
    .word_bytes = BOARD_STORAGE_WORD_BYTES,
};

static void call_host(uint32_t operation, uintptr_t argument) {
  register uint32_t r0 __asm("r0") = operation;
  register uintptr_t r1 __asm("r1") = argument;
  __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void end(const char* text) {
  call_host(SYS_WRITE0, (uintptr_t)text);
  call_host(SYS_EXIT, EXIT_IN_ORDER);
  for (;;) {
  }
}

static bool newest_is(uint32_t number, const uint32_t* content) {
  m3net_record record;
  uint32_t read[WORDS];
  return m3net_record_log_newest(&record) && record.number == number && record.owner == OWNER &&
         record.bytes == sizeof(read) &&
         m3net_board_storage_read(record.offset, read, sizeof(read)) == M3NET_OK &&
         memcmp(read, content, sizeof(read)) == 0;
}

void m3net_reset(void) {
  m3net_record record;
  uint32_t content[WORDS];
  const bool again = m3net_record_log_newest(&record);
  for (uint32_t number = again ? RECORDS : 1u; number <= RECORDS; ++number) {
    for (uint32_t i = 0; i < WORDS; ++i) content[i] = 1000u * number + i;
    if (!again && m3net_record_log_append(OWNER, content, sizeof(content)) != M3NET_OK) {
      end("a record is refused\n");
    }
    if (!newest_is(number, content)) end("the newest record is another\n");
  }
  if (again) end("kept\n");
  AIRCR = AIRCR_RESET;
  for (;;) {
  }
}
