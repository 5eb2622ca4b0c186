// SPDX-License-Identifier: Apache-2.0
// Words that a board learns from a few examples, without training: the prototype of a word is the
// sum of the network's outputs for its examples, and its score for a new sound is the cosine
// between the sound's output and the prototype (J. Snell, K. Swersky and R. Zemel, "Prototypical
// Networks for Few-shot Learning", 2017, equation 1). All arithmetic is on integers, so that
// m3net_tf.runtime.Prototypes gives the same scores.
#ifndef M3NET_CORE_PROTOTYPES_H_
#define M3NET_CORE_PROTOTYPES_H_

#include <stdbool.h>
#include <stdint.h>

#include "model.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Places for words; 0 if the export is not for enrolment.
#ifdef M3NET_MODEL_ENROLMENT_SLOTS
#define M3NET_PROTOTYPE_SLOTS M3NET_MODEL_ENROLMENT_SLOTS
#else
#define M3NET_PROTOTYPE_SLOTS 0
#endif

/// Longest name of a word, with its end.
#define M3NET_PROTOTYPE_NAME_BYTES 16u

/// Most examples of a word, so that their sums fit.
#define M3NET_PROTOTYPE_MAX_EXAMPLES 100u

/// What is known of a word.
typedef struct {
  char name[M3NET_PROTOTYPE_NAME_BYTES];  ///< Empty: the place is free.
  uint16_t examples;                      ///< Number of examples.
  int16_t sums[M3NET_MODEL_CLASS_COUNT];  ///< Of their outputs, without the zero point.
} m3net_prototype;

/// Adds an example of a word, which takes the first free place if it is new.
///
/// @param prototypes  M3NET_PROTOTYPE_SLOTS of them.
/// @param output      M3NET_MODEL_CLASS_COUNT outputs of the network.
/// @return M3NET_OK, M3NET_ERROR_ARGUMENT (the name is empty or too long) or M3NET_ERROR_FULL (no
///         place is free, or the word has M3NET_PROTOTYPE_MAX_EXAMPLES examples).
m3net_status m3net_prototypes_add(m3net_prototype* prototypes, const char* name,
                                  const int8_t* output);

/// Forgets a word; returns whether it was known.
bool m3net_prototypes_forget(m3net_prototype* prototypes, const char* name);

/// Scores a sound: for each place -128 + floor(255 * cosine), or -128 if the cosine is negative or
/// the place is free. The detector reads this as the cosine from 0 to 255/256.
void m3net_prototypes_score(const m3net_prototype* prototypes, const int8_t* output,
                            int8_t* scores);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_PROTOTYPES_H_
