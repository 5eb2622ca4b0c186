# SPDX-License-Identifier: Apache-2.0
# Choices of a build for the MLPerf Tiny benchmark, which core/eembc.c takes.
set(M3NET_EEMBC_MODE "performance" CACHE STRING "mode in which the firmware starts")
set(M3NET_EEMBC_MODEL_ID "kws01" CACHE STRING "the benchmark's name of the model")
if(NOT M3NET_EEMBC_MODE MATCHES "^(performance|energy)$")
  message(FATAL_ERROR "M3NET_EEMBC_MODE=${M3NET_EEMBC_MODE}: choose performance or energy")
endif()
if(NOT M3NET_EEMBC_MODEL_ID MATCHES "^[A-Za-z0-9_.-]+$")
  message(FATAL_ERROR "M3NET_EEMBC_MODEL_ID=${M3NET_EEMBC_MODEL_ID}: letters, digits, dots, "
    "hyphens and underscores only, such as kws01")
endif()

# What the benchmark's files of a model hold: bytes of the tensor, bytes of pixels, or floats.
set(m3net_eembc_pixels 0)
set(m3net_eembc_floats 0)
if(M3NET_EEMBC_MODEL_ID MATCHES "^(ic|vww)0")
  set(m3net_eembc_pixels 1)
elseif(M3NET_EEMBC_MODEL_ID MATCHES "^ad0")
  set(m3net_eembc_floats 1)
endif()

# Refuses energy mode for a board none of whose sources has a pin for the energy meter.
function(m3net_eembc_check_pin)
  if(NOT M3NET_EEMBC_MODE STREQUAL "energy")
    return()
  endif()
  foreach(file IN LISTS ARGN)
    file(STRINGS "${file}" found REGEX "^m3net_status m3net_board_timestamp_pin\\(void\\) {")
    if(found)
      return()
    endif()
  endforeach()
  message(FATAL_ERROR "${M3NET_BOARD} has no pin for an energy meter (m3net_board_timestamp_pin() in "
    "platform.h): M3NET_EEMBC_MODE=energy needs one")
endfunction()

get_filename_component(m3net_eembc_source "${CMAKE_CURRENT_LIST_DIR}/../core/eembc.c" ABSOLUTE)
set_source_files_properties("${m3net_eembc_source}" PROPERTIES COMPILE_DEFINITIONS
  "M3NET_EEMBC_MODEL_ID=\"${M3NET_EEMBC_MODEL_ID}\";M3NET_EEMBC_PIXELS=${m3net_eembc_pixels};M3NET_EEMBC_FLOATS=${m3net_eembc_floats};M3NET_EEMBC_STARTS_IN_ENERGY_MODE=$<STREQUAL:${M3NET_EEMBC_MODE},energy>")
