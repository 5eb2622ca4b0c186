// SPDX-License-Identifier: Apache-2.0

#include "m3net_network.h"
#include "sequence.h"

static m3net_network_arena network;

int8_t* sequence_begin(void) {
  m3net_network_reset(network.bytes);
  return network.bytes + M3NET_NETWORK_INPUT_0_OFFSET;
}

const int8_t* sequence_run(void) {
  m3net_network_run(network.bytes);
  return network.bytes + M3NET_NETWORK_OUTPUT_0_OFFSET;
}

uint32_t sequence_arena_bytes(void) { return M3NET_NETWORK_ARENA_BYTES; }
