// SPDX-License-Identifier: Apache-2.0
// Two models on one microphone: reads 16-bit samples from standard input and prints what each of
// them detects, as "1.52 s: wake: yes 87 %". With a word as argument it also prints the scores of
// each run.
//
// Models with the same front end share it: the columns that `wake` computes go to `sounds`, too.
// Models that do not stream share the arena, because only one runs at a time.

#include <stdio.h>

#include "sounds.h"
#include "wake.h"

#define ONE_FRONTEND (WAKE_FRONTEND_ID == SOUNDS_FRONTEND_ID)
#define LARGER(one, other) ((one) > (other) ? (one) : (other))

#if defined(WAKE_MODEL_PUSH_COLUMNS) || defined(SOUNDS_MODEL_PUSH_COLUMNS)
static WAKE_MODEL_ARENA(WAKE_MODEL_ARENA_BYTES) wake_arena
    __attribute__((aligned(WAKE_MODEL_ALIGNMENT)));
static SOUNDS_MODEL_ARENA(SOUNDS_MODEL_ARENA_BYTES) sounds_arena
    __attribute__((aligned(SOUNDS_MODEL_ALIGNMENT)));
#else
static WAKE_MODEL_ARENA(LARGER(WAKE_MODEL_ARENA_BYTES, SOUNDS_MODEL_ARENA_BYTES)) arena
    __attribute__((aligned(WAKE_MODEL_ALIGNMENT)));
#define wake_arena arena
#define sounds_arena arena
#endif

static wake_recognizer wake_front_and_model;
static wake_live wake;
static wake_live_result wake_result;
static sounds_live_result sounds_result;
static bool prints_scores;

static void print_scores(const char* model, const int8_t* scores, unsigned classes) {
  if (scores == NULL || !prints_scores) return;
  printf("%s", model);
  for (unsigned label = 0; label < classes; ++label) printf(" %d", scores[label]);
  printf("\n");
}

static void print_event(double seconds, const char* model, const char* label, uint16_t score) {
  printf("%.2f s: %s: %s %u %%\n", seconds, model, label, (unsigned)(100ul * score / 65536ul));
  fflush(stdout);
}

static void print_wake(void) {
  print_scores("wake", wake_result.scores, WAKE_MODEL_CLASS_COUNT);
  if (!wake_result.has_event) return;
  const wake_event* event = &wake_result.event;
  const double samples =
      (double)event->column * WAKE_FRONTEND_HOP_SAMPLES + WAKE_FRONTEND_FRAME_SAMPLES;
  print_event(samples / WAKE_FRONTEND_SAMPLE_RATE_HZ, "wake", wake_live_label(&wake, event->label),
              event->score);
}

static void print_sounds(const sounds_listener* listener) {
  print_scores("sounds", sounds_result.scores, SOUNDS_MODEL_CLASS_COUNT);
  if (!sounds_result.has_event) return;
  const sounds_event* event = &sounds_result.event;
  const double samples =
      (double)event->column * SOUNDS_FRONTEND_HOP_SAMPLES + SOUNDS_FRONTEND_FRAME_SAMPLES;
  print_event(samples / SOUNDS_FRONTEND_SAMPLE_RATE_HZ, "sounds",
              sounds_listener_label(listener, event->label), event->score);
}

#if ONE_FRONTEND

static sounds_classifier sounds_model;
static sounds_listener sounds;

static m3net_status begin_sounds(void) {
  m3net_status status =
      sounds_classifier_init(&sounds_model, sounds_arena.bytes, sizeof(sounds_arena.bytes));
  if (status == M3NET_OK) status = sounds_listener_init(&sounds, &sounds_model);
  return status;
}

// Takes the column of the hop, if it completed one.
static m3net_status hear_sounds(const int16_t* hop) {
  (void)hop;
  if (!wake_result.has_column) return M3NET_OK;
  sounds_listener_take(&sounds, wake_result.column, &sounds_result);
  print_sounds(&sounds);
  return sounds_result.status;
}

#else

static sounds_recognizer sounds_front_and_model;
static sounds_live sounds;
static int16_t sounds_hop[SOUNDS_FRONTEND_HOP_SAMPLES];
static unsigned sounds_filled;

static m3net_status begin_sounds(void) {
  m3net_status status = sounds_recognizer_init(&sounds_front_and_model, sounds_arena.bytes,
                                               sizeof(sounds_arena.bytes));
  if (status == M3NET_OK) status = sounds_live_init(&sounds, &sounds_front_and_model);
  return status == M3NET_OK ? sounds_live_start(&sounds, false) : status;
}

// Takes the samples of the hop, whose number may differ from the front end's.
static m3net_status hear_sounds(const int16_t* hop) {
  for (unsigned i = 0; i < WAKE_FRONTEND_HOP_SAMPLES; ++i) {
    sounds_hop[sounds_filled++] = hop[i];
    if (sounds_filled < SOUNDS_FRONTEND_HOP_SAMPLES) continue;
    sounds_filled = 0;
    (void)sounds_live_hear(&sounds, sounds_hop);
    (void)sounds_live_step(&sounds, &sounds_result);
    print_sounds(&sounds.listener);
    if (sounds_result.status != M3NET_OK) return sounds_result.status;
  }
  return M3NET_OK;
}

#endif

int main(int count, char** words) {
  static int16_t hop[WAKE_FRONTEND_HOP_SAMPLES];
  (void)words;
  prints_scores = count > 1;
  m3net_status status =
      wake_recognizer_init(&wake_front_and_model, wake_arena.bytes, sizeof(wake_arena.bytes));
  if (status == M3NET_OK) status = wake_live_init(&wake, &wake_front_and_model);
  if (status == M3NET_OK) status = wake_live_start(&wake, false);
  if (status == M3NET_OK) status = begin_sounds();
  while (status == M3NET_OK && fread(hop, sizeof(hop), 1, stdin) == 1) {
    (void)wake_live_hear(&wake, hop);
    (void)wake_live_step(&wake, &wake_result);
    status = wake_result.status;
    if (status != M3NET_OK) break;
    print_wake();
    status = hear_sounds(hop);
  }
  if (status != M3NET_OK) fprintf(stderr, "%s\n", m3net_status_name(status));
  return status == M3NET_OK ? 0 : 1;
}
