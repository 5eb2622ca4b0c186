// SPDX-License-Identifier: Apache-2.0
// The arithmetic of the front end in single precision, on CMSIS-DSP; part of frontend.c.
#ifndef M3NET_CORE_FRONTEND_F32_H_
#define M3NET_CORE_FRONTEND_F32_H_

#include <math.h>
#include <string.h>

#include "arm_common_tables.h"
#include "dsp/transform_functions.h"

#ifndef M3NET_FRONTEND_FFT_POINTS
#error "frontend_config.h has no points of the FFT: export the model again"
#endif

// The size of the FFT is part of the names of its tables and of the function that sets it up, so
// that the linker leaves out all other sizes.
#define OF_SIZE_NAMED(name, points, end) name##points##end
#define OF_SIZE(name, points, end) OF_SIZE_NAMED(name, points, end)

// Of the complex FFT, whose real parts are the even samples and whose imaginary parts the odd ones.
#define POINTS M3NET_FRONTEND_FFT_POINTS

// From here on, samples are multiplied by the first half of the window, read backwards.
#ifdef M3NET_FRONTEND_WINDOW_MIRROR
#define MIDDLE ((FRAME + 1) / 2)
#else  // earlier exports have the whole window
#define MIDDLE FRAME
#define M3NET_FRONTEND_WINDOW_MIRROR FRAME
#endif

typedef float log_value;
typedef float mel_weight;
#define MEL_WEIGHTS m3net_frontend_mel_weights

typedef struct {
  // Windowed samples, then the complex FFT's points in its own order, then, in place of each real
  // part, of_power() of its bin; the last bin's is in place of the first imaginary part.
  float points[FFT];
  log_value log_mel[KEPT_LOGS];
#if M3NET_FRONTEND_HELIUM
  uint16_t places[POINTS + 1];  // of the bins in order of frequency: index in the points
  arm_cfft_instance_f32 fft;
#endif
} frontend_work;

// Samples are integers, not fractions of full scale, and spectra are doubled, so powers are too
// large by exactly 2^32 and magnitudes by 2^16; the logarithm subtracts that.
#ifdef M3NET_FRONTEND_MAGNITUDES
#define POWER_EXPONENT 16
#define POWER_SCALE 65536.0f
#else
#define POWER_EXPONENT 32
#define POWER_SCALE 4294967296.0f
#endif

#ifndef M3NET_FRONTEND_LOG_OFFSET
#define M3NET_FRONTEND_LOG_OFFSET 0.0f
#endif

// What mel bins sum up: a power or its magnitude. For sqrtf(), compilers also call the library,
// which sets errno.
static inline float of_power(float power) {
#ifndef M3NET_FRONTEND_MAGNITUDES
  return power;
#elif defined(__ARM_FP)
  float root;
  __asm("vsqrt.f32 %0, %1" : "=t"(root) : "t"(power));
  return root;
#else
  return sqrtf(power);
#endif
}

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

// places_of() gives where the FFT leaves the bins. work_init() sets up the FFT. transform() is the
// FFT. multiply_window() writes windowed samples. inner_powers() writes of_power() of the squared
// magnitudes of bins 1 .. FFT/2 - 1 of twice the samples' spectrum, which the bin and its mirror
// image in the complex FFT's give, in place of both. The mirror image's need the same products.
#if M3NET_FRONTEND_HELIUM
#include "frontend_helium.h"
#else

static const uint16_t* places_of(const frontend_work* work) {
  (void)work;
  return m3net_frontend_fft_places;
}

static m3net_status work_init(frontend_work* work) {
  (void)work;
  return M3NET_OK;
}

static void transform(frontend_work* work) {
  static const arm_cfft_instance_f32 fft = {.fftLen = POINTS,
                                            .pTwiddle = OF_SIZE(twiddleCoef_, POINTS, )};
  arm_cfft_f32(&fft, work->points, 0, 0);
}

static void multiply_window(float* restrict points, const int16_t* restrict samples) {
#pragma GCC unroll 8
  for (uint32_t i = 0; i < MIDDLE; ++i) points[i] = (float)samples[i] * m3net_frontend_window[i];
#pragma GCC unroll 8
  for (uint32_t i = MIDDLE; i < FRAME; ++i) {
    points[i] = (float)samples[i] * m3net_frontend_window[M3NET_FRONTEND_WINDOW_MIRROR - i];
  }
}

static void inner_powers(frontend_work* work) {
  float* points = work->points;
  const float* turn = m3net_frontend_fft_turns;
  const uint16_t* low_place = &m3net_frontend_fft_places[1];
  const uint16_t* high_place = &m3net_frontend_fft_places[POINTS - 1];
  for (; low_place <= high_place; turn += 2) {
    float* low = &points[*low_place++];
    float* high = &points[*high_place--];
    const float sum_re = low[0] + high[0], gap_re = high[0] - low[0];
    const float sum_im = low[1] + high[1], gap_im = low[1] - high[1];
    const float low_re = sum_re + turn[0] * gap_re + turn[1] * sum_im;
    const float low_im = gap_im + turn[1] * gap_re - turn[0] * sum_im;
    const float high_re = sum_re - turn[0] * gap_re - turn[1] * sum_im;
    const float high_im = gap_im - turn[1] * gap_re + turn[0] * sum_im;
    *low = of_power(low_re * low_re + low_im * low_im);
    *high = of_power(high_re * high_re + high_im * high_im);
  }
}

#endif

static void work_spectrum(frontend_work* work, const int16_t* samples) {
  float* points = work->points;
  multiply_window(points, samples);
  if (FRAME < FFT) memset(&points[FRAME], 0, (FFT - FRAME) * sizeof(float));
  transform(work);
  const float first = 2.0f * (points[0] + points[1]), last = 2.0f * (points[0] - points[1]);
  inner_powers(work);
  points[0] = of_power(first * first);
  points[1] = of_power(last * last);
}

static inline float log_of_band(const frontend_work* work, uint32_t bin,
                                const mel_weight* weights) {
  const uint16_t* place = &places_of(work)[m3net_frontend_mel_first_bin[bin]];
  const uint32_t count = m3net_frontend_mel_bin_count[bin];
  float energy = M3NET_FRONTEND_LOG_OFFSET * POWER_SCALE;
  for (uint32_t i = 0; i < count; ++i) energy += work->points[place[i]] * weights[i];
  const float floor = M3NET_FRONTEND_LOG_FLOOR * POWER_SCALE;
  return log_of_power(energy > floor ? energy : floor);
}

#if M3NET_FRONTEND_MFCC_COEFFICIENTS
static inline float cepstral_coefficient(const frontend_work* work, uint32_t index) {
  float sum = 0.0f;
  for (uint32_t i = 0; i < MEL; ++i) sum += work->log_mel[i] * m3net_frontend_dct[index * MEL + i];
  return sum;
}
#else
static inline log_value cepstral_coefficient(const frontend_work* work, uint32_t index) {
  (void)work;
  (void)index;
  return 0.0f;
}
#endif

#endif  // M3NET_CORE_FRONTEND_F32_H_
