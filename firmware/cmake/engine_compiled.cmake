# SPDX-License-Identifier: Apache-2.0
# The network as generated C that calls the kernels in engine/: no interpreter, no C++. Of other
# projects it needs CMSIS-DSP alone, where front end or microphone compute in floating point:
#
#   M3NET_SRC_CMSISDSP   unpacked package of third_party.lock; empty if not needed
#   M3NET_FIXED_FRONTEND whether the front end computes in whole numbers, whatever the core has
#   M3NET_SRC_CMSIS_6    only for boards whose vendor's headers need CMSIS-Core
set(M3NET_SRC_CMSISDSP "" CACHE PATH "unpacked source distribution of cmsisdsp")
set(M3NET_FIXED_FRONTEND OFF CACHE BOOL "front end in whole numbers, which needs no CMSIS-DSP")
set(M3NET_SRC_CMSIS_6 "" CACHE PATH "checkout of CMSIS_6")

macro(m3net_read_core core)
  include("${CMAKE_CURRENT_SOURCE_DIR}/cmake/cores/${core}.cmake")
endmacro()

foreach(file m3net_network.c m3net_network.h model.h model_labels.c)
  if(NOT EXISTS "${M3NET_GENERATED_DIR}/${file}")
    message(FATAL_ERROR "M3NET_GENERATED_DIR=${M3NET_GENERATED_DIR} has no ${file}: "
      "m3net firmware RUN --engine compiled writes it")
  endif()
endforeach()
file(GLOB engine_sources CONFIGURE_DEPENDS engine/*.c compiled/*.c)
list(APPEND engine_sources
  "${M3NET_GENERATED_DIR}/m3net_network.c" "${M3NET_GENERATED_DIR}/model_labels.c")
if(EXISTS "${M3NET_BUNDLE_DIR}/warp_tables.c")  # DiffRes
  list(APPEND engine_sources "${M3NET_GENERATED_DIR}/m3net_importance.c")
endif()

function(m3net_target_common target)
  target_compile_options(${target} PRIVATE
    ${M3NET_CORE_FLAGS}
    -ffunction-sections -fdata-sections -fno-common -fmessage-length=0
    -fno-unwind-tables -fno-asynchronous-unwind-tables)
  target_compile_definitions(${target} PRIVATE
    ${M3NET_CORE_DEFINITIONS} NDEBUG $<$<BOOL:${M3NET_FIXED_FRONTEND}>:M3NET_FRONTEND_FIXED=1>)
  if(NOT "${M3NET_SRC_CMSISDSP}" STREQUAL "")
    target_include_directories(${target} SYSTEM PRIVATE
      "${M3NET_SRC_CMSISDSP}/Include" "${M3NET_SRC_CMSISDSP}/PrivateInclude")
  endif()
  if(NOT "${M3NET_SRC_CMSIS_6}" STREQUAL "")
    target_include_directories(${target} SYSTEM PRIVATE "${M3NET_SRC_CMSIS_6}/CMSIS/Core/Include")
  else()
    # CMSIS-DSP's own switch for builds without CMSIS-Core. Its floating-point code is the same.
    target_compile_definitions(${target} PRIVATE __GNUC_PYTHON__)
  endif()
endfunction()

# Gives the firmware what the engine needs.
function(m3net_link_engine target)
  target_include_directories(${target} PRIVATE engine)
  if("${M3NET_SRC_CMSISDSP}" STREQUAL "")
    return()
  endif()
  set(sources "${M3NET_SRC_CMSISDSP}/Source")
  set(transform "${sources}/TransformFunctions")
  add_library(m3net_dsp STATIC
    "${transform}/arm_bitreversal2.c"
    "${transform}/arm_cfft_f32.c" "${transform}/arm_cfft_init_f32.c"
    "${transform}/arm_cfft_radix8_f32.c"
    "${sources}/CommonTables/arm_common_tables.c"
    "${sources}/CommonTables/arm_const_structs.c"
    "${sources}/CommonTables/arm_mve_tables.c"
    "${sources}/FilteringFunctions/arm_fir_decimate_f32.c"
    "${sources}/FilteringFunctions/arm_fir_decimate_init_f32.c")
  m3net_target_common(m3net_dsp)
  target_compile_options(m3net_dsp PRIVATE -O2 ${M3NET_CORE_KERNEL_FLAGS} -w)
  target_link_libraries(${target} PRIVATE m3net_dsp)
endfunction()
