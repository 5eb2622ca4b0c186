// SPDX-License-Identifier: Apache-2.0
// System calls of the C and C++ libraries, without an operating system. There is no heap: code that
// calls malloc or new fails to link, as _sbrk is missing.

#include <stdint.h>
#include <stdlib.h>

#include "platform.h"

void abort(void) {
  const uintptr_t caller = (uintptr_t)__builtin_return_address(0);
  m3net_platform_panic("abort", "a check in the runtime failed; look up the address in the map;",
                       (uint32_t)caller);
}
