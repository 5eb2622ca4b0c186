/* SPDX-License-Identifier: Apache-2.0 */
/* Generated from the front-end config; change that, not this file. */

#ifndef M3NET_FRONTEND_CONFIG_H_
#define M3NET_FRONTEND_CONFIG_H_

#include <stdint.h>

#define M3NET_FRONTEND_SAMPLE_RATE_HZ 16000
#define M3NET_FRONTEND_FRAME_SAMPLES 512
#define M3NET_FRONTEND_HOP_SAMPLES 320
#define M3NET_FRONTEND_FFT_SAMPLES 512
#define M3NET_FRONTEND_FFT_POINTS 256
#define M3NET_FRONTEND_MEL_BINS 40
#define M3NET_FRONTEND_MFCC_COEFFICIENTS 0
#define M3NET_FRONTEND_FEATURE_BINS 40
#define M3NET_FRONTEND_FRAMES 49
#define M3NET_FRONTEND_MEL_WEIGHT_COUNT 466
#define M3NET_FRONTEND_LOG_FLOOR 1.0e-06f
#define M3NET_FRONTEND_QUANT_GAIN 1.3421053e+01f
#define M3NET_FRONTEND_QUANT_OFFSET 5.9894737e+01f
#define M3NET_FRONTEND_FIXED_SAMPLE_SHIFT 10
#define M3NET_FRONTEND_FIXED_LOG2_FLOOR (-1306235)
#define M3NET_FRONTEND_FIXED_QUANT_GAIN 609666
#define M3NET_FRONTEND_FIXED_QUANT_OFFSET (259393419587LL)

#ifdef __cplusplus
extern "C" {
#endif

extern const float m3net_frontend_window[M3NET_FRONTEND_FRAME_SAMPLES];
/* Sines and cosines of the angles of bins 1 .. FFT/4, by bin. */
extern const float m3net_frontend_fft_turns[M3NET_FRONTEND_FFT_POINTS];
/* Filter b weighs the FFT bins first_bin[b] .. first_bin[b] + bin_count[b] - 1. */
extern const uint16_t m3net_frontend_mel_first_bin[M3NET_FRONTEND_MEL_BINS];
extern const uint16_t m3net_frontend_mel_bin_count[M3NET_FRONTEND_MEL_BINS];
extern const float m3net_frontend_mel_weights[M3NET_FRONTEND_MEL_WEIGHT_COUNT];
/* The same in whole numbers, and the FFT's own: see m3net_tf/frontend/fixed.py. */
extern const int32_t m3net_frontend_fixed_window[512];
extern const uint16_t m3net_frontend_fixed_order[256];
extern const int32_t m3net_frontend_fixed_twiddles[504];
extern const int32_t m3net_frontend_fixed_unpack[256];
extern const uint16_t m3net_frontend_fixed_mel_weights[466];
extern const uint8_t m3net_frontend_fixed_mel_exponent[40];
extern const int32_t m3net_frontend_fixed_log2[33];

#ifdef __cplusplus
}
#endif

#endif
