// SPDX-License-Identifier: Apache-2.0
// Level and gain of a microphone. The level tells whether it is too quiet or clips. The gain, which
// an export may have, is applied before the front end. m3net_tf/audio/frontend/level.py computes
// the same integers and says why; its constants come with frontend_config.h.
#ifndef M3NET_CORE_LEVEL_H_
#define M3NET_CORE_LEVEL_H_

#include <stdbool.h>
#include <stdint.h>

#include "detector_config.h"
#include "frontend_config.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Fixed gain, in octaves of amplitude with 16 fraction bits, and whether the automatic one adds to
/// it. Exports without a gain have neither.
#ifndef M3NET_DETECTOR_GAIN
#define M3NET_DETECTOR_GAIN 0
#endif
#ifndef M3NET_DETECTOR_AUTOMATIC_GAIN
#define M3NET_DETECTOR_AUTOMATIC_GAIN 0
#endif
#define M3NET_LEVEL_AMPLIFIES (M3NET_DETECTOR_GAIN > 0 || M3NET_DETECTOR_AUTOMATIC_GAIN)

typedef enum {
  M3NET_LEVEL_OK,
  M3NET_LEVEL_QUIET,  ///< Loud sounds are far below the level of training: raise the gain.
  M3NET_LEVEL_CLIPS,  ///< Samples were clipped in the last second: lower the gain.
} m3net_level_verdict;

/// Level of a stream; owned by the caller, set up by m3net_level_reset(). Levels and gains are
/// octaves of amplitude with 16 fraction bits.
typedef struct {
  int32_t background;     ///< Negative before the first sound.
  int32_t missing;        ///< By how much loud sounds are below the target.
  uint32_t sound_hops;    ///< At most M3NET_FRONTEND_LEVEL_FIRST_HOPS.
  bool quiet;             ///< Much is missing.
  uint32_t hop_peak;      ///< Greatest magnitude of the last hop.
  uint32_t hops;          ///< Of this second.
  uint32_t peak;          ///< Greatest magnitude of this second.
  uint32_t clipped;       ///< Samples at full scale in this second.
  uint32_t last_peak;     ///< Of the last whole second.
  uint32_t last_clipped;  ///< Of the last whole second.
} m3net_level;

/// Forgets earlier sound.
void m3net_level_reset(m3net_level* level);

/// Takes a hop of M3NET_FRONTEND_HOP_SAMPLES samples; returns whether it completes a second.
bool m3net_level_hear(m3net_level* level, const int16_t* hop);

/// Amplifies the hop that m3net_level_hear() took last, by less where it would clip.
///
/// @param amplified  receives as many samples; may be `hop`.
void m3net_level_amplify(const m3net_level* level, const int16_t* hop, int16_t* amplified);

/// What the level is: of the last whole second, and of loud sounds so far.
m3net_level_verdict m3net_level_judge(const m3net_level* level);

/// The gain of the next hop, unless it would clip.
int32_t m3net_level_gain(const m3net_level* level);

/// Whole decibels of a gain or of what is missing, rounded down.
uint32_t m3net_level_decibels(int32_t octaves);

/// "ok", "quiet" or "clips".
const char* m3net_level_verdict_name(m3net_level_verdict verdict);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_LEVEL_H_
