// SPDX-License-Identifier: Apache-2.0
// The serial protocol of the MLPerf Tiny benchmark (commands that end in '%'), for the model alone
// or for front end and model; docs/reference/protocol.md lists its answers.
#ifndef M3NET_CORE_EEMBC_H_
#define M3NET_CORE_EEMBC_H_

#include <stdbool.h>
#include <stdint.h>

#include "recognizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Longest command, its end included.
#define M3NET_EEMBC_COMMAND_BYTES 80u

/// Most runs of the model that one command may ask for.
#define M3NET_EEMBC_MAX_RUNS 10000

/// Speed of the console in energy mode, which the benchmark prescribes.
#define M3NET_EEMBC_ENERGY_BAUD 9600u

/// The state between commands; owned by the caller, set up by m3net_eembc_init().
typedef struct {
  m3net_recognizer* recognizer;
  uint8_t* buffer;    ///< Filled by `db`.
  uint32_t capacity;  ///< Its bytes.
  uint32_t size;      ///< Bytes that `db load` announced; 0 = none.
  uint32_t position;  ///< Bytes received.
  bool energy;        ///< A pin marks the time instead of a line.
  int8_t scores[M3NET_MODEL_CLASS_COUNT];
  float distance;  ///< Mean square of input and output, where that is the result.
} m3net_eembc;

/// Sets up the protocol; the buffer has at least M3NET_MODEL_INPUT_BYTES bytes and is aligned to 2.
/// The benchmark's anomaly detection needs five times as many.
void m3net_eembc_init(m3net_eembc* eembc, m3net_recognizer* recognizer, uint8_t* buffer,
                      uint32_t capacity);

/// Sets the console's speed for the mode in which the firmware starts; returns the speed. Call it
/// before the first line is printed; further calls change nothing.
uint32_t m3net_eembc_start_console(void);

/// Prints what the benchmark expects at start.
void m3net_eembc_boot(m3net_eembc* eembc);

/// Carries out a command (without its '%', terminated by a zero; the text is changed) and prints
/// the answer, "m-ready" last.
void m3net_eembc_command(m3net_eembc* eembc, char* command);

/// Prints the answer to a command that is too long.
void m3net_eembc_too_long(void);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_EEMBC_H_
