// SPDX-License-Identifier: Apache-2.0
// The console's bytes, over both of its protocols, on the host's board and its stand-in for a
// model. Two bytes of an input that no command has are orders to this program, so that the fuzzer
// need not invent checksums: 0xFE lets time pass, 0xFD N V sends a block of N + 1 bytes V.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "crc32.h"
#include "monitor.h"
#include "storage.h"

#define BUFFER_BYTES (2 * M3NET_FRONTEND_SAMPLE_RATE_HZ)
#define PASS_TIME 0xFEu
#define SEND_BLOCK 0xFDu

static m3net_recognizer recognizer;
static m3net_live live;
static m3net_monitor monitor;
static uint8_t arena[16] __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));
static uint8_t* buffer;

static void drop(const char* bytes, size_t count) {
  (void)bytes;
  (void)count;
}

static void start(void) {
  if (buffer == NULL) buffer = malloc(BUFFER_BYTES);
  memset(buffer, 0, BUFFER_BYTES);
  if (m3net_recognizer_init(&recognizer, arena, sizeof(arena)) != M3NET_OK ||
      m3net_live_init(&live, &recognizer) != M3NET_OK) {
    abort();
  }
  m3net_monitor_init(&monitor, &recognizer, &live, buffer, BUFFER_BYTES, sizeof(arena));
  m3net_monitor_greet(&monitor);
}

static void give(const void* bytes, size_t count) {
  m3net_monitor_receive(&monitor, bytes, count);
  while (m3net_monitor_poll(&monitor)) {
  }
}

static void send_block(uint32_t bytes, uint8_t value) {
  uint8_t block[M3NET_MONITOR_BLOCK_BYTES];
  memset(block, value, sizeof(block));
  char header[64];
  const int length = snprintf(header, sizeof(header), "block %u %u 0x%08x\n", monitor.next, bytes,
                              m3net_crc32(0, block, bytes));
  give(header, (size_t)length);
  give(block, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static char sound[4096];
  host_sink = drop;
  if (host_microphone == NULL) host_microphone = fmemopen(sound, sizeof(sound), "rb");
  static const uint8_t* at;  // static, because a reset jumps back to here
  static size_t left;
  at = data;
  left = size;
  host_storage_blank();
  (void)setjmp(host_restart);
  start();
  while (left > 0u) {
    if (*at == PASS_TIME) {
      host_advance(2u * M3NET_MONITOR_BLOCK_TIMEOUT_US);
      (void)m3net_monitor_poll(&monitor);
      ++at;
      --left;
    } else if (*at == SEND_BLOCK && left >= 3u) {
      const uint8_t* order = at;
      at += 3;
      left -= 3u;
      send_block(order[1] + 1u, order[2]);
    } else {
      const uint8_t byte = *at++;
      --left;
      give(&byte, 1);
    }
    if (monitor.line_length > M3NET_MONITOR_LINE_BYTES ||
        monitor.block_filled > sizeof(monitor.block) || monitor.hop_bytes >= sizeof(monitor.hop)) {
      abort();
    }
  }
  m3net_live_stop(&live);
  return 0;
}
