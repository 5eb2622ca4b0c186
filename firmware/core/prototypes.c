// SPDX-License-Identifier: Apache-2.0

#include "prototypes.h"

#if M3NET_PROTOTYPE_CLASSES > 0

#include <string.h>

#define WIDTH M3NET_MODEL_CLASS_COUNT
#define TOP 255u  // score of a cosine of 1, above the lowest score
#define SQUARES_LIMIT (1ull << 46)

static int32_t centred(int8_t output) { return output - M3NET_MODEL_OUTPUT_ZERO_POINT; }

#if M3NET_PROTOTYPE_SLOTS > 0

static m3net_prototype* find(m3net_prototype* prototypes, const char* name) {
  for (uint32_t place = 0; place < M3NET_PROTOTYPE_SLOTS; ++place) {
    if (strcmp(prototypes[place].name, name) == 0) return &prototypes[place];
  }
  return NULL;
}

m3net_status m3net_prototypes_add(m3net_prototype* prototypes, const char* name,
                                  const int8_t* output) {
  const size_t length = strlen(name);
  if (length == 0u || length >= M3NET_PROTOTYPE_NAME_BYTES) return M3NET_ERROR_ARGUMENT;
  m3net_prototype* word = find(prototypes, name);
  if (word == NULL) word = find(prototypes, "");
  if (word == NULL || word->examples >= M3NET_PROTOTYPE_MAX_EXAMPLES) return M3NET_ERROR_FULL;
  memcpy(word->name, name, length + 1u);
  ++word->examples;
  for (uint32_t i = 0; i < WIDTH; ++i) word->sums[i] += (int16_t)centred(output[i]);
  return M3NET_OK;
}

bool m3net_prototypes_forget(m3net_prototype* prototypes, const char* name) {
  m3net_prototype* word = find(prototypes, name);
  if (word == NULL || name[0] == '\0') return false;
  memset(word, 0, sizeof(*word));
  return true;
}

#endif  // M3NET_PROTOTYPE_SLOTS > 0

// The largest number of 8 bits whose square times `divisor` is at most `dividend`.
static uint32_t root_of_quotient(uint64_t dividend, uint64_t divisor) {
  uint32_t root = 0;
  for (uint32_t bit = 128; bit > 0u; bit /= 2u) {
    const uint64_t next = root + bit;
    if (next * next * divisor <= dividend) root += bit;
  }
  return root;
}

// Squares of a sound's output and a prototype, and of their dot product: the squared cosine of the
// angle between them is `dot` / `both`.
typedef struct {
  uint64_t dot;  // 0 if the cosine is negative, or of an output or a prototype of zeros
  uint64_t both;
} squares;

static squares compare(const int16_t* sums, const int8_t* output) {
  int64_t dot = 0;
  uint64_t norm = 0, sums_norm = 0;
  for (uint32_t i = 0; i < WIDTH; ++i) {
    const int32_t value = centred(output[i]), sum = sums[i];
    dot += value * sum;
    norm += (uint32_t)(value * value);
    sums_norm += (uint32_t)(sum * sum);
  }
  if (dot <= 0) return (squares){0, 1};
  uint64_t both = norm * sums_norm;
  // Both are scaled down until 255 * 255 times each fits 64 bits.
  for (; both >= SQUARES_LIMIT; both /= 4u) dot /= 2;
  return (squares){(uint64_t)(dot * dot), both};
}

#if M3NET_NORMAL_PROTOTYPES > 0

void m3net_prototypes_score(const m3net_prototype* prototypes, const int8_t* output,
                            int8_t* scores) {
  (void)prototypes;
  uint32_t nearest = TOP;
  for (uint32_t place = 0; place < M3NET_NORMAL_PROTOTYPES; ++place) {
    const squares found = compare(m3net_model_normal[place], output);
    const uint32_t sine = root_of_quotient((found.both - found.dot) * TOP * TOP, found.both);
    if (sine < nearest) nearest = sine;
  }
  scores[0] = (int8_t)((int32_t)nearest - 128);
}

#else

void m3net_prototypes_score(const m3net_prototype* prototypes, const int8_t* output,
                            int8_t* scores) {
  for (uint32_t place = 0; place < M3NET_PROTOTYPE_SLOTS; ++place) {
    uint32_t cosine = 0;
    if (prototypes[place].examples > 0u) {
      const squares found = compare(prototypes[place].sums, output);
      cosine = root_of_quotient(found.dot * TOP * TOP, found.both);
    }
    scores[place] = (int8_t)((int32_t)cosine - 128);
  }
}

#endif

#endif  // M3NET_PROTOTYPE_CLASSES > 0
