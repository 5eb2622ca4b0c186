// SPDX-License-Identifier: Apache-2.0
// The byte ring of the UARTs, the window of feature columns and the checksum, each compared with a
// form that is too simple to be wrong. A byte of an input is an order, the next one its size.

#include <stdlib.h>
#include <string.h>

#include "byte_ring.h"
#include "crc32.h"
#include "ring.h"

#define COLUMNS 512u
#define BINS M3NET_FRONTEND_FEATURE_BINS

static void require(int holds) {
  if (!holds) abort();
}

static uint32_t slow_crc32(const uint8_t* bytes, size_t count) {
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < count; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

static void check_crc(const uint8_t* data, size_t size) {
  const size_t first = size == 0u ? 0u : data[0] % (size + 1u);
  const uint32_t crc = m3net_crc32(m3net_crc32(0, data, first), data + first, size - first);
  require(crc == slow_crc32(data, size));
}

// Numbers the bytes: what is taken must be the oldest that was put and not lost.
static void check_byte_ring(const uint8_t* data, size_t size) {
  static m3net_byte_ring ring;
  memset(&ring, 0, sizeof(ring));
  ring.head = ring.tail = size == 0u ? 0u : 0u - data[0];  // soon wraps at 2^32
  uint8_t queue[M3NET_BYTE_RING_BYTES];
  uint32_t first = 0, count = 0, lost = 0;
  uint8_t next = 0;
  for (size_t i = 0; i + 1u < size; i += 2u) {
    if (data[i] & 1u) {
      for (uint32_t left = 2u * data[i + 1u]; left > 0u; --left) {
        m3net_byte_ring_put(&ring, next);
        if (count == sizeof(queue)) {
          ++lost;
        } else {
          queue[(first + count++) % sizeof(queue)] = next;
        }
        ++next;
      }
    } else {
      uint8_t* taken = malloc(data[i + 1u] + 1u);
      const size_t got = m3net_byte_ring_take(&ring, taken, data[i + 1u]);
      require(got == (count < data[i + 1u] ? count : data[i + 1u]));
      for (size_t k = 0; k < got; ++k) {
        require(taken[k] == queue[(first + k) % sizeof(queue)]);
      }
      first += (uint32_t)got;
      count -= (uint32_t)got;
      free(taken);
    }
  }
  require(ring.lost == lost);
}

static void check_window(const uint8_t* data, size_t size) {
  static m3net_ring ring;
  static int8_t columns[COLUMNS][BINS], input[M3NET_RING_WINDOW_BYTES], copied[2 * BINS];
  uint32_t count = 0;
  m3net_ring_reset(&ring);
  const int8_t lowest = ring.values[0];
  for (size_t i = 0; i < size && count < COLUMNS; ++i) {
    memset(columns[count], data[i], BINS);
    columns[count][i % BINS] = (int8_t)i;
    m3net_ring_push(&ring, columns[count++]);
  }
  require(m3net_ring_full(&ring) == (count >= M3NET_FRONTEND_FRAMES));
  m3net_ring_copy(&ring, input);
  for (uint32_t frame = 0; frame < M3NET_FRONTEND_FRAMES; ++frame) {
    const uint32_t age = M3NET_FRONTEND_FRAMES - frame;
    for (uint32_t bin = 0; bin < BINS; ++bin) {
      const int8_t expected = age <= count ? columns[count - age][bin] : lowest;
      require(input[bin * M3NET_FRONTEND_FRAMES + frame] == expected);
    }
  }
  for (uint32_t back = 2; back <= M3NET_FRONTEND_FRAMES; ++back) {
    m3net_ring_copy_columns(&ring, back, 2, copied);
    for (uint32_t bin = 0; bin < BINS; ++bin) {
      for (uint32_t column = 0; column < 2u; ++column) {
        const uint32_t age = back - column;
        require(copied[2u * bin + column] == (age <= count ? columns[count - age][bin] : lowest));
      }
    }
  }
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check_crc(data, size);
  check_byte_ring(data, size);
  check_window(data, size);
  return 0;
}
