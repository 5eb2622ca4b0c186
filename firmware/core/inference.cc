// SPDX-License-Identifier: Apache-2.0

#include "inference.h"

#include <cstring>
#include <new>

#include "platform.h"
#include "runtime_log.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/micro_profiler_interface.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "tensorflow/lite/schema/schema_utils.h"

namespace {

// Registers the kernels' int8 forms where TFLM has one: exported models are int8 throughout, and
// the general forms would link int4 and int16 code that never runs.
class Resolver : public tflite::MicroMutableOpResolver<M3NET_MODEL_OPERATOR_COUNT> {
  using Base = tflite::MicroMutableOpResolver<M3NET_MODEL_OPERATOR_COUNT>;

 public:
  TfLiteStatus AddAdd() { return Base::AddAdd(tflite::Register_ADD_INT8()); }
  TfLiteStatus AddAveragePool2D() {
    return Base::AddAveragePool2D(tflite::Register_AVERAGE_POOL_2D_INT8());
  }
  TfLiteStatus AddBatchMatMul() {
    return Base::AddBatchMatMul(tflite::Register_BATCH_MATMUL_INT8());
  }
  TfLiteStatus AddConv2D() { return Base::AddConv2D(tflite::Register_CONV_2D_INT8()); }
  TfLiteStatus AddDepthwiseConv2D() {
    return Base::AddDepthwiseConv2D(tflite::Register_DEPTHWISE_CONV_2D_INT8());
  }
  TfLiteStatus AddFullyConnected() {
    return Base::AddFullyConnected(tflite::Register_FULLY_CONNECTED_INT8());
  }
  TfLiteStatus AddMaximum() { return Base::AddMaximum(tflite::Register_MAXIMUM_INT8()); }
  TfLiteStatus AddMaxPool2D() { return Base::AddMaxPool2D(tflite::Register_MAX_POOL_2D_INT8()); }
  TfLiteStatus AddMinimum() { return Base::AddMinimum(tflite::Register_MINIMUM_INT8()); }
  TfLiteStatus AddMul() { return Base::AddMul(tflite::Register_MUL_INT8()); }
  TfLiteStatus AddSoftmax() { return Base::AddSoftmax(tflite::Register_SOFTMAX_INT8()); }
  TfLiteStatus AddTransposeConv() {
    return Base::AddTransposeConv(tflite::Register_TRANSPOSE_CONV_INT8());
  }
  TfLiteStatus AddUnidirectionalSequenceLSTM() {
    return Base::AddUnidirectionalSequenceLSTM(
        tflite::Register_UNIDIRECTIONAL_SEQUENCE_LSTM_INT8());
  }
};

// Registers exactly the operators that the exporter found in the model.
TfLiteStatus AddOperators(Resolver* resolver) {
#define M3NET_ADD_OPERATOR(name) \
  if (resolver->Add##name() != kTfLiteOk) return kTfLiteError;
  M3NET_MODEL_OPERATORS(M3NET_ADD_OPERATOR)
#undef M3NET_ADD_OPERATOR
  return kTfLiteOk;
}

// Times operators while somebody wants to know, and costs next to nothing otherwise.
class Profiler : public tflite::MicroProfilerInterface {
 public:
  uint32_t BeginEvent(const char* tag) override {
    if (report_ == nullptr) return 0;
    tag_ = tag;
    start_ = m3net_board_counter();
    return 0;
  }
  void EndEvent(uint32_t) override {
    if (report_ == nullptr) return;
    const uint32_t steps = m3net_board_counter() - start_;
    report_(index_++, tag_, steps);
  }
  void Start(m3net_layer_report report) {
    report_ = report;
    index_ = 0;
  }
  void Stop() { report_ = nullptr; }
  // Lives in the caller's memory and is never deleted; there is no heap to delete from.
  static void operator delete(void*) {}

 private:
  m3net_layer_report report_ = nullptr;
  const char* tag_ = nullptr;
  uint32_t start_ = 0;
  uint32_t index_ = 0;
};

bool IsAligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % M3NET_MODEL_ALIGNMENT == 0;
}

// Whether every operator of the model is in the resolver.
bool OperatorsKnown(const tflite::Model* model, const Resolver& resolver) {
  const auto* codes = model->operator_codes();
  if (codes == nullptr) return false;
  for (const auto* code : *codes) {
    const auto builtin = tflite::GetBuiltinCode(code);
    const bool custom = builtin == tflite::BuiltinOperator_CUSTOM;
    if (custom && code->custom_code() == nullptr) return false;
    if ((custom ? resolver.FindOp(code->custom_code()->c_str()) : resolver.FindOp(builtin)) ==
        nullptr) {
      return false;
    }
  }
  return true;
}

bool IsInt8(const TfLiteTensor* tensor, size_t bytes) {
  return tensor != nullptr && tensor->type == kTfLiteInt8 && tensor->bytes == bytes;
}

// Reads the number behind "missing:" in the runtime's message; 0 if there is none.
size_t MissingBytes(const char* message) {
  const char* at = std::strstr(message, "missing: ");
  size_t value = 0;
  if (at == nullptr) return 0;
  for (at += std::strlen("missing: "); *at >= '0' && *at <= '9'; ++at) {
    value = value * 10 + static_cast<size_t>(*at - '0');
  }
  return value;
}

// Whether the runtime's message speaks of too little memory.
bool IsShortage() {
  const char* message = m3net_runtime_log_message();
  for (const char* words : {"missing: ", "Too many buffers", "allocat"}) {
    if (std::strstr(message, words) != nullptr) return true;
  }
  return false;
}

}  // namespace

