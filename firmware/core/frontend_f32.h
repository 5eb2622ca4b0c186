// SPDX-License-Identifier: Apache-2.0
// The arithmetic of the front end in single precision, on CMSIS-DSP; part of frontend.c.
#ifndef M3NET_CORE_FRONTEND_F32_H_
#define M3NET_CORE_FRONTEND_F32_H_

#include <string.h>

#include "dsp/transform_functions.h"

#ifndef M3NET_FRONTEND_FFT_POINTS
#error "frontend_config.h has no points of the FFT: export the model again"
#endif

// The size of the FFT is part of the name of the function that sets it up, so that only the tables
// of this size are linked.
#define FFT_INIT_NAME(points) arm_cfft_init_##points##_f32
#define FFT_INIT(points) FFT_INIT_NAME(points)

// Of the complex FFT, whose real parts are the even samples and whose imaginary parts the odd ones.
#define POINTS M3NET_FRONTEND_FFT_POINTS

typedef float log_value;
typedef float mel_weight;
#define MEL_WEIGHTS m3net_frontend_mel_weights

typedef struct {
  float points[FFT];        // windowed samples, then the complex FFT's points in its own order
  uint16_t places[POINTS];  // of the points in order of frequency: index of the real part
  float power[POINTS + 1];
#if M3NET_FRONTEND_MFCC_COEFFICIENTS
  log_value log_mel[MEL];
#endif
  arm_cfft_instance_f32 fft;
} frontend_work;

static m3net_status work_init(frontend_work* work) {
  if (FFT_INIT(POINTS)(&work->fft) != ARM_MATH_SUCCESS) {
    return M3NET_ERROR_CONFIG;
  }
  uint16_t* places = work->places;
  for (uint32_t i = 0; i < POINTS; ++i) places[i] = (uint16_t)(2 * i);
  // CMSIS-DSP sorts the points by swaps, whose list has byte offsets. Once for the places costs
  // less than for the points of every frame.
  for (uint32_t i = 0; i < work->fft.bitRevLength; i += 2) {
    uint16_t* a = &places[work->fft.pBitRevTable[i] / 8];
    uint16_t* b = &places[work->fft.pBitRevTable[i + 1] / 8];
    const uint16_t place = *a;
    *a = *b;
    *b = place;
  }
  return M3NET_OK;
}

// Samples are integers, not fractions of full scale, and spectra are doubled, so powers are too
// large by exactly 2^32; the logarithm subtracts that.
#define POWER_EXPONENT 32
#define POWER_SCALE 4294967296.0f

// Natural logarithm of value / 2^POWER_EXPONENT for positive, normal values; the error is below
// one part in 10^7: ln(m) = 2 artanh((m - 1) / (m + 1)) with m within [sqrt(1/2), sqrt(2)).
static inline float log_of_power(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  bits += 0x3F800000u - 0x3F3504F3u;
  const int32_t exponent = (int32_t)(bits >> 23) - 127 - POWER_EXPONENT;
  bits = (bits & 0x007FFFFFu) + 0x3F3504F3u;
  float mantissa;
  memcpy(&mantissa, &bits, sizeof(mantissa));
  const float z = (mantissa - 1.0f) / (mantissa + 1.0f);
  const float z2 = z * z;
  const float series = 2.0f + z2 * (0.66666667f + z2 * (0.4f + z2 * 0.28571429f));
  return (float)exponent * 0.69314718f + z * series;
}

// floor(value * gain + offset + 0.5), limited to int8: shifted to positive numbers, where the
// conversion to an integer rounds down.
static inline int8_t quantize(float value) {
  float shifted = value * M3NET_FRONTEND_QUANT_GAIN + (M3NET_FRONTEND_QUANT_OFFSET + 128.5f);
  if (!(shifted > 0.0f)) shifted = 0.0f;
  if (shifted > 255.0f) shifted = 255.0f;
  return (int8_t)((int32_t)shifted - 128);
}

// multiply_window() writes windowed samples. inner_powers() writes the squared magnitudes of bins
// 1 .. FFT/2 - 1 of twice the samples' spectrum, which the bin and its mirror image in the complex
// FFT's give. The mirror image's magnitudes need the same products.
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
#include "frontend_helium.h"
#else

static void multiply_window(float* restrict points, const int16_t* restrict samples) {
#pragma GCC unroll 8
  for (uint32_t i = 0; i < FRAME; ++i) points[i] = (float)samples[i] * m3net_frontend_window[i];
}

static void inner_powers(frontend_work* work) {
  const float* points = work->points;
  const float* turn = m3net_frontend_fft_turns;
  const uint16_t *low_place = &work->places[1], *high_place = &work->places[POINTS - 1];
  float *low_power = &work->power[1], *high_power = &work->power[POINTS - 1];
  for (; low_place <= high_place; turn += 2) {
    const float* low = &points[*low_place++];
    const float* high = &points[*high_place--];
    const float sum_re = low[0] + high[0], gap_re = high[0] - low[0];
    const float sum_im = low[1] + high[1], gap_im = low[1] - high[1];
    const float low_re = sum_re + turn[0] * gap_re + turn[1] * sum_im;
    const float low_im = gap_im + turn[1] * gap_re - turn[0] * sum_im;
    const float high_re = sum_re - turn[0] * gap_re - turn[1] * sum_im;
    const float high_im = gap_im - turn[1] * gap_re + turn[0] * sum_im;
    *low_power++ = low_re * low_re + low_im * low_im;
    *high_power-- = high_re * high_re + high_im * high_im;
  }
}

#endif

static void work_spectrum(frontend_work* work, const int16_t* samples) {
  float* points = work->points;
  multiply_window(points, samples);
  if (FRAME < FFT) memset(&points[FRAME], 0, (FFT - FRAME) * sizeof(float));
  arm_cfft_f32(&work->fft, points, 0, 0);
  const float first = 2.0f * (points[0] + points[1]), last = 2.0f * (points[0] - points[1]);
  work->power[0] = first * first;
  work->power[POINTS] = last * last;
  inner_powers(work);
}

static float weighted_sum(const float* values, const float* weights, uint32_t count) {
  float sum = 0.0f;
  for (uint32_t i = 0; i < count; ++i) sum += values[i] * weights[i];
  return sum;
}

static inline float log_of_band(const frontend_work* work, uint32_t bin,
                                const mel_weight* weights) {
  const float energy = weighted_sum(&work->power[m3net_frontend_mel_first_bin[bin]], weights,
                                    m3net_frontend_mel_bin_count[bin]);
  const float floor = M3NET_FRONTEND_LOG_FLOOR * POWER_SCALE;
  return log_of_power(energy > floor ? energy : floor);
}

#if M3NET_FRONTEND_MFCC_COEFFICIENTS
static inline float cepstral_coefficient(const frontend_work* work, uint32_t index) {
  return weighted_sum(work->log_mel, &m3net_frontend_dct[index * MEL], MEL);
}
#endif

#endif  // M3NET_CORE_FRONTEND_F32_H_
