// SPDX-License-Identifier: Apache-2.0
// Repeatable random numbers of the host's tests.
#ifndef M3NET_HOST_RANDOM_H_
#define M3NET_HOST_RANDOM_H_

#include <stdint.h>

/// A number below a limit of at least 1, by xorshift64*. The state must not start at 0.
static inline uint32_t host_random_below(uint64_t* state, uint32_t limit) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return (uint32_t)((*state * 0x2545F4914F6CDD1Du) >> 33) % limit;
}

#endif  // M3NET_HOST_RANDOM_H_
