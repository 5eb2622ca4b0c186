// SPDX-License-Identifier: Apache-2.0
// The functions of the C library that the portable code uses, as instructions of the target, which
// has no library.
#ifndef M3NET_WASM_STRING_H_
#define M3NET_WASM_STRING_H_

#define memcpy __builtin_memcpy
#define memmove __builtin_memmove
#define memset __builtin_memset

#endif  // M3NET_WASM_STRING_H_
