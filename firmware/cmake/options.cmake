# SPDX-License-Identifier: Apache-2.0
# Settings that the third-party library and the firmware must share: the core, the flags that change
# the ABI or the layout of TFLM's classes, and the folders of the pinned sources.
#
#   m3net_read_core(<core>)           sets M3NET_CORE_FLAGS and M3NET_CORE_DEFINITIONS
#   m3net_target_common(<target>)     gives a target the flags, definitions and include folders

set(M3NET_CMAKE_DIR "${CMAKE_CURRENT_LIST_DIR}")

# Lists the names of the entries of a folder that contain a given file.
function(m3net_list_choices result folder pattern)
  file(GLOB found RELATIVE "${folder}" "${folder}/${pattern}")
  set(names "")
  foreach(one IN LISTS found)
    string(REGEX REPLACE "(/.*|\\.cmake)$" "" name "${one}")
    list(APPEND names "${name}")
  endforeach()
  list(SORT names)
  list(JOIN names ", " joined)
  set(${result} "${joined}" PARENT_SCOPE)
endfunction()

macro(m3net_read_core core)
  set(_m3net_core_file "${M3NET_CMAKE_DIR}/cores/${core}.cmake")
  if("${core}" STREQUAL "" OR NOT EXISTS "${_m3net_core_file}")
    m3net_list_choices(_m3net_cores "${M3NET_CMAKE_DIR}/cores" "*.cmake")
    message(FATAL_ERROR "unknown core '${core}'; cores that exist: ${_m3net_cores}")
  endif()
  include("${_m3net_core_file}")
endmacro()

foreach(_m3net_source TFLITE_MICRO CMSIS_NN CMSIS_DSP CMSIS_6 FLATBUFFERS GEMMLOWP RUY)
  if(NOT IS_DIRECTORY "${M3NET_SRC_${_m3net_source}}")
    message(FATAL_ERROR "M3NET_SRC_${_m3net_source} is not a folder: "
      "fetch the sources of third_party.lock and pass -DM3NET_SRC_${_m3net_source}=<checkout>")
  endif()
endforeach()

function(m3net_target_common target)
  target_compile_options(${target} PRIVATE
    ${M3NET_CORE_FLAGS}
    -ffunction-sections -fdata-sections -fno-common -fmessage-length=0
    -fno-unwind-tables -fno-asynchronous-unwind-tables
    $<$<COMPILE_LANGUAGE:CXX>:-fno-rtti -fno-exceptions -fno-threadsafe-statics -fno-use-cxa-atexit>)
  target_compile_definitions(${target} PRIVATE
    ${M3NET_CORE_DEFINITIONS}
    NDEBUG TF_LITE_STATIC_MEMORY TF_LITE_DISABLE_X86_NEON CMSIS_NN
    ARM_NN_ENABLE_F16=0 ARM_NN_ENABLE_F32=0)
  # SYSTEM: their warnings are not ours to fix; our own remain errors.
  target_include_directories(${target} SYSTEM PRIVATE
    "${M3NET_SRC_TFLITE_MICRO}"
    "${M3NET_SRC_FLATBUFFERS}/include"
    "${M3NET_SRC_GEMMLOWP}"
    "${M3NET_SRC_RUY}"
    "${M3NET_SRC_CMSIS_NN}" "${M3NET_SRC_CMSIS_NN}/Include"
    "${M3NET_SRC_CMSIS_DSP}/Include" "${M3NET_SRC_CMSIS_DSP}/PrivateInclude"
    "${M3NET_SRC_CMSIS_6}/CMSIS/Core/Include")
endfunction()
