// SPDX-License-Identifier: Apache-2.0
// Two models on one microphone: reads 16-bit samples from standard input and prints what each of
// them detects, as "1.52 s: wake: yes 87 %". With PRINT_SCORES it also prints the scores of each
// run.
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

static wake_recognizer first_recognizer;
static wake_live first;
static wake_live_result first_result;
static sounds_live_result second_result;

#ifdef PRINT_SCORES
static void print_scores(const char* model, const int8_t* scores, unsigned classes) {
  if (scores == NULL) return;
  printf("%s", model);
  for (unsigned label = 0; label < classes; ++label) printf(" %d", scores[label]);
  printf("\n");
}
#else
#define print_scores(model, scores, classes)
#endif

static void print_event(double seconds, const char* model, const char* label, uint16_t score) {
  printf("%.2f s: %s: %s %u %%\n", seconds, model, label, (unsigned)(100ul * score / 65536ul));
  fflush(stdout);
}

static void print_wake(void) {
  print_scores("wake", first_result.scores, WAKE_MODEL_CLASS_COUNT);
  if (!first_result.has_event) return;
  const wake_event* event = &first_result.event;
  const double samples =
      (double)event->column * WAKE_FRONTEND_HOP_SAMPLES + WAKE_FRONTEND_FRAME_SAMPLES;
  print_event(samples / WAKE_FRONTEND_SAMPLE_RATE_HZ, "wake", wake_live_label(&first, event->label),
              event->score);
}

static void print_sounds(const sounds_listener* listener) {
  print_scores("sounds", second_result.scores, SOUNDS_MODEL_CLASS_COUNT);
  if (!second_result.has_event) return;
  const sounds_event* event = &second_result.event;
  const double samples =
      (double)event->column * SOUNDS_FRONTEND_HOP_SAMPLES + SOUNDS_FRONTEND_FRAME_SAMPLES;
  print_event(samples / SOUNDS_FRONTEND_SAMPLE_RATE_HZ, "sounds",
              sounds_listener_label(listener, event->label), event->score);
}

#if ONE_FRONTEND

static sounds_classifier second_classifier;
static sounds_listener second;

static m3net_status begin_sounds(void) {
  m3net_status status =
      sounds_classifier_init(&second_classifier, sounds_arena.bytes, sizeof(sounds_arena.bytes));
  if (status == M3NET_OK) status = sounds_listener_init(&second, &second_classifier);
  return status;
}

// Takes the column of the hop, if it completed one.
static m3net_status hear_sounds(const int16_t* hop) {
  (void)hop;
  if (!first_result.has_column) return M3NET_OK;
  sounds_listener_take(&second, first_result.column, &second_result);
  print_sounds(&second);
  return second_result.status;
}

#else

static sounds_recognizer second_recognizer;
static sounds_live second;
static int16_t second_hop[SOUNDS_FRONTEND_HOP_SAMPLES];
static unsigned second_filled;

static m3net_status begin_sounds(void) {
  m3net_status status =
      sounds_recognizer_init(&second_recognizer, sounds_arena.bytes, sizeof(sounds_arena.bytes));
  if (status == M3NET_OK) status = sounds_live_init(&second, &second_recognizer);
  return status == M3NET_OK ? sounds_live_start(&second, false) : status;
}

// Takes the samples of the hop, whose number may differ from the front end's.
static m3net_status hear_sounds(const int16_t* hop) {
  for (unsigned i = 0; i < WAKE_FRONTEND_HOP_SAMPLES; ++i) {
    second_hop[second_filled++] = hop[i];
    if (second_filled < SOUNDS_FRONTEND_HOP_SAMPLES) continue;
    second_filled = 0;
    (void)sounds_live_hear(&second, second_hop);
    (void)sounds_live_step(&second, &second_result);
    print_sounds(&second.listener);
    if (second_result.status != M3NET_OK) return second_result.status;
  }
  return M3NET_OK;
}

#endif

int main(void) {
  static int16_t hop[WAKE_FRONTEND_HOP_SAMPLES];
  m3net_status status =
      wake_recognizer_init(&first_recognizer, wake_arena.bytes, sizeof(wake_arena.bytes));
  if (status == M3NET_OK) status = wake_live_init(&first, &first_recognizer);
  if (status == M3NET_OK) status = wake_live_start(&first, false);
  if (status == M3NET_OK) status = begin_sounds();
  while (status == M3NET_OK && fread(hop, sizeof(hop), 1, stdin) == 1) {
    (void)wake_live_hear(&first, hop);
    (void)wake_live_step(&first, &first_result);
    status = first_result.status;
    if (status != M3NET_OK) break;
    print_wake();
    status = hear_sounds(hop);
  }
  if (status != M3NET_OK) fprintf(stderr, "%s\n", m3net_status_name(status));
  return status == M3NET_OK ? 0 : 1;
}
