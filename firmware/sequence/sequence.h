// SPDX-License-Identifier: Apache-2.0
// A network that keeps a state of its own from run to run.

#ifndef M3NET_SEQUENCE_H_
#define M3NET_SEQUENCE_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Begins a sequence; returns where the caller writes each input, NULL if the network does not
/// start.
int8_t* sequence_begin(void);
/// Runs the network on the input, after the runs before; returns its output, NULL on failure.
const int8_t* sequence_run(void);
/// Bytes of the arena in use.
uint32_t sequence_arena_bytes(void);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_SEQUENCE_H_
