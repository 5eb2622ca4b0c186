// SPDX-License-Identifier: Apache-2.0

#include "inference.h"

#include <cstring>
#include <new>

#include "crc32.h"
#include "platform.h"
#include "runtime_log.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/micro_profiler_interface.h"
#include "tensorflow/lite/micro/micro_resource_variable.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "tensorflow/lite/schema/schema_utils.h"

#ifndef M3NET_MODEL_CRC32
#error "model.h has no M3NET_MODEL_CRC32: export the run again with this release"
#endif

namespace {

// Width of the model's activations, and the kernels for it.
#if M3NET_MODEL_ACTIVATION_BITS == 16
using Activation = int16_t;
constexpr TfLiteType kActivationType = kTfLiteInt16;
#define M3NET_KERNEL(name) tflite::Register_##name##_INT16()
#define M3NET_KERNEL_INT8_OR_ANY(name) tflite::Register_##name()
#else
using Activation = int8_t;
constexpr TfLiteType kActivationType = kTfLiteInt8;
#define M3NET_KERNEL(name) tflite::Register_##name##_INT8()
#define M3NET_KERNEL_INT8_OR_ANY(name) M3NET_KERNEL(name)
#endif

// Registers kernels for a single width where TFLM has them: an exported model has one width
// throughout, and the general kernels would link code that never runs.
class Resolver : public tflite::MicroMutableOpResolver<M3NET_MODEL_OPERATOR_COUNT> {
  using Base = tflite::MicroMutableOpResolver<M3NET_MODEL_OPERATOR_COUNT>;

