// SPDX-License-Identifier: Apache-2.0
// Streaming front end: one hop of audio in, one column of int8 features out. Its settings and
// tables are generated from the Python FrontendConfig. Features are mel features in single
// precision, or in integers if the core's file defines M3NET_FRONTEND_FIXED. If the settings define
// M3NET_FRONTEND_WAVEFORM, they are the samples themselves: each hop is a column.
#ifndef M3NET_CORE_FRONTEND_H_
#define M3NET_CORE_FRONTEND_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frontend_config.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Helium's FFT also has the order of its points, and CMSIS-DSP's pointers.
#if !defined(M3NET_FRONTEND_FIXED) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
#define M3NET_FRONTEND_HELIUM 1
#define M3NET_FRONTEND_FFT_SAMPLE_BYTES 5
#define M3NET_FRONTEND_STATE_BYTES 128
#else
#define M3NET_FRONTEND_HELIUM 0
#define M3NET_FRONTEND_FFT_SAMPLE_BYTES 4
#define M3NET_FRONTEND_STATE_BYTES 32
#endif

/// Hops that hold a frame: as many samples wait at most.
#define M3NET_FRONTEND_FRAME_HOPS \
  ((M3NET_FRONTEND_FRAME_SAMPLES + M3NET_FRONTEND_HOP_SAMPLES - 1) / M3NET_FRONTEND_HOP_SAMPLES)

/// Whether features are samples, a hop in each column, and the working memory of one column.
#ifdef M3NET_FRONTEND_WAVEFORM
#define M3NET_FRONTEND_OF_SAMPLES 1
#define M3NET_FRONTEND_WORK_BYTES 0
#else
#define M3NET_FRONTEND_OF_SAMPLES 0
#define M3NET_FRONTEND_WORK_BYTES                                 \
  (M3NET_FRONTEND_FFT_SAMPLE_BYTES * M3NET_FRONTEND_FFT_SAMPLES + \
   (M3NET_FRONTEND_MFCC_COEFFICIENTS ? 4 * M3NET_FRONTEND_MEL_BINS : 0))
#endif

/// Room for one front end (a compile-time bound on m3net_frontend_size()).
#define M3NET_FRONTEND_BYTES                                                                   \
  (M3NET_FRONTEND_STATE_BYTES + 2 * (M3NET_FRONTEND_FRAME_HOPS * M3NET_FRONTEND_HOP_SAMPLES) + \
   M3NET_FRONTEND_WORK_BYTES)

/// Alignment of the caller's memory.
#define M3NET_FRONTEND_ALIGNMENT 8

typedef struct m3net_frontend m3net_frontend;

/// Bytes that m3net_frontend_init() needs.
size_t m3net_frontend_size(void);

/// Builds a front end in the caller's memory and checks the generated tables.
///
/// @param memory  aligned to M3NET_FRONTEND_ALIGNMENT; must stay valid while it is used.
/// @return M3NET_OK, M3NET_ERROR_ARGUMENT (null or misaligned), M3NET_ERROR_MEMORY (too small) or
///         M3NET_ERROR_CONFIG (tables that do not fit the configuration).
m3net_status m3net_frontend_init(void* memory, size_t memory_bytes, m3net_frontend** frontend);

/// Discards earlier audio.
void m3net_frontend_reset(m3net_frontend* frontend);

/// Takes M3NET_FRONTEND_HOP_SAMPLES samples.
///
/// @param column  receives M3NET_FRONTEND_FEATURE_BINS values when a frame is full.
/// @return whether a column was written.
bool m3net_frontend_push(m3net_frontend* frontend, const int16_t* hop, int8_t* column);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_FRONTEND_H_
