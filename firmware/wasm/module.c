// SPDX-License-Identifier: Apache-2.0
// The recognizer as a WebAssembly module: no imports, no library, no start-up code. The host writes
// to and reads from the module's memory at the addresses that some functions return. A page uses it
// like this:
//
//   init()                                         0, or an m3net_status
//   for each hop:
//     write hop_samples() samples to samples()     int16
//     amplify()                                    a microphone; if the export has a gain
//     due = push()                                 COLUMN: column() has feature_bins() int8
//     features if (due & RUN): run_newest(), scores(); if (detect()) event() has an m3net_event
//
// For a whole clip: reset(), push() its hops, load(), run(), and read class_count() int8 scores at
// scores(). After load(), input() has the window of features, which may also be overwritten.

#include "detector.h"
#include "level.h"
#include "m3net_network.h"
#include "platform.h"
#include "recognizer.h"

#ifdef M3NET_MODEL_IMPORTANCE_SIZE_BYTES
#include "m3net_importance.h"
#else
#define M3NET_IMPORTANCE_ARENA_BYTES 0
#endif

#define EXPORT(name) __attribute__((export_name(#name))) m3net_wasm_##name

// Bits of the result of push().
enum { COLUMN = 1, RUN = 2 };

#ifndef M3NET_MODEL_PUSH_COLUMNS
#define M3NET_NETWORK_STREAM_ARENA_BYTES 0
#endif

#define LARGER(one, other) ((one) > (other) ? (one) : (other))

enum {
  ARENA_BYTES = LARGER(M3NET_NETWORK_ARENA_BYTES,
                       LARGER(M3NET_IMPORTANCE_ARENA_BYTES, M3NET_NETWORK_STREAM_ARENA_BYTES))
};

static _Alignas(M3NET_MODEL_ALIGNMENT) M3NET_MODEL_ARENA(ARENA_BYTES) arena;
static m3net_recognizer recognizer;
static m3net_detector detector;
static m3net_event last_event;
static m3net_level level;
static int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];
static int8_t features[M3NET_FRONTEND_FEATURE_BINS];

// Only a profile of the network reads it, and the module has none.
uint32_t m3net_board_counter(void) { return 0; }

uint32_t EXPORT(sample_rate_hz)(void) { return M3NET_FRONTEND_SAMPLE_RATE_HZ; }
uint32_t EXPORT(hop_samples)(void) { return M3NET_FRONTEND_HOP_SAMPLES; }
uint32_t EXPORT(frame_samples)(void) { return M3NET_FRONTEND_FRAME_SAMPLES; }
uint32_t EXPORT(feature_bins)(void) { return M3NET_FRONTEND_FEATURE_BINS; }
uint32_t EXPORT(frames)(void) { return M3NET_FRONTEND_FRAMES; }
uint32_t EXPORT(class_count)(void) { return M3NET_MODEL_CLASS_COUNT; }

int16_t* EXPORT(samples)(void) { return hop; }
const int8_t* EXPORT(column)(void) { return features; }
int8_t* EXPORT(input)(void) { return m3net_model_input(recognizer.model); }
const int8_t* EXPORT(scores)(void) { return m3net_model_output(recognizer.model); }
const m3net_event* EXPORT(event)(void) { return &last_event; }

m3net_status EXPORT(init)(void) {
  const m3net_status status = m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes));
  if (status != M3NET_OK) return status;
  m3net_level_reset(&level);
  return m3net_detector_init(&detector, &m3net_detector_defaults);
}

void EXPORT(reset)(void) {
  m3net_recognizer_reset(&recognizer);
  m3net_detector_reset(&detector);
  m3net_level_reset(&level);
}

#if M3NET_LEVEL_AMPLIFIES
void EXPORT(amplify)(void) {
  m3net_level_hear(&level, hop);
  m3net_level_amplify(&level, hop, hop);
}
#endif

uint32_t EXPORT(push)(void) {
  if (!m3net_frontend_push(recognizer.frontend, hop, features)) return 0;
  m3net_ring_push(&recognizer.classifier.ring, features);
  return m3net_detector_wants_inference(&detector, features) ? COLUMN | RUN : COLUMN;
}

void EXPORT(load)(void) { m3net_recognizer_load_window(&recognizer); }

m3net_status EXPORT(run)(void) { return m3net_recognizer_run(&recognizer); }

m3net_status EXPORT(run_newest)(void) { return m3net_recognizer_run_newest(&recognizer); }

bool EXPORT(detect)(void) {
  const int8_t* scores = m3net_model_output(recognizer.model);
  return m3net_detector_step(&detector, scores, &last_event);
}