 public:
  TfLiteStatus AddAdd() { return Base::AddAdd(M3NET_KERNEL(ADD)); }
  TfLiteStatus AddAveragePool2D() { return Base::AddAveragePool2D(M3NET_KERNEL(AVERAGE_POOL_2D)); }
  TfLiteStatus AddBatchMatMul() { return Base::AddBatchMatMul(M3NET_KERNEL(BATCH_MATMUL)); }
  TfLiteStatus AddConv2D() { return Base::AddConv2D(M3NET_KERNEL(CONV_2D)); }
  TfLiteStatus AddDepthwiseConv2D() {
    return Base::AddDepthwiseConv2D(M3NET_KERNEL(DEPTHWISE_CONV_2D));
  }
  TfLiteStatus AddFullyConnected() {
    return Base::AddFullyConnected(M3NET_KERNEL(FULLY_CONNECTED));
  }
  TfLiteStatus AddMaximum() { return Base::AddMaximum(M3NET_KERNEL_INT8_OR_ANY(MAXIMUM)); }
  TfLiteStatus AddMaxPool2D() { return Base::AddMaxPool2D(M3NET_KERNEL(MAX_POOL_2D)); }
  TfLiteStatus AddMinimum() { return Base::AddMinimum(M3NET_KERNEL_INT8_OR_ANY(MINIMUM)); }
  TfLiteStatus AddMul() { return Base::AddMul(M3NET_KERNEL_INT8_OR_ANY(MUL)); }
  TfLiteStatus AddSoftmax() { return Base::AddSoftmax(M3NET_KERNEL(SOFTMAX)); }
  TfLiteStatus AddTransposeConv() {
    return Base::AddTransposeConv(M3NET_KERNEL_INT8_OR_ANY(TRANSPOSE_CONV));
  }
  TfLiteStatus AddUnidirectionalSequenceLSTM() {
    return Base::AddUnidirectionalSequenceLSTM(M3NET_KERNEL(UNIDIRECTIONAL_SEQUENCE_LSTM));
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

// Times operators while a report is set; without one it costs next to nothing. Operators of a
// subgraph that CALL_ONCE runs are part of it.
class Profiler : public tflite::MicroProfilerInterface {
 public:
  uint32_t BeginEvent(const char* tag) override {
    if (depth_++ > 0 || report_ == nullptr) return 0;
    tag_ = tag;
    start_ = m3net_board_counter();
    return 0;
  }
  void EndEvent(uint32_t) override {
    if (--depth_ > 0 || report_ == nullptr) return;
    const uint32_t steps = m3net_board_counter() - start_;
    report_(context_, index_++, tag_, steps);
  }
  void Start(m3net_layer_report report, void* context) {
    report_ = report;
    context_ = context;
    index_ = 0;
  }
  void Stop() { report_ = nullptr; }
  // Between them nothing is reported.
  void Pause() { ++depth_; }
  void Resume() { --depth_; }
  // It lies in the caller's memory and is never deleted; there is no heap.
  static void operator delete(void*) {}

 private:
  m3net_layer_report report_ = nullptr;
  void* context_ = nullptr;
  const char* tag_ = nullptr;
  uint32_t start_ = 0;
  uint32_t index_ = 0;
  uint32_t depth_ = 0;
};

// The runtime puts its own objects at the arena's end before it checks anything.
constexpr size_t kLeastArenaBytes = 1024;

bool IsAligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % M3NET_MODEL_ALIGNMENT == 0;
}

// Whether the resolver has what a code of the model names.
bool IsKnown(const tflite::OperatorCode* code, const Resolver& resolver) {
  const auto builtin = tflite::GetBuiltinCode(code);
  if (builtin != tflite::BuiltinOperator_CUSTOM) return resolver.FindOp(builtin) != nullptr;
  return code->custom_code() != nullptr && resolver.FindOp(code->custom_code()->c_str()) != nullptr;
}

// Whether every operator that the model runs is in the resolver. Converters may leave codes behind
// that no operator has.
bool OperatorsKnown(const tflite::Model* model, const Resolver& resolver) {
  const auto* codes = model->operator_codes();
  const auto* graphs = model->subgraphs();
  if (codes == nullptr || graphs == nullptr) return false;
  for (const auto* graph : *graphs) {
    if (graph->operators() == nullptr) continue;
    for (const auto* operation : *graph->operators()) {
      const uint32_t index = operation->opcode_index();
      if (index >= codes->size() || !IsKnown(codes->Get(index), resolver)) return false;
    }
  }
  return true;
}

bool HasValues(const TfLiteTensor* tensor, size_t count) {
  return tensor != nullptr && tensor->type == kActivationType &&
         tensor->bytes == count * sizeof(Activation);
}

// Reads the number after "missing:" in the runtime's message; 0 if there is none.
size_t MissingBytes(const char* message) {
  const char* at = std::strstr(message, "missing: ");
  size_t value = 0;
  if (at == nullptr) return 0;
  for (at += std::strlen("missing: "); *at >= '0' && *at <= '9'; ++at) {
    value = value * 10 + static_cast<size_t>(*at - '0');
  }
  return value;
}

// Whether the runtime's message reports too little memory.
bool IsShortage() {
  const char* message = m3net_runtime_log_message();
  for (const char* words : {"missing: ", "Too many buffers", "allocat"}) {
    if (std::strstr(message, words) != nullptr) return true;
  }
  return false;
}

m3net_status CheckBytes(const unsigned char* data, size_t bytes, uint32_t crc32) {
  // The runtime does not check the file: damaged offsets would make it read any address.
  if (m3net_crc32(0, data, bytes) != crc32) return M3NET_ERROR_CRC;
  if (!tflite::ModelBufferHasIdentifier(data) ||
      tflite::GetModel(data)->version() != TFLITE_SCHEMA_VERSION) {
    return M3NET_ERROR_MODEL;
  }
  return M3NET_OK;
}

#ifdef M3NET_MODEL_VARIABLE_COUNT

tflite::MicroResourceVariables* NewVariables(tflite::MicroAllocator* allocator) {
  return tflite::MicroResourceVariables::Create(allocator, M3NET_MODEL_VARIABLE_COUNT);
}

#else

tflite::MicroResourceVariables* NewVariables(tflite::MicroAllocator*) { return nullptr; }

#endif

class Interpreter : public tflite::MicroInterpreter {
 public:
  Interpreter(const tflite::Model* model, const Resolver& resolver,
              tflite::MicroAllocator* allocator, Profiler* profiler)
      : MicroInterpreter(model, resolver, allocator, NewVariables(allocator), profiler),
        model_(model),
        profiler_(profiler) {}

  // Begins a new sequence. The runtime's own reset sets variables to their zero points, and not to
  // the values that CALL_ONCE assigns before the first run only.
  TfLiteStatus Restart() {
    profiler_->Pause();
    const TfLiteStatus status = Reset() == kTfLiteOk ? AssignInitialValues() : kTfLiteError;
    profiler_->Resume();
    return status;
  }

