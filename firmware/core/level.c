// SPDX-License-Identifier: Apache-2.0

#include "level.h"

#include <string.h>

#define HOP M3NET_FRONTEND_HOP_SAMPLES
#define FULL 32767u
#define UNIT 256  // of factors

static int32_t share(int32_t value, int32_t of_65536) {
  return (int32_t)(((int64_t)value * of_65536) >> 16);
}

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

// Logarithm to base 2 with 16 fraction bits, linear within each octave; of 1 at least.
static int32_t log2_of(uint32_t value) {
  const int32_t zeros = __builtin_clz(value);
  return ((31 - zeros) << 16) + (int32_t)((value << zeros >> 15) & 0xFFFFu);
}

void m3net_level_reset(m3net_level* level) {
  memset(level, 0, sizeof(*level));
  level->background = -1;
}

static void estimate(m3net_level* level, int32_t now) {
  if (level->background < 0) level->background = now;
  if (now < level->background) {
    level->background -= share(level->background - now, M3NET_FRONTEND_LEVEL_BACKGROUND_FALL);
  } else {
    level->background += least(M3NET_FRONTEND_LEVEL_BACKGROUND_RISE, now - level->background);
  }
  if (now <= level->background + M3NET_FRONTEND_LEVEL_SOUND) return;
  const bool first = level->sound_hops < M3NET_FRONTEND_LEVEL_FIRST_HOPS;
  if (first) ++level->sound_hops;
  int32_t wanted = M3NET_FRONTEND_LEVEL_TARGET - now - M3NET_DETECTOR_GAIN;
  wanted = least(wanted < 0 ? 0 : wanted, M3NET_FRONTEND_LEVEL_MOST);
  if (wanted < level->missing) {
    level->missing -= share(level->missing - wanted, M3NET_FRONTEND_LEVEL_FALL);
  } else {
    const int32_t rise = first ? M3NET_FRONTEND_LEVEL_FIRST_RISE : M3NET_FRONTEND_LEVEL_RISE;
    level->missing += least(rise, wanted - level->missing);
  }
  level->quiet =
      level->missing >= (level->quiet ? M3NET_FRONTEND_LEVEL_ENOUGH : M3NET_FRONTEND_LEVEL_QUIET);
}

bool m3net_level_hear(m3net_level* level, const int16_t* hop) {
  int32_t sum = 0;
  uint64_t squares = 0;
  uint32_t peak = 0, clipped = 0;
  for (uint32_t i = 0; i < HOP; ++i) {
    const int32_t sample = hop[i];
    const uint32_t magnitude = (uint32_t)(sample < 0 ? -sample : sample);
    if (magnitude > peak) peak = magnitude;
    if (magnitude >= FULL) ++clipped;
    sum += sample;
    squares += (uint32_t)(sample * sample);
  }
  // The variance: a microphone's offset is not sound.
  const uint64_t offset = (uint64_t)((int64_t)sum * sum);
  const uint32_t power = (uint32_t)((squares * HOP - offset) / ((uint64_t)HOP * HOP));
  level->hop_peak = peak;
  if (peak > level->peak) level->peak = peak;
  level->clipped += clipped;
  const bool second = ++level->hops == M3NET_FRONTEND_LEVEL_SECOND_HOPS;
  if (second) {
    level->last_peak = level->peak;
    level->last_clipped = level->clipped;
    level->hops = level->peak = level->clipped = 0;
  }
  // Microphones start with zeros.
  if (power > 0u || level->background >= 0) estimate(level, log2_of(power > 0u ? power : 1u) >> 1);
  return second;
}

int32_t m3net_level_gain(const m3net_level* level) {
  const int32_t added = M3NET_DETECTOR_AUTOMATIC_GAIN && level->quiet ? level->missing : 0;
  return least(M3NET_DETECTOR_GAIN + added, M3NET_FRONTEND_LEVEL_MOST);
}

void m3net_level_amplify(const m3net_level* level, const int16_t* hop, int16_t* amplified) {
  const int32_t gain = m3net_level_gain(level);
  int32_t factor = (UNIT + ((gain & 0xFFFF) >> 8)) << (gain >> 16);
  if (level->hop_peak > 0u) {
    const int32_t largest = (int32_t)((FULL << 8) / level->hop_peak);
    factor = least(factor, largest < UNIT ? UNIT : largest);
  }
  for (uint32_t i = 0; i < HOP; ++i) amplified[i] = (int16_t)((hop[i] * factor + UNIT / 2) >> 8);
}

m3net_level_verdict m3net_level_judge(const m3net_level* level) {
  if (level->last_clipped >= M3NET_FRONTEND_LEVEL_CLIPPED) return M3NET_LEVEL_CLIPS;
  const bool amplified =
      M3NET_DETECTOR_AUTOMATIC_GAIN && m3net_level_gain(level) < M3NET_FRONTEND_LEVEL_MOST;
  return level->quiet && !amplified ? M3NET_LEVEL_QUIET : M3NET_LEVEL_OK;
}

uint32_t m3net_level_decibels(int32_t octaves) { return (uint32_t)octaves * 6021u / 65536000u; }

const char* m3net_level_verdict_name(m3net_level_verdict verdict) {
  static const char* const names[] = {"ok", "quiet", "clips"};
  return names[verdict];
}
