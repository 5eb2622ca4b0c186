// SPDX-License-Identifier: Apache-2.0
// The arithmetic of the front end in single precision, on CMSIS-DSP; part of frontend.c.
#ifndef M3NET_CORE_FRONTEND_F32_H_
#define M3NET_CORE_FRONTEND_F32_H_

#include <string.h>

#include "dsp/transform_functions.h"

// The size of the FFT is part of the name of the function that sets it up, so that only the tables
// of that size are linked.
#define FFT_INIT_NAME(size) arm_rfft_fast_init_##size##_f32
#define FFT_INIT(size) FFT_INIT_NAME(size)

typedef struct {
  float frame[FFT];     // windowed samples; the FFT destroys them
  float spectrum[FFT];  // packed complex spectrum, then powers
  float log_mel[MEL];
  arm_rfft_fast_instance_f32 fft;
} frontend_work;

static m3net_status work_init(frontend_work* work) {
  const arm_status status = FFT_INIT(M3NET_FRONTEND_FFT_SAMPLES)(&work->fft);
  return status == ARM_MATH_SUCCESS ? M3NET_OK : M3NET_ERROR_CONFIG;
}

// Samples are integers, not fractions of full scale, so powers are too large by exactly 2^30; the
// logarithm subtracts that.
#define POWER_EXPONENT 30
#define POWER_SCALE 1073741824.0f

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

// Squared magnitudes of bins 0 .. FFT/2 in place of the packed spectrum (element 0 is bin 0,
// element 1 is bin FFT/2, then real and imaginary parts in turn).
static void powers(float* spectrum) {
  const float nyquist = spectrum[1] * spectrum[1];
  spectrum[0] *= spectrum[0];
#pragma GCC unroll 5
  for (uint32_t bin = 1; bin < FFT / 2; ++bin) {
    const float real = spectrum[2 * bin];
    const float imaginary = spectrum[2 * bin + 1];
    spectrum[bin] = real * real + imaginary * imaginary;
  }
  spectrum[FFT / 2] = nyquist;
}

static float weighted_sum(const float* values, const float* weights, uint32_t count) {
  float sum = 0.0f;
  for (uint32_t i = 0; i < count; ++i) sum += values[i] * weights[i];
  return sum;
}

static void work_column(frontend_work* work, const int16_t* samples, int8_t* column) {
#pragma GCC unroll 8
  for (uint32_t i = 0; i < FRAME; ++i) {
    work->frame[i] = (float)samples[i] * m3net_frontend_window[i];
  }
  if (FRAME < FFT) memset(&work->frame[FRAME], 0, (FFT - FRAME) * sizeof(float));
  arm_rfft_fast_f32(&work->fft, work->frame, work->spectrum, 0);
  powers(work->spectrum);

  const float* weights = m3net_frontend_mel_weights;
  for (uint32_t bin = 0; bin < MEL; ++bin) {
    const uint32_t count = m3net_frontend_mel_bin_count[bin];
    const float energy =
        weighted_sum(&work->spectrum[m3net_frontend_mel_first_bin[bin]], weights, count);
    const float floor = M3NET_FRONTEND_LOG_FLOOR * POWER_SCALE;
    weights += count;
    work->log_mel[bin] = log_of_power(energy > floor ? energy : floor);
  }
#if M3NET_FRONTEND_MFCC_COEFFICIENTS
  for (uint32_t i = 0; i < BINS; ++i) {
    column[i] = quantize(weighted_sum(work->log_mel, &m3net_frontend_dct[i * MEL], MEL));
  }
#else
  for (uint32_t i = 0; i < BINS; ++i) column[i] = quantize(work->log_mel[i]);
#endif
}

#endif  // M3NET_CORE_FRONTEND_F32_H_
