// SPDX-License-Identifier: Apache-2.0
// A model without a runtime, for tests on the host: the score of class c is the sum of the inputs
// c, c + CLASSES, c + 2 CLASSES, ..., divided by 64 and limited to int8.

#include <string.h>

#include "inference.h"
#include "platform.h"

struct m3net_model {
  int8_t input[M3NET_MODEL_INPUT_BYTES];
  int8_t output[M3NET_MODEL_CLASS_COUNT];
};

static struct m3net_model the_model;

const char* const m3net_model_labels[M3NET_MODEL_CLASS_COUNT] = {
    [0 ... M3NET_MODEL_CLASS_COUNT - 1] = "some label"};

#ifdef M3NET_MODEL_NORMAL_PROTOTYPES
const int16_t m3net_model_normal[M3NET_MODEL_NORMAL_PROTOTYPES][M3NET_MODEL_CLASS_COUNT] = {
    {[0 ... M3NET_MODEL_CLASS_COUNT - 1] = 1000}, {2000, 1000}};
#endif

size_t m3net_model_size(void) { return 0; }

m3net_status m3net_model_init(void* memory, size_t memory_bytes, uint8_t* arena, size_t arena_bytes,
                              m3net_model** model) {
  (void)memory;
  (void)memory_bytes;
  (void)arena;
  (void)arena_bytes;
  memset(&the_model, 0, sizeof(the_model));
  *model = &the_model;
  return M3NET_OK;
}

int8_t* m3net_model_input(m3net_model* model) { return model->input; }

const int8_t* m3net_model_output(const m3net_model* model) { return model->output; }

m3net_status m3net_model_run(m3net_model* model) {
  int32_t sums[M3NET_MODEL_CLASS_COUNT] = {0};
  for (uint32_t i = 0, label = 0; i < M3NET_MODEL_INPUT_BYTES; ++i) {
    sums[label] += model->input[i];
    label = label + 1u == M3NET_MODEL_CLASS_COUNT ? 0u : label + 1u;
  }
  for (uint32_t label = 0; label < M3NET_MODEL_CLASS_COUNT; ++label) {
    const int32_t score = sums[label] >= 0 ? sums[label] / 64 : -((63 - sums[label]) / 64);
    model->output[label] = (int8_t)(score < -128 ? -128 : score > 127 ? 127 : score);
  }
  memset(model->input, 0x55, sizeof(model->input));  // a planner may use its memory, too
  return M3NET_OK;
}

m3net_status m3net_model_profile(m3net_model* model, m3net_layer_report report, void* context) {
  const m3net_status status = m3net_model_run(model);
  report(context, 0, "CONV_2D", 4000);
  for (uint32_t label = 0; label < M3NET_MODEL_CLASS_COUNT; ++label) {
    report(context, 1u + label, "SOFTMAX", 100);
  }
  return status;
}

size_t m3net_model_arena_used(const m3net_model* model) {
  (void)model;
  return sizeof(struct m3net_model);
}

size_t m3net_model_arena_missing(void) { return 0; }

const char* m3net_model_message(void) { return ""; }
