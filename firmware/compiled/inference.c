// SPDX-License-Identifier: Apache-2.0
// The exported model as compiled C (m3net_tf/compiler), behind the same interface as TensorFlow
// Lite Micro. The networks' C is generated when the firmware is built.

#include "inference.h"

#include <string.h>

#include "crc32.h"
#include "m3net_network.h"
#include "platform.h"

// Bytes of an input or output of a network. Features and scores have one byte in any case.
#define ITEM_BYTES (M3NET_MODEL_ACTIVATION_BITS / 8)

_Static_assert(M3NET_NETWORK_OUTPUT_0_BYTES == ITEM_BYTES * M3NET_MODEL_CLASS_COUNT,
               "one score for each class");

#ifdef M3NET_MODEL_IMPORTANCE_SIZE_BYTES

#include "m3net_importance.h"

_Static_assert(M3NET_IMPORTANCE_INPUT_0_BYTES == ITEM_BYTES * M3NET_MODEL_INPUT_BYTES &&
                   M3NET_MODEL_INPUT_BYTES == M3NET_WARP_BINS * M3NET_WARP_FRAMES_IN &&
                   M3NET_IMPORTANCE_OUTPUT_0_BYTES == ITEM_BYTES * M3NET_WARP_FRAMES_IN &&
                   M3NET_NETWORK_INPUT_0_BYTES ==
                       ITEM_BYTES * M3NET_WARP_BINS * M3NET_WARP_FRAMES_OUT * M3NET_WARP_CHANNELS,
               "the warp is not the model's: export both from one run");

#define ARENA_BYTES                                                                        \
  (M3NET_IMPORTANCE_ARENA_BYTES > M3NET_NETWORK_ARENA_BYTES ? M3NET_IMPORTANCE_ARENA_BYTES \
                                                            : M3NET_NETWORK_ARENA_BYTES)

#else

_Static_assert(M3NET_NETWORK_INPUT_0_BYTES == ITEM_BYTES * M3NET_MODEL_INPUT_BYTES,
               "the network's input is the features");

#ifdef M3NET_MODEL_PUSH_COLUMNS

_Static_assert(M3NET_NETWORK_STREAM_INPUT_0_BYTES ==
                       M3NET_FRONTEND_FEATURE_BINS * M3NET_MODEL_PUSH_COLUMNS &&
                   M3NET_NETWORK_STREAM_OUTPUT_0_BYTES == M3NET_MODEL_CLASS_COUNT &&
                   M3NET_NETWORK_STREAM_WINDOW_PUSHES == M3NET_MODEL_WINDOW_PUSHES,
               "the stream is not the network's: export both from one run");

#define ARENA_BYTES                                                                                \
  (M3NET_NETWORK_STREAM_ARENA_BYTES > M3NET_NETWORK_ARENA_BYTES ? M3NET_NETWORK_STREAM_ARENA_BYTES \
                                                                : M3NET_NETWORK_ARENA_BYTES)

#else

#define ARENA_BYTES M3NET_NETWORK_ARENA_BYTES

#endif
#endif

struct m3net_model {
  int8_t* arena;
#ifdef M3NET_MODEL_PUSH_COLUMNS
  bool is_streaming;  // the arena holds a stream's state
#endif
#ifdef M3NET_MODEL_IMPORTANCE_SIZE_BYTES
  // Features and scores have their own memory because the next network uses the arena by then.
  int8_t features[M3NET_MODEL_INPUT_BYTES];
  int8_t scores[M3NET_WARP_FRAMES_IN];
  m3net_warp_bin bins[M3NET_WARP_BINS];
#endif
};

_Static_assert(sizeof(struct m3net_model) <= M3NET_MODEL_OBJECT_BYTES,
               "raise M3NET_MODEL_OBJECT_BYTES");

// The report of the run that is being profiled; a generated network has no context to carry it.
static struct {
  m3net_layer_report report;
  void* context;
  uint32_t index;
  uint32_t start;
} profile;

// The networks call it after each kernel.
void m3net_operation_done(const char* operation) {
  if (profile.report == NULL) return;
  const uint32_t steps = m3net_board_counter() - profile.start;
  profile.report(profile.context, profile.index++, operation, steps);
  profile.start = m3net_board_counter();
}

static bool is_aligned(const void* pointer) {
  return (uintptr_t)pointer % M3NET_MODEL_ALIGNMENT == 0;
}

size_t m3net_model_size(void) { return sizeof(m3net_model); }

m3net_status m3net_model_init(void* memory, size_t memory_bytes, uint8_t* arena, size_t arena_bytes,
                              m3net_model** model) {
  if (memory == NULL || arena == NULL || model == NULL) return M3NET_ERROR_ARGUMENT;
  if (!is_aligned(memory) || !is_aligned(arena)) return M3NET_ERROR_ARGUMENT;
  if (memory_bytes < sizeof(m3net_model)) return M3NET_ERROR_MEMORY;
  *model = NULL;
  if (!m3net_network_intact(m3net_crc32)) return M3NET_ERROR_CRC;
#ifdef M3NET_MODEL_IMPORTANCE_SIZE_BYTES
  if (!m3net_importance_intact(m3net_crc32)) return M3NET_ERROR_CRC;
#endif
  if (arena_bytes < ARENA_BYTES) return M3NET_ERROR_ARENA;
  m3net_model* made = memory;
  made->arena = (int8_t*)arena;
  m3net_model_end_stream(made);
  *model = made;
  return M3NET_OK;
}

