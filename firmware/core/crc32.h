// SPDX-License-Identifier: Apache-2.0
// CRC-32 as in zlib (reflected, polynomial 0xEDB88320).
#ifndef M3NET_CORE_CRC32_H_
#define M3NET_CORE_CRC32_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Continues the CRC `crc` of earlier bytes with `bytes`; start with 0.
uint32_t m3net_crc32(uint32_t crc, const void* bytes, size_t count);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_CRC32_H_
