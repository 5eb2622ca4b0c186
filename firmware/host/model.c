// SPDX-License-Identifier: Apache-2.0
// A model without a runtime, for tests on the host: the score of class c is the sum of the inputs
// c, c + CLASSES, c + 2 CLASSES, ..., divided by 64 and limited to int8. In updatable builds each
// input is multiplied by one of the bytes of part 0, in turn, and part 1 is added to the score.

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

#ifdef M3NET_MODEL_UPDATABLE

#define WEIGHTS 397u  // more than a sector, and no multiple of a word

static const int8_t own_weights[WEIGHTS] = {[0 ... WEIGHTS - 1] = 1};
static const int32_t own_sum = 0;
static const int8_t* weights = own_weights;
static const int32_t* added = &own_sum;

uint32_t m3net_model_layout(void) { return 3; }

uint32_t m3net_model_part_count(void) { return 2; }

uint32_t m3net_model_part_bytes(uint32_t part) { return part == 0u ? WEIGHTS : sizeof(own_sum); }

void m3net_model_use(const uint8_t* image, const uint32_t* offsets) {
  weights = image == NULL ? own_weights : (const int8_t*)(image + offsets[0]);
  added = image == NULL ? &own_sum : (const int32_t*)(const void*)(image + offsets[1]);
}

static int32_t weighted(int8_t input, uint32_t index) { return input * weights[index % WEIGHTS]; }

static int32_t start_sum(void) { return *added; }

#else

static int32_t weighted(int8_t input, uint32_t index) {
  (void)index;
  return input;
}

static int32_t start_sum(void) { return 0; }

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
  int32_t sums[M3NET_MODEL_CLASS_COUNT];
  for (uint32_t label = 0; label < M3NET_MODEL_CLASS_COUNT; ++label) sums[label] = start_sum();
  for (uint32_t i = 0, label = 0; i < M3NET_MODEL_INPUT_BYTES; ++i) {
    sums[label] += weighted(model->input[i], i);
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
