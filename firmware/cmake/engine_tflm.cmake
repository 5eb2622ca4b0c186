# SPDX-License-Identifier: Apache-2.0
# The network as a .tflite file in flash, run by TensorFlow Lite Micro.
enable_language(CXX)
include("${CMAKE_CURRENT_LIST_DIR}/options.cmake")
set(engine_sources "${M3NET_BUNDLE_DIR}/model.cc")

# Gives the firmware what the engine needs.
function(m3net_link_engine target)
  target_link_libraries(${target} PRIVATE "${M3NET_LIBRARY}")
  set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS "${M3NET_LIBRARY}")
endfunction()
