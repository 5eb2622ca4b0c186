// SPDX-License-Identifier: Apache-2.0

#include <new>

#include "model.h"
#include "sequence.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/micro_resource_variable.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

#ifdef M3NET_MODEL_VARIABLE_COUNT
constexpr int kVariables = M3NET_MODEL_VARIABLE_COUNT;
#else
constexpr int kVariables = 0;
#endif

using Resolver = tflite::MicroMutableOpResolver<M3NET_MODEL_OPERATOR_COUNT>;

// Makes the resolver in its constructor, since the interpreter needs it filled.
struct Operators : Resolver {
  Operators() {
#define M3NET_ADD_OPERATOR(name) (void)Add##name();
    M3NET_MODEL_OPERATORS(M3NET_ADD_OPERATOR)
#undef M3NET_ADD_OPERATOR
  }
};

struct Runtime {
  Runtime(uint8_t* arena, size_t bytes)
      : allocator(tflite::MicroAllocator::Create(arena, bytes)),
        interpreter(tflite::GetModel(m3net_model_data), operators, allocator,
                    tflite::MicroResourceVariables::Create(allocator, kVariables)) {}

  Operators operators;
  tflite::MicroAllocator* allocator;
  tflite::MicroInterpreter interpreter;
};

alignas(16) uint8_t arena[M3NET_MODEL_ARENA_BYTES];
alignas(Runtime) unsigned char memory[sizeof(Runtime)];
Runtime* runtime;

}  // namespace

extern "C" {

int8_t* sequence_begin(void) {
  runtime = new (memory) Runtime(arena, sizeof(arena));
  if (runtime->interpreter.AllocateTensors() != kTfLiteOk) return nullptr;
  return runtime->interpreter.input(0)->data.int8;
}

const int8_t* sequence_run(void) {
  if (runtime->interpreter.Invoke() != kTfLiteOk) return nullptr;
  return runtime->interpreter.output(0)->data.int8;
}

uint32_t sequence_arena_bytes(void) {
  return static_cast<uint32_t>(runtime->allocator->used_bytes());
}

}  // extern "C"
