// SPDX-License-Identifier: Apache-2.0
// The arithmetic of the front end in integers, for cores without FPU; part of frontend.c.
// m3net_tf/audio/frontend/fixed.py computes the same bits and shows that no value overflows.
#ifndef M3NET_CORE_FRONTEND_FIXED_H_
#define M3NET_CORE_FRONTEND_FIXED_H_

#include <string.h>

#ifndef M3NET_FRONTEND_FIXED_SAMPLE_SHIFT
#error "frontend_config.h has no fixed-point settings: export the model again"
#endif

// Of the complex FFT, whose real parts are the even samples and whose imaginary parts the odd ones.
#define POINTS (FFT / 2)

typedef struct {
  int32_t re, im;
} complex_word;

// 64 bits as two words, so that compilers use the multiply-accumulate instruction.
typedef struct {
  uint32_t low, high;
} power_word;

typedef int32_t log_value;
typedef uint16_t mel_weight;
#define MEL_WEIGHTS m3net_frontend_fixed_mel_weights

typedef struct {
  union {
    complex_word points[POINTS];
    power_word power[POINTS + 1];
  } spectrum;
  log_value log_mel[KEPT_LOGS];
} frontend_work;

static m3net_status work_init(frontend_work* work) {
  (void)work;
  return M3NET_OK;
}

static inline int32_t high_word(int64_t value) { return (int32_t)(value >> 32); }

// Half of value * (cos - j sin), with cosine and sine in Q31.
static inline complex_word turned(complex_word value, const int32_t* cos_sin) {
  const int64_t cos = cos_sin[0], sin = cos_sin[1];
  return (complex_word){high_word(value.re * cos + value.im * sin),
                        high_word(value.im * cos + -value.re * sin)};
}

// Joins four spectra, of the points 0, 2, 1 and 3 modulo 4.
static inline void join(complex_word* at_a, complex_word* at_c, complex_word* at_b,
                        complex_word* at_d, complex_word a, complex_word c, complex_word b,
                        complex_word d) {
  const complex_word even = {a.re + c.re, a.im + c.im}, odd = {a.re - c.re, a.im - c.im};
  const complex_word sum = {b.re + d.re, b.im + d.im}, gap = {b.re - d.re, b.im - d.im};
  *at_a = (complex_word){even.re + sum.re, even.im + sum.im};
  *at_c = (complex_word){odd.re + gap.im, odd.im - gap.re};
  *at_b = (complex_word){even.re - sum.re, even.im - sum.im};
  *at_d = (complex_word){odd.re - gap.im, odd.im + gap.re};
}

// Keeps the compiler from loading all values first: the core has too few registers.
#define ONE_AFTER_ANOTHER() __asm volatile("" ::: "memory")

// In place; the points come in bit-reversed order.
static void transform(complex_word* points) {
  const complex_word* end = points + POINTS;
  uint32_t quarter = 4;
  if (__builtin_ctz(POINTS) % 2) {
    for (complex_word* at = points; at < end; at += 2) {
      const complex_word a = at[0], b = at[1];
      at[0] = (complex_word){a.re + b.re, a.im + b.im};
      at[1] = (complex_word){a.re - b.re, a.im - b.im};
    }
    quarter = 2;
  } else {
    for (complex_word* at = points; at < end; at += 4) {
      join(at, at + 1, at + 2, at + 3, at[0], at[1], at[2], at[3]);
    }
  }
  const int32_t* twiddles = m3net_frontend_fixed_twiddles;
  for (; quarter < POINTS; quarter *= 4) {
    for (complex_word* d = points; d < end;) {
      complex_word *a = d, *c = a + quarter, *b = c + quarter;
      d = b + quarter;
      const int32_t* twiddle = twiddles;
      for (const complex_word* stop = d + quarter; d < stop; ++a, ++c, ++b, ++d) {
        const complex_word turned_c = turned(*c, twiddle);
        ONE_AFTER_ANOTHER();
        const complex_word turned_b = turned(*b, twiddle + 2);
        ONE_AFTER_ANOTHER();
        const complex_word turned_d = turned(*d, twiddle + 4);
        ONE_AFTER_ANOTHER();
        join(a, c, b, d, (complex_word){a->re >> 1, a->im >> 1}, turned_c, turned_b, turned_d);
        twiddle += 6;
      }
    }
    twiddles += 6 * quarter;
  }
}

// The power, or with MAGNITUDES its root with two more fraction bits, interpolated in a table.
// Powers are below 2^60.
static inline power_word power_of(int32_t re, int32_t im) {
  const uint64_t power = (uint64_t)((int64_t)re * re + (int64_t)im * im);
#ifdef M3NET_FRONTEND_MAGNITUDES
  if (power == 0u) return (power_word){0, 0};
  const int32_t zeros = __builtin_clzll(power) & ~1;
  const uint32_t top = (uint32_t)(power << zeros >> 32);
  const uint32_t* line = &m3net_frontend_fixed_sqrt[(top >> 25) - 32u];
  const uint32_t root = line[0] + ((line[1] - line[0]) * (top >> 9 & 0xFFFFu) >> 16);
  return (power_word){root << 9 >> (zeros / 2 - 2), 0};
#else
  return (power_word){(uint32_t)power, (uint32_t)(power >> 32)};
#endif
}

