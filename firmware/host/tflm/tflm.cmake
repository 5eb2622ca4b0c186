# SPDX-License-Identifier: Apache-2.0
# What TFLM's library for the host and the program over it must agree on.
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_EXTENSIONS OFF)

foreach(source TFLITE_MICRO FLATBUFFERS GEMMLOWP RUY)
  if(NOT IS_DIRECTORY "${M3NET_SRC_${source}}")
    message(FATAL_ERROR "M3NET_SRC_${source} is not a folder: "
      "fetch the sources of third_party.lock and pass -DM3NET_SRC_${source}=<checkout>")
  endif()
endforeach()

function(m3net_host_tflm target)
  target_compile_options(${target} PRIVATE -ffunction-sections -fdata-sections
    $<$<COMPILE_LANGUAGE:CXX>:-fno-rtti -fno-exceptions -fno-threadsafe-statics>)
  target_compile_definitions(${target} PRIVATE
    NDEBUG TF_LITE_STATIC_MEMORY TF_LITE_DISABLE_X86_NEON)
  target_include_directories(${target} SYSTEM PRIVATE
    "${M3NET_SRC_TFLITE_MICRO}" "${M3NET_SRC_FLATBUFFERS}/include"
    "${M3NET_SRC_GEMMLOWP}" "${M3NET_SRC_RUY}")
endfunction()