int8_t* m3net_model_input(m3net_model* model) {
  m3net_model_end_stream(model);
#ifdef M3NET_MODEL_IMPORTANCE_SIZE_BYTES
  return model->features;
#else
  return model->arena + M3NET_NETWORK_INPUT_0_OFFSET;
#endif
}

const int8_t* m3net_model_output(const m3net_model* model) {
#ifdef M3NET_MODEL_PUSH_COLUMNS
  if (model->is_streaming) return model->arena + M3NET_NETWORK_STREAM_OUTPUT_0_OFFSET;
#endif
  return model->arena + M3NET_NETWORK_OUTPUT_0_OFFSET;
}

// Makes int8 features the input of a network, in place, from the last one on.
static void widen(int8_t* input, size_t count) {
#if M3NET_MODEL_ACTIVATION_BITS == 16
  for (size_t i = count; i > 0; --i) {
    const int16_t value = (int16_t)(input[i - 1] * 256);
    memcpy(input + 2 * (i - 1), &value, sizeof(value));
  }
#else
  (void)input;
  (void)count;
#endif
}

// Makes a network's output int8 scores, in place; scores of 16 bits are not negative.
static void narrow(int8_t* output, size_t count) {
#if M3NET_MODEL_ACTIVATION_BITS == 16
  for (size_t i = 0; i < count; ++i) {
    int16_t value;
    memcpy(&value, output + 2 * i, sizeof(value));
    output[i] = (int8_t)((value >> 7) - 128);
  }
#else
  (void)output;
  (void)count;
#endif
}

m3net_status m3net_model_run(m3net_model* model) {
  m3net_model_end_stream(model);
#ifdef M3NET_MODEL_IMPORTANCE_SIZE_BYTES
  memcpy(model->arena + M3NET_IMPORTANCE_INPUT_0_OFFSET, model->features, sizeof(model->features));
  widen(model->arena + M3NET_IMPORTANCE_INPUT_0_OFFSET, sizeof(model->features));
  m3net_importance_reset(model->arena);
  m3net_importance_run(model->arena);
  narrow(model->arena + M3NET_IMPORTANCE_OUTPUT_0_OFFSET, sizeof(model->scores));
  memcpy(model->scores, model->arena + M3NET_IMPORTANCE_OUTPUT_0_OFFSET, sizeof(model->scores));
  m3net_warp_run(&m3net_model_warp, model->features, model->scores, model->bins,
                 model->arena + M3NET_NETWORK_INPUT_0_OFFSET);
  m3net_operation_done("WARP");
#endif
  widen(model->arena + M3NET_NETWORK_INPUT_0_OFFSET, M3NET_NETWORK_INPUT_0_BYTES / ITEM_BYTES);
  m3net_network_reset(model->arena);  // an LSTM must not keep its state from one clip to the next
  m3net_network_run(model->arena);
  narrow(model->arena + M3NET_NETWORK_OUTPUT_0_OFFSET, M3NET_MODEL_CLASS_COUNT);
  return M3NET_OK;
}

#ifdef M3NET_MODEL_PUSH_COLUMNS

void m3net_model_end_stream(m3net_model* model) { model->is_streaming = false; }

void m3net_model_begin_stream(m3net_model* model) {
  m3net_network_stream_reset(model->arena);
  model->is_streaming = true;
}

bool m3net_model_is_streaming(const m3net_model* model) { return model->is_streaming; }

void m3net_model_push(m3net_model* model, const int8_t* columns) {
  (void)m3net_network_stream_push(model->arena, columns);
}

#endif

#ifdef M3NET_MODEL_UPDATABLE

#include "weights.h"

#ifdef M3NET_MODEL_IMPORTANCE_SIZE_BYTES
#define PARTS (M3NET_NETWORK_PARTS + M3NET_IMPORTANCE_PARTS)
#else
#define PARTS M3NET_NETWORK_PARTS
#endif

uint32_t m3net_model_layout(void) {
  return M3NET_ENGINE_HELIUM ? 0u : M3NET_ENGINE_DSP ? 1u : M3NET_ENGINE_RV32 ? 2u : 3u;
}

uint32_t m3net_model_part_count(void) { return PARTS; }

uint32_t m3net_model_part_bytes(uint32_t part) {
#ifdef M3NET_MODEL_IMPORTANCE_SIZE_BYTES
  if (part >= M3NET_NETWORK_PARTS) return m3net_importance_part_bytes(part - M3NET_NETWORK_PARTS);
#endif
  return m3net_network_part_bytes(part);
}

void m3net_model_use(const uint8_t* image, const uint32_t* offsets) {
  static const void* parts[PARTS];
  for (uint32_t part = 0; image != NULL && part < PARTS; ++part) {
    parts[part] = image + offsets[part];
  }
  m3net_network_use(image == NULL ? NULL : parts);
#ifdef M3NET_MODEL_IMPORTANCE_SIZE_BYTES
  m3net_importance_use(image == NULL ? NULL : parts + M3NET_NETWORK_PARTS);
#endif
}

#endif  // M3NET_MODEL_UPDATABLE

m3net_status m3net_model_profile(m3net_model* model, m3net_layer_report report, void* context) {
  profile.report = report;
  profile.context = context;
  profile.index = 0;
  profile.start = m3net_board_counter();
  const m3net_status status = m3net_model_run(model);
  profile.report = NULL;
  return status;
}

size_t m3net_model_arena_used(const m3net_model* model) {
  (void)model;
  return ARENA_BYTES;
}

size_t m3net_model_arena_missing(void) { return 0; }

const char* m3net_model_message(void) { return ""; }
