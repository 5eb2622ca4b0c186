// SPDX-License-Identifier: Apache-2.0
// The exported model as C, run by TensorFlow Lite Micro (inference.cc) or as compiled C
// (../compiled/inference.c). The caller owns the object and the arena; nothing is allocated. With
// DiffRes the model is two networks and a warp between them.
#ifndef M3NET_CORE_INFERENCE_H_
#define M3NET_CORE_INFERENCE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frontend_config.h"
#include "model.h"
#include "status.h"

/// Additional memory for DiffRes: a second interpreter, the features, their scores, one row.
#ifdef M3NET_MODEL_IMPORTANCE_SIZE_BYTES
#include "warp_config.h"
#define M3NET_MODEL_MERGER_BYTES                                          \
  (sizeof(void*) * 128 + M3NET_MODEL_INPUT_BYTES + M3NET_WARP_FRAMES_IN + \
   M3NET_WARP_BINS * sizeof(m3net_warp_bin))
#else
#define M3NET_MODEL_MERGER_BYTES 0
#endif

#ifdef __cplusplus
extern "C" {
#endif

/// Room for one model object (a compile-time bound on m3net_model_size()).
#ifdef M3NET_ENGINE_COMPILED
#define M3NET_MODEL_OBJECT_BYTES (sizeof(void*) * 4 + M3NET_MODEL_MERGER_BYTES)
#else
#define M3NET_MODEL_OBJECT_BYTES \
  (sizeof(void*) * (128 + 16 * M3NET_MODEL_OPERATOR_COUNT) + M3NET_MODEL_MERGER_BYTES)
#endif

/// Alignment of object and arena.
#define M3NET_MODEL_ALIGNMENT 16

/// Type of an arena whose `bytes` are so many: engines also use them as numbers of 16 and 32 bits.
#define M3NET_MODEL_ARENA(size)       \
  union {                             \
    uint8_t bytes[size];              \
    int16_t halves[((size) + 1) / 2]; \
    int32_t words[((size) + 3) / 4];  \
  }

typedef struct m3net_model m3net_model;

/// Bytes that m3net_model_init() needs for the object itself.
size_t m3net_model_size(void);

/// Builds the model in the caller's memory and plans its tensors in the caller's arena.
///
/// Both must stay valid while the model is used and be aligned to M3NET_MODEL_ALIGNMENT. On
/// M3NET_ERROR_ARENA, m3net_model_arena_missing() tells by how much the arena is too small; on
/// M3NET_ERROR_CRC, the model's bytes have changed since the export.
m3net_status m3net_model_init(void* memory, size_t memory_bytes, uint8_t* arena, size_t arena_bytes,
                              m3net_model** model);

/// The int8 features, M3NET_MODEL_INPUT_BYTES long. Fill them before each run: the planner may use
/// their memory for other tensors, and it ends a stream.
int8_t* m3net_model_input(m3net_model* model);

/// The int8 scores, M3NET_MODEL_CLASS_COUNT of them, valid until the next run or push.
const int8_t* m3net_model_output(const m3net_model* model);

/// Runs the model once.
m3net_status m3net_model_run(m3net_model* model);

#ifdef M3NET_MODEL_PUSH_COLUMNS  // an export that streams

/// Pushes until a whole window has been pushed.
#define M3NET_MODEL_WINDOW_PUSHES \
  ((M3NET_FRONTEND_FRAMES + M3NET_MODEL_PUSH_COLUMNS - 1u) / M3NET_MODEL_PUSH_COLUMNS)

/// Begins a stream: what was pushed before is forgotten. The stream keeps its state in the arena.
void m3net_model_begin_stream(m3net_model* model);

/// Ends a stream, as m3net_model_input() and runs do, which take the arena.
void m3net_model_end_stream(m3net_model* model);

/// Whether a stream has begun and not ended.
bool m3net_model_is_streaming(const m3net_model* model);

/// Takes the next M3NET_MODEL_PUSH_COLUMNS columns of a stream, columns[bin * PUSH_COLUMNS +
/// column]. Once a window has been pushed, the scores are of the window that ends with them.
void m3net_model_push(m3net_model* model, const int8_t* columns);

#else

static inline void m3net_model_end_stream(m3net_model* model) { (void)model; }

#endif

#ifdef M3NET_MODEL_UPDATABLE  // an export whose constants are parts that can be exchanged

/// Order of the weights in memory: 0 for Helium, 1 for the DSP extension, 2 for RISC-V of 32 bits,
/// 3 for other targets.
uint32_t m3net_model_layout(void);

/// Number of the model's parts.
uint32_t m3net_model_part_count(void);

/// Bytes of a part.
uint32_t m3net_model_part_bytes(uint32_t part);

/// Makes all later runs read other parts, which must outlast them. It needs no model that was set
/// up; a stream must have ended.
///
/// @param image    address of the bytes that hold the parts; null for the firmware's own.
/// @param offsets  from `image` to each part, m3net_model_part_count() of them.
void m3net_model_use(const uint8_t* image, const uint32_t* offsets);

#endif

/// Takes what one operator of the model cost.
///
/// @param context  as given to m3net_model_profile().
/// @param index    its place in the order of execution.
/// @param steps    of m3net_board_counter().
typedef void (*m3net_layer_report)(void* context, uint32_t index, const char* name, uint32_t steps);

/// Runs the model once, as m3net_model_run() does, and calls `report` with `context` as each
/// operator ends. No operator's cost includes the report itself.
m3net_status m3net_model_profile(m3net_model* model, m3net_layer_report report, void* context);

/// Bytes of the arena that are in use.
size_t m3net_model_arena_used(const m3net_model* model);

/// After M3NET_ERROR_ARENA: bytes by which the first failed request exceeded the arena; 0 if
/// unknown.
size_t m3net_model_arena_missing(void);

/// First message of the runtime since the last call of init or run; empty if none.
const char* m3net_model_message(void);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_INFERENCE_H_
