// SPDX-License-Identifier: Apache-2.0
// The monitor: text commands over the console, with checksummed binary blocks for audio and
// features; docs/reference/protocol.md is its specification. Commands that end in '%' go to the
// MLPerf Tiny protocol of eembc.h instead, so both share one line.
#ifndef M3NET_CORE_MONITOR_H_
#define M3NET_CORE_MONITOR_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "duty.h"
#include "eembc.h"
#include "live.h"
#include "recognizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Version of the protocol.
#define M3NET_MONITOR_PROTOCOL 1u

/// Longest line, without its end.
#define M3NET_MONITOR_LINE_BYTES 127u

/// Most bytes of one binary block.
#define M3NET_MONITOR_BLOCK_BYTES 256u

/// Most runs of the model that one command may ask for.
#define M3NET_MONITOR_MAX_RUNS 1000u

/// A block is given up if no byte of it comes for this long.
#define M3NET_MONITOR_BLOCK_TIMEOUT_US 500000u

/// After a damaged line, everything is dropped until no byte has come for this long.
#define M3NET_MONITOR_QUIET_US 100000u

typedef enum {
  M3NET_MONITOR_LINE,   ///< Collecting a line.
  M3NET_MONITOR_BLOCK,  ///< Collecting a block's bytes.
  M3NET_MONITOR_DRAIN,  ///< Dropping what follows a damaged line.
} m3net_monitor_state;

typedef enum {
  M3NET_LOAD_NONE,
  M3NET_LOAD_FEATURES,
  M3NET_LOAD_PCM,
  M3NET_LOAD_MODEL,
} m3net_load_kind;

/// A monitor; owned by the caller, set up by m3net_monitor_init().
typedef struct {
  m3net_recognizer* recognizer;
  m3net_live* live;
  uint8_t* buffer;  ///< For features, recordings and the benchmark's input.
  uint32_t buffer_bytes;
  uint32_t arena_bytes;  ///< For the memory report.
  m3net_eembc eembc;

  m3net_monitor_state state;
  char line[M3NET_MONITOR_LINE_BYTES + 1];
  uint32_t line_length;
  const char* drain_code;  ///< Error to report once it is quiet.
  const char* drain_text;
  uint64_t last_byte_us;

  uint8_t block[M3NET_MONITOR_BLOCK_BYTES];
  uint32_t block_offset;
  uint32_t block_bytes;
  uint32_t block_filled;
  uint32_t block_crc;

  m3net_load_kind load;
  uint32_t load_bytes;  ///< Of the whole input.
  uint32_t next;        ///< Offset of the next byte that is expected.
  int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];
  uint32_t hop_bytes;  ///< Of the hop that is incomplete yet.
  uint32_t frames;
  uint32_t frames_expected;
  uint32_t frontend_steps;

  bool has_result;
  int8_t result[M3NET_MODEL_CLASS_COUNT];

  bool stream_columns;
  bool stream_scores;
  bool stream_audio;
  uint32_t reported_lost_hops;
  uint32_t reported_audio_overruns;
  m3net_level_verdict reported_verdict;
  uint32_t baud;

  m3net_duty duty;  ///< Since the last start of a stream.
  uint32_t commands;
  uint32_t bad_commands;
  uint32_t blocks;
  uint32_t bad_blocks;
} m3net_monitor;

/// Sets up a monitor, and gives the detector the thresholds that the board saved.
///
/// @param buffer  at least M3NET_MODEL_INPUT_BYTES bytes, aligned to 2; if a window of
///                samples fits, the board can also record and take the benchmark's audio.
void m3net_monitor_init(m3net_monitor* monitor, m3net_recognizer* recognizer, m3net_live* live,
                        uint8_t* buffer, uint32_t buffer_bytes, uint32_t arena_bytes);

/// Prints that the monitor is ready.
void m3net_monitor_greet(m3net_monitor* monitor);

/// Takes bytes that the console received and answers the commands that they complete.
void m3net_monitor_receive(m3net_monitor* monitor, const uint8_t* bytes, size_t count);

/// Does what needs no byte: time-outs and the next hop of audio. Returns whether a hop was waiting.
bool m3net_monitor_poll(m3net_monitor* monitor);

/// One turn of the main loop: polls, receives, and sleeps if there was nothing to do. The main loop
/// feeds the watchdog; commands of many runs feed it before each one.
void m3net_monitor_work(m3net_monitor* monitor);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_MONITOR_H_
