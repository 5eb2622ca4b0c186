// SPDX-License-Identifier: Apache-2.0
// Received bytes between the interrupt that puts them in and the code that takes them out. It needs
// no lock because each side writes only its own index.
#ifndef M3NET_DRIVERS_BYTE_RING_H_
#define M3NET_DRIVERS_BYTE_RING_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Capacity, a power of two: 89 ms at 115 200 baud.
#define M3NET_BYTE_RING_BYTES 1024u

/// All zero is an empty ring.
typedef struct {
  volatile uint32_t head;  ///< Bytes put so far, modulo 2^32.
  volatile uint32_t tail;  ///< Bytes taken so far, modulo 2^32.
  volatile uint32_t lost;  ///< Bytes that did not fit.
  volatile uint8_t bytes[M3NET_BYTE_RING_BYTES];
} m3net_byte_ring;

/// Puts a byte in, or counts it as lost.
static inline void m3net_byte_ring_put(m3net_byte_ring* ring, uint8_t byte) {
  const uint32_t head = ring->head;
  if (head - ring->tail == M3NET_BYTE_RING_BYTES) {
    ring->lost = ring->lost + 1u;
    return;
  }
  ring->bytes[head % M3NET_BYTE_RING_BYTES] = byte;
  ring->head = head + 1u;
}

/// Takes up to `capacity` bytes out; returns how many.
static inline size_t m3net_byte_ring_take(m3net_byte_ring* ring, uint8_t* bytes, size_t capacity) {
  uint32_t tail = ring->tail;
  size_t count = 0;
  for (; count < capacity && tail != ring->head; ++count, ++tail) {
    bytes[count] = ring->bytes[tail % M3NET_BYTE_RING_BYTES];
  }
  ring->tail = tail;
  return count;
}

#ifdef __cplusplus
}
#endif

#endif  // M3NET_DRIVERS_BYTE_RING_H_
