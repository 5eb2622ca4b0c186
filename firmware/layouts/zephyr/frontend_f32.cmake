  if(CONFIG_M3NET_FRONTEND_F32)
    zephyr_compile_definitions(M3NET_FRONTEND_F32)
  endif()
