// SPDX-License-Identifier: Apache-2.0
// What the C and C++ libraries ask of a system, without a system. There is no heap: whatever
// calls malloc or new fails to link, for want of _sbrk.

#include <stdint.h>
#include <stdlib.h>

#include "platform.h"

void abort(void) {
  const uintptr_t caller = (uintptr_t)__builtin_return_address(0);
  m3net_platform_panic("abort", "a check in the runtime failed; look up the address in the map;",
                       (uint32_t)caller);
}
