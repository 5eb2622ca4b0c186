// SPDX-License-Identifier: Apache-2.0

#include "prototypes.h"

#if M3NET_PROTOTYPE_SLOTS > 0

#include <string.h>

#define WIDTH M3NET_MODEL_CLASS_COUNT
#define TOP 255u  // score of a cosine of 1, above the lowest score
#define SQUARES_LIMIT (1ull << 46)

static int32_t centred(int8_t output) { return output - M3NET_MODEL_OUTPUT_ZERO_POINT; }

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

// The largest number of 8 bits whose square times `divisor` is at most `dividend`.
static uint32_t root_of_quotient(uint64_t dividend, uint64_t divisor) {
  uint32_t root = 0;
  for (uint32_t bit = 128; bit > 0u; bit /= 2u) {
    const uint64_t next = root + bit;
    if (next * next * divisor <= dividend) root += bit;
  }
  return root;
}

static uint32_t cosine(const m3net_prototype* word, const int8_t* output) {
  int64_t dot = 0;
  uint64_t norm = 0, word_norm = 0;
  for (uint32_t i = 0; i < WIDTH; ++i) {
    const int32_t value = centred(output[i]), sum = word->sums[i];
    dot += value * sum;
    norm += (uint32_t)(value * value);
    word_norm += (uint32_t)(sum * sum);
  }
  if (dot <= 0) return 0;  // of an output or a prototype of zeros, too
  uint64_t squares = norm * word_norm;
  // Both are scaled down until 255 * 255 times each fits 64 bits.
  for (; squares >= SQUARES_LIMIT; squares /= 4u) dot /= 2;
  return root_of_quotient((uint64_t)(dot * dot) * TOP * TOP, squares);
}

void m3net_prototypes_score(const m3net_prototype* prototypes, const int8_t* output,
                            int8_t* scores) {
  for (uint32_t place = 0; place < M3NET_PROTOTYPE_SLOTS; ++place) {
    const uint32_t score =
        prototypes[place].examples == 0u ? 0u : cosine(&prototypes[place], output);
    scores[place] = (int8_t)((int32_t)score - 128);
  }
}

#endif  // M3NET_PROTOTYPE_SLOTS > 0
