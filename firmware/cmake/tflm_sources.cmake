# SPDX-License-Identifier: Apache-2.0
# The sources of TensorFlow Lite Micro that its libraries for boards and for the host compile.
#
#   M3NET_SRC_TFLITE_MICRO   checkout of third_party.lock

# Set <runtime> and <kernels> to lists of sources: the interpreter, and the reference kernels.
function(m3net_tflm_sources runtime kernels)
  set(tflite "${M3NET_SRC_TFLITE_MICRO}/tensorflow/lite")
  set(micro "${tflite}/micro")
  file(GLOB runtime_sources CONFIGURE_DEPENDS
    "${M3NET_SRC_TFLITE_MICRO}/tensorflow/compiler/mlir/lite/core/api/*.cc"
    "${M3NET_SRC_TFLITE_MICRO}/tensorflow/compiler/mlir/lite/schema/*.cc"
    "${tflite}/core/api/*.cc" "${tflite}/core/c/*.cc"
    "${tflite}/kernels/*.cc" "${tflite}/kernels/internal/*.cc"
    "${tflite}/kernels/internal/reference/*.cc" "${tflite}/schema/*.cc"
    "${micro}/*.cc" "${micro}/arena_allocator/*.cc" "${micro}/memory_planner/*.cc"
    "${micro}/tflite_bridge/*.cc")
  # Tests and their helpers; the log sink, which the firmware provides itself.
  list(FILTER runtime_sources EXCLUDE REGEX
    "(_test\\.cc|test_helper[^/]*\\.cc|/(fake|mock)_[^/]*\\.cc|/(debug_log|hexdump)\\.cc)$")
  file(GLOB kernel_sources CONFIGURE_DEPENDS "${micro}/kernels/*.cc")
  # Compressed tensors (decode) and generated flexbuffer data belong to TFLM's own tests and tools.
  list(FILTER kernel_sources EXCLUDE REGEX
    "(_test\\.cc|_test_common\\.cc|_flexbuffers_generated_data\\.cc|/kernel_runner\\.cc|/deco[^/]*\\.cc)$")
  set(${runtime} ${runtime_sources} PARENT_SCOPE)
  set(${kernels} ${kernel_sources} PARENT_SCOPE)
endfunction()