 private:
  TfLiteStatus AssignInitialValues() {
    if (model_->subgraphs()->size() == 1) return kTfLiteOk;
    tflite::MicroGraph& graph = tflite::GetMicroContext(&context())->graph();
    for (const auto* operation : *model_->subgraphs()->Get(0)->operators()) {
      const auto* once = operation->builtin_options_as_CallOnceOptions();
      if (once == nullptr) continue;
      if (graph.InvokeSubgraph(once->init_subgraph_index()) != kTfLiteOk) return kTfLiteError;
    }
    return kTfLiteOk;
  }

  const tflite::Model* model_;
  Profiler* profiler_;
};

// One network and its interpreter; several share an arena because they run one after the other.
class Network {
 public:
  Network(const unsigned char* data, const Resolver& resolver, tflite::MicroAllocator* allocator,
          Profiler* profiler)
      : interpreter_(tflite::GetModel(data), resolver, allocator, profiler) {}

  m3net_status Init(size_t arena_bytes, size_t input_count, size_t output_count) {
    if (interpreter_.initialization_status() != kTfLiteOk ||
        interpreter_.AllocateTensors() != kTfLiteOk) {
      const bool shortage = arena_bytes < M3NET_MODEL_ARENA_BYTES || IsShortage();
      return shortage ? M3NET_ERROR_ARENA : M3NET_ERROR_MODEL;
    }
    TfLiteTensor* input = interpreter_.input(0);
    const TfLiteTensor* output = interpreter_.output(0);
    if (interpreter_.inputs_size() != 1 || !HasValues(input, input_count) ||
        !HasValues(output, output_count)) {
      return M3NET_ERROR_TENSOR;
    }
    // int8 features go into the upper half of a 16-bit tensor, which Widen() then fills.
    input_ = input->data.int8 + (sizeof(Activation) - 1) * input_count;
    output_ = output->data.int8;
    input_count_ = input_count;
    output_count_ = output_count;
    return M3NET_OK;
  }

  m3net_status Run() {
    // A network must not keep its state from one clip to the next.
    if (interpreter_.Restart() != kTfLiteOk) return M3NET_ERROR_INVOKE;
    Widen();
    if (interpreter_.Invoke() != kTfLiteOk) return M3NET_ERROR_INVOKE;
    Narrow();
    return M3NET_OK;
  }

  int8_t* input() const { return input_; }
  const int8_t* output() const { return output_; }

 private:
  // Both convert a 16-bit tensor in place, in the order that overwrites no value before it is read,
  // and leave an int8 tensor as it is.
  void Widen() {
    if (sizeof(Activation) == 1) return;
    auto* wide = reinterpret_cast<Activation*>(input_ - input_count_);
    for (size_t i = 0; i < input_count_; ++i) wide[i] = static_cast<Activation>(input_[i] * 256);
  }
  // Scores of 0 to 32767 become int8 of scale 1/256 and zero point -128.
  void Narrow() {
    if (sizeof(Activation) == 1) return;
    const auto* wide = reinterpret_cast<const Activation*>(output_);
    for (size_t i = 0; i < output_count_; ++i) {
      output_[i] = static_cast<int8_t>(wide[i] / 128 - 128);
    }
  }

  Interpreter interpreter_;
  int8_t* input_ = nullptr;
  int8_t* output_ = nullptr;
  size_t input_count_ = 0;
  size_t output_count_ = 0;
};

#ifdef M3NET_MODEL_IMPORTANCE_SIZE_BYTES

static_assert(M3NET_MODEL_INPUT_BYTES == M3NET_WARP_BINS * M3NET_WARP_FRAMES_IN,
              "the warp is not the model's: export both from one run");
#define M3NET_NETWORK_INPUT_BYTES (M3NET_WARP_BINS * M3NET_WARP_FRAMES_OUT * M3NET_WARP_CHANNELS)

// DiffRes: one network scores the frames, which are then merged by their scores. Features and
// scores have their own memory because the next network uses the arena by then.
class FrameMerger {
 public:
  FrameMerger(const Resolver& resolver, tflite::MicroAllocator* allocator, Profiler* profiler)
      : network_(m3net_importance_data, resolver, allocator, profiler), profiler_(profiler) {}

  static m3net_status CheckFile() {
    return CheckBytes(m3net_importance_data, M3NET_MODEL_IMPORTANCE_SIZE_BYTES,
                      M3NET_MODEL_IMPORTANCE_CRC32);
  }

