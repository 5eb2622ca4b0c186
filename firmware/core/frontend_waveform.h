// SPDX-License-Identifier: Apache-2.0
// The arithmetic of a front end whose features are the samples: each becomes one of 256 levels, by
// rounding or, if companded, by a table. Part of frontend.c; integers on every core.
#ifndef M3NET_CORE_FRONTEND_WAVEFORM_H_
#define M3NET_CORE_FRONTEND_WAVEFORM_H_

typedef struct {
  uint8_t unused;  // samples are independent of each other
} frontend_work;

_Static_assert(FRAME == HOP && BINS == HOP, "a column is a hop of samples");

static m3net_status work_init(frontend_work* work) {
  (void)work;
  return M3NET_OK;
}

#ifdef M3NET_FRONTEND_WAVEFORM_ROUNDED

static bool tables_fit(void) { return true; }

static inline int8_t level_of(int32_t sample) {
  const int32_t level = (sample + 128) >> 8;
  return (int8_t)(level > 127 ? 127 : level);
}

#else

#define STEPS 255u  // between 256 levels

static bool tables_fit(void) {
  for (uint32_t i = 1; i < STEPS; ++i) {
    if (m3net_frontend_waveform_last[i] < m3net_frontend_waveform_last[i - 1]) return false;
  }
  return true;
}

// Counts the steps below the sample, by bisection.
static inline int8_t level_of(int32_t sample) {
  const int16_t* last = m3net_frontend_waveform_last;
  int32_t steps = 0;
#pragma GCC unroll 8
  for (int32_t half = 128; half > 0; half /= 2) {
    if (sample > last[steps + half - 1]) steps += half;
  }
  return (int8_t)(M3NET_FRONTEND_WAVEFORM_LOWEST + steps);
}

#endif

static void work_column(frontend_work* work, const int16_t* samples, int8_t* column) {
  (void)work;
  for (uint32_t i = 0; i < BINS; ++i) column[i] = level_of(samples[i]);
}

#endif  // M3NET_CORE_FRONTEND_WAVEFORM_H_