// Powers (or magnitudes) of bins 0 .. FFT/2 in place of the points.
static void powers(frontend_work* work) {
  complex_word* points = work->spectrum.points;
  power_word* power = work->spectrum.power;
  const complex_word first = points[0];
  power[0] = power_of(first.re + first.im, 0);
  power[POINTS] = power_of(first.re - first.im, 0);
  const int32_t* twiddle = m3net_frontend_fixed_unpack;
  for (uint32_t low = 1, high = POINTS - 1; low < high; ++low, --high) {
    const complex_word a = points[low], b = points[high];
    twiddle += 2;
    const complex_word even = {(a.re + b.re) >> 1, (a.im - b.im) >> 1};
    const complex_word odd = turned((complex_word){a.im + b.im, b.re - a.re}, twiddle);
    power[low] = power_of(even.re + odd.re, even.im + odd.im);
    power[high] = power_of(even.re - odd.re, even.im - odd.im);
  }
  const complex_word middle = points[POINTS / 2];
  power[POINTS / 2] = power_of(middle.re, middle.im);
}

// Logarithm to base 2 of the weighted sum of powers and the offset, with 16 fraction bits.
static int32_t log_of_sum(const power_word* power, const uint16_t* weights, uint32_t count,
                          uint64_t offset) {
  uint64_t low = 0, high = 0;  // low + high * 2^32
#ifdef M3NET_FRONTEND_MAGNITUDES
  low = offset;
#else
  high = offset;
#endif
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t weight = weights[i];
    low += (uint64_t)power[i].low * weight;
    high += (uint64_t)power[i].high * weight;
  }
  high += low >> 32;
  int32_t exponent = 63;
  if (high >> 32) {
    exponent += 32;
  } else {
    high = high << 32 | (uint32_t)low;
    if (high == 0u) return INT32_MIN / 2;
  }
  const int32_t zeros = __builtin_clzll(high);
  const uint32_t mantissa = (uint32_t)(high << zeros >> 32);
  const int32_t* line = &m3net_frontend_fixed_log2[(mantissa >> 26) & 31u];
  const uint32_t part = (mantissa >> 10) & 0xFFFFu;
  const uint32_t inside = (uint32_t)(line[1] - line[0]) * part >> 16;
  return (exponent - zeros) * 65536 + line[0] + (int32_t)inside;
}

static inline int8_t quantize(int32_t value) {
  const int32_t step = high_word((int64_t)value * M3NET_FRONTEND_FIXED_QUANT_GAIN +
                                 M3NET_FRONTEND_FIXED_QUANT_OFFSET);
  return (int8_t)(step < -128 ? -128 : step > 127 ? 127 : step);
}

// With as many fraction bits as fit, and one more for the high word of a Q31 product. If the frame
// is odd, the window ends with a zero.
static inline int32_t windowed(const int16_t* samples, uint32_t place) {
  const int64_t sample = samples[place] * (1 << M3NET_FRONTEND_FIXED_SAMPLE_SHIFT);
  return high_word(sample * m3net_frontend_fixed_window[place]);
}

static void work_spectrum(frontend_work* work, const int16_t* samples) {
  complex_word* points = work->spectrum.points;
  if (FRAME < FFT) memset(points, 0, sizeof(work->spectrum.points));
  for (uint32_t pair = 0; pair < (FRAME + 1) / 2; ++pair) {
    points[m3net_frontend_fixed_order[pair]] =
        (complex_word){windowed(samples, 2 * pair), windowed(samples, 2 * pair + 1)};
  }
  transform(points);
  powers(work);
}

static inline int32_t log_of_band(const frontend_work* work, uint32_t bin,
                                  const mel_weight* weights) {
#ifdef M3NET_FRONTEND_LOG_OFFSET
  const uint64_t offset = m3net_frontend_fixed_mel_offset[bin];
#else
  const uint64_t offset = 0;
#endif
  const int32_t value = log_of_sum(&work->spectrum.power[m3net_frontend_mel_first_bin[bin]],
                                   weights, m3net_frontend_mel_bin_count[bin], offset) -
                        m3net_frontend_fixed_mel_exponent[bin] * 65536;
  const int32_t floor = M3NET_FRONTEND_FIXED_LOG2_FLOOR;
  return value > floor ? value : floor;
}

#if M3NET_FRONTEND_MFCC_COEFFICIENTS
static inline int32_t cepstral_coefficient(const frontend_work* work, uint32_t index) {
  int64_t sum = 0;
  for (uint32_t bin = 0; bin < MEL; ++bin) {
    sum += (int64_t)work->log_mel[bin] * m3net_frontend_fixed_dct[index * MEL + bin];
  }
  return (int32_t)(sum >> 15);
}
#else
static inline log_value cepstral_coefficient(const frontend_work* work, uint32_t index) {
  (void)work;
  (void)index;
  return 0;
}
#endif

#endif  // M3NET_CORE_FRONTEND_FIXED_H_