  m3net_status Init(const Resolver& resolver, size_t arena_bytes) {
    if (!OperatorsKnown(tflite::GetModel(m3net_importance_data), resolver)) {
      return M3NET_ERROR_OPERATOR;
    }
    return network_.Init(arena_bytes, sizeof(features_), sizeof(scores_));
  }

  // The features' memory.
  int8_t* Input(const Network&) { return features_; }

  // Writes the merged frames to `merged`, the next network's input.
  m3net_status Run(int8_t* merged) {
    std::memcpy(network_.input(), features_, sizeof(features_));
    const m3net_status status = network_.Run();
    if (status != M3NET_OK) return status;
    std::memcpy(scores_, network_.output(), sizeof(scores_));
    const uint32_t event = profiler_->BeginEvent("WARP");
    m3net_warp_run(&m3net_model_warp, features_, scores_, bins_, merged);
    profiler_->EndEvent(event);
    return M3NET_OK;
  }

 private:
  Network network_;
  Profiler* profiler_;
  m3net_warp_bin bins_[M3NET_WARP_BINS];
  int8_t features_[M3NET_MODEL_INPUT_BYTES];
  int8_t scores_[M3NET_WARP_FRAMES_IN];
};

#else

#define M3NET_NETWORK_INPUT_BYTES M3NET_MODEL_INPUT_BYTES

// Without DiffRes the features are the network's input already.
class FrameMerger {
 public:
  FrameMerger(const Resolver&, tflite::MicroAllocator*, Profiler*) {}
  static m3net_status CheckFile() { return M3NET_OK; }
  m3net_status Init(const Resolver&, size_t) { return M3NET_OK; }
  int8_t* Input(const Network& network) { return network.input(); }
  m3net_status Run(int8_t*) { return M3NET_OK; }
};

#endif

}  // namespace

struct m3net_model {
  m3net_model(uint8_t* arena, size_t arena_bytes)
      : operators_added(AddOperators(&resolver)),
        allocator(tflite::MicroAllocator::Create(arena, arena_bytes)),
        merger(resolver, allocator, &profiler),
        network(m3net_model_data, resolver, allocator, &profiler) {}

  Resolver resolver;
  TfLiteStatus operators_added;
  Profiler profiler;
  tflite::MicroAllocator* allocator;
  FrameMerger merger;
  Network network;
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

  m3net_status status = CheckBytes(m3net_model_data, M3NET_MODEL_SIZE_BYTES, M3NET_MODEL_CRC32);
  if (status != M3NET_OK) return status;
  status = FrameMerger::CheckFile();
  if (status != M3NET_OK) return status;
  if (arena_bytes < kLeastArenaBytes) return M3NET_ERROR_ARENA;
  auto* made = new (memory) m3net_model(arena, arena_bytes);
  if (made->operators_added != kTfLiteOk ||
      !OperatorsKnown(tflite::GetModel(m3net_model_data), made->resolver)) {
    return M3NET_ERROR_OPERATOR;
  }
  status = made->merger.Init(made->resolver, arena_bytes);
  if (status != M3NET_OK) return status;
  status = made->network.Init(arena_bytes, M3NET_NETWORK_INPUT_BYTES, M3NET_MODEL_CLASS_COUNT);
  if (status != M3NET_OK) return status;
  *model = made;
  return M3NET_OK;
}

int8_t* m3net_model_input(m3net_model* model) { return model->merger.Input(model->network); }

const int8_t* m3net_model_output(const m3net_model* model) { return model->network.output(); }

m3net_status m3net_model_run(m3net_model* model) {
  m3net_runtime_log_clear();
  const m3net_status status = model->merger.Run(model->network.input());
  if (status != M3NET_OK) return status;
  return model->network.Run();
}

m3net_status m3net_model_profile(m3net_model* model, m3net_layer_report report, void* context) {
  model->profiler.Start(report, context);
  const m3net_status status = m3net_model_run(model);
  model->profiler.Stop();
  return status;
}

size_t m3net_model_arena_used(const m3net_model* model) { return model->allocator->used_bytes(); }

size_t m3net_model_arena_missing(void) { return MissingBytes(m3net_runtime_log_message()); }

const char* m3net_model_message(void) { return m3net_runtime_log_message(); }

}  // extern "C"
