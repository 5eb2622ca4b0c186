// SPDX-License-Identifier: Apache-2.0
// The two functions of the C library that the kernels use, as builtins: a target such as
// WebAssembly may lack the library's headers.
#ifndef M3NET_ENGINE_MEMORY_H_
#define M3NET_ENGINE_MEMORY_H_

#include <stdint.h>

#if defined(__GNUC__)
#define M3NET_MEMCPY __builtin_memcpy
#define M3NET_MEMSET __builtin_memset
#define M3NET_WORDS(place) __builtin_assume_aligned(place, 4)
#else
#include <string.h>
#define M3NET_MEMCPY memcpy
#define M3NET_MEMSET memset
#define M3NET_WORDS(place) (place)
#endif

#endif  // M3NET_ENGINE_MEMORY_H_
