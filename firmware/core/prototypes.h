// SPDX-License-Identifier: Apache-2.0
// Sounds that a board learns from a few examples, without training: the prototype of a sound is the
// sum of the network's outputs for its examples, and its score for a new sound is the cosine
// between the sound's output and the prototype (J. Snell, K. Swersky and R. Zemel, "Prototypical
// Networks for Few-shot Learning", 2017, equation 1).
//
// An export of normal sounds has their prototypes in flash instead, and one class, `unusual`: the
// farther a sound is from the nearest of them, the higher its score.
//
// All arithmetic is on integers, so that m3net_tf.runtime.prototypes gives the same scores.
#ifndef M3NET_CORE_PROTOTYPES_H_
#define M3NET_CORE_PROTOTYPES_H_

#include <stdbool.h>
#include <stdint.h>

#include "model.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Places for sounds; 0 if the export is not for enrolment.
#ifdef M3NET_MODEL_ENROLMENT_SLOTS
#define M3NET_PROTOTYPE_SLOTS M3NET_MODEL_ENROLMENT_SLOTS
#else
#define M3NET_PROTOTYPE_SLOTS 0
#endif

/// Prototypes of normal sounds; 0 if the export does not report unusual ones.
#ifdef M3NET_MODEL_NORMAL_PROTOTYPES
#define M3NET_NORMAL_PROTOTYPES M3NET_MODEL_NORMAL_PROTOTYPES
#else
#define M3NET_NORMAL_PROTOTYPES 0
#endif

/// Classes of the detector whose scores m3net_prototypes_score() gives; 0 if the scores are the
/// network's outputs.
#define M3NET_PROTOTYPE_CLASSES (M3NET_NORMAL_PROTOTYPES > 0 ? 1 : M3NET_PROTOTYPE_SLOTS)

/// Longest name of a sound, with its end.
#define M3NET_PROTOTYPE_NAME_BYTES 16u

/// Most examples of a sound, so that their sums fit.
#define M3NET_PROTOTYPE_MAX_EXAMPLES 100u

/// What is known of a sound.
typedef struct {
  char name[M3NET_PROTOTYPE_NAME_BYTES];  ///< Empty: the place is free.
  uint16_t examples;                      ///< Number of examples.
  int16_t sums[M3NET_MODEL_CLASS_COUNT];  ///< Of their outputs, without the zero point.
} m3net_prototype;

/// Adds an example of a sound, which takes the first free place if it is new.
///
/// @param prototypes  M3NET_PROTOTYPE_SLOTS of them.
/// @param output      M3NET_MODEL_CLASS_COUNT outputs of the network.
/// @return M3NET_OK, M3NET_ERROR_ARGUMENT (the name is empty or too long) or M3NET_ERROR_FULL (no
///         place is free, or the sound has M3NET_PROTOTYPE_MAX_EXAMPLES examples).
m3net_status m3net_prototypes_add(m3net_prototype* prototypes, const char* name,
                                  const int8_t* output);

/// Forgets a sound; returns whether it was known.
bool m3net_prototypes_forget(m3net_prototype* prototypes, const char* name);

/// Scores a sound, M3NET_PROTOTYPE_CLASSES of them: for each place -128 + floor(255 * cosine), or
/// -128 if the cosine is negative or the place is free. The detector reads this as the cosine from
/// 0 to 255/256. Of an export of normal sounds the one score is -128 + floor(255 * sine) of the
/// angle to the nearest prototype, or 127 if all cosines are negative; `prototypes` is not read.
void m3net_prototypes_score(const m3net_prototype* prototypes, const int8_t* output,
                            int8_t* scores);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_PROTOTYPES_H_