struct m3net_model {
  m3net_model(const tflite::Model* flatbuffer, uint8_t* arena, size_t arena_bytes)
      : operators_added(AddOperators(&resolver)),
        interpreter(flatbuffer, resolver, arena, arena_bytes, nullptr, &profiler) {}

  Resolver resolver;
  TfLiteStatus operators_added;
  Profiler profiler;
  tflite::MicroInterpreter interpreter;
  int8_t* input = nullptr;
  const int8_t* output = nullptr;
};

static_assert(sizeof(m3net_model) <= M3NET_MODEL_OBJECT_BYTES, "raise M3NET_MODEL_OBJECT_BYTES");

extern "C" {

size_t m3net_model_size(void) { return sizeof(m3net_model); }

m3net_status m3net_model_init(void* memory, size_t memory_bytes, uint8_t* arena, size_t arena_bytes,
                              m3net_model** model) {
  if (memory == nullptr || arena == nullptr || model == nullptr) return M3NET_ERROR_ARGUMENT;
  if (!IsAligned(memory) || !IsAligned(arena)) return M3NET_ERROR_ARGUMENT;
  if (memory_bytes < sizeof(m3net_model)) return M3NET_ERROR_MEMORY;
  *model = nullptr;
  m3net_runtime_log_clear();

  const tflite::Model* flatbuffer = tflite::GetModel(m3net_model_data);
  if (!tflite::ModelBufferHasIdentifier(m3net_model_data) ||
      flatbuffer->version() != TFLITE_SCHEMA_VERSION) {
    return M3NET_ERROR_MODEL;
  }
  auto* made = new (memory) m3net_model(flatbuffer, arena, arena_bytes);
  if (made->operators_added != kTfLiteOk || !OperatorsKnown(flatbuffer, made->resolver)) {
    return M3NET_ERROR_OPERATOR;
  }
  if (made->interpreter.initialization_status() != kTfLiteOk ||
      made->interpreter.AllocateTensors() != kTfLiteOk) {
    const bool shortage = arena_bytes < M3NET_MODEL_ARENA_BYTES || IsShortage();
    return shortage ? M3NET_ERROR_ARENA : M3NET_ERROR_MODEL;
  }
  TfLiteTensor* input = made->interpreter.input(0);
  const TfLiteTensor* output = made->interpreter.output(0);
  if (made->interpreter.inputs_size() != 1 || !IsInt8(input, M3NET_MODEL_INPUT_BYTES) ||
      !IsInt8(output, M3NET_MODEL_CLASS_COUNT)) {
    return M3NET_ERROR_TENSOR;
  }
  made->input = input->data.int8;
  made->output = output->data.int8;
  *model = made;
  return M3NET_OK;
}

int8_t* m3net_model_input(m3net_model* model) { return model->input; }

const int8_t* m3net_model_output(const m3net_model* model) { return model->output; }

m3net_status m3net_model_run(m3net_model* model) {
  m3net_runtime_log_clear();
  // An LSTM's state must not go over from one clip to the next.
  if (model->interpreter.Reset() != kTfLiteOk) return M3NET_ERROR_INVOKE;
  return model->interpreter.Invoke() == kTfLiteOk ? M3NET_OK : M3NET_ERROR_INVOKE;
}

m3net_status m3net_model_profile(m3net_model* model, m3net_layer_report report) {
  model->profiler.Start(report);
  const m3net_status status = m3net_model_run(model);
  model->profiler.Stop();
  return status;
}

size_t m3net_model_arena_used(const m3net_model* model) {
  return model->interpreter.arena_used_bytes();
}

size_t m3net_model_arena_missing(void) { return MissingBytes(m3net_runtime_log_message()); }

const char* m3net_model_message(void) { return m3net_runtime_log_message(); }

}  // extern "C"
