// SPDX-License-Identifier: Apache-2.0
// The functions of frontend_f32.h for cores with Helium: four values at a time, with the same
// roundings. The FFT's points have another order.
#ifndef M3NET_CORE_FRONTEND_HELIUM_H_
#define M3NET_CORE_FRONTEND_HELIUM_H_

#include <arm_mve.h>

static const uint16_t* places_of(const frontend_work* work) { return work->places; }

static m3net_status work_init(frontend_work* work) {
  if (OF_SIZE(arm_cfft_init_, POINTS, _f32)(&work->fft) != ARM_MATH_SUCCESS) {
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
  places[POINTS] = 1;
  return M3NET_OK;
}

static void transform(frontend_work* work) { arm_cfft_f32(&work->fft, work->points, 0, 0); }

static inline void multiply_four(float* points, const int16_t* samples, float32x4_t window) {
  vstrwq_f32(points, vmulq_f32(vcvtq_f32_s32(vldrhq_s32(samples)), window));
}

static void multiply_window(float* points, const int16_t* samples) {
  const float* window = m3net_frontend_window;
  const uint32_t rising = MIDDLE / 4 * 4, falling = (FRAME - MIDDLE) / 4 * 4;
  for (uint32_t i = 0; i < rising; i += 4) {
    multiply_four(&points[i], &samples[i], vldrwq_f32(&window[i]));
  }
  for (uint32_t i = rising; i < MIDDLE; ++i) points[i] = (float)samples[i] * window[i];
  uint32x4_t places = vddupq_n_u32(M3NET_FRONTEND_WINDOW_MIRROR - MIDDLE, 1);
  for (uint32_t i = MIDDLE; i < MIDDLE + falling; i += 4, places = vsubq_n_u32(places, 4)) {
    multiply_four(&points[i], &samples[i], vldrwq_gather_shifted_offset_f32(window, places));
  }
  for (uint32_t i = MIDDLE + falling; i < FRAME; ++i) {
    points[i] = (float)samples[i] * window[M3NET_FRONTEND_WINDOW_MIRROR - i];
  }
}

_Static_assert(POINTS % 8 == 0, "half of the points are vectors");

static void inner_powers(frontend_work* work) {
  const float* turns = m3net_frontend_fft_turns;
  uint32x4_t high_bins = vddupq_n_u32(POINTS - 1, 1);
  for (uint32_t bin = 1; bin <= POINTS / 2; bin += 4, turns += 8) {
    const uint32x4_t low_places = vldrhq_u32(&work->places[bin]);
    const uint32x4_t high_places = vldrhq_gather_shifted_offset_u32(work->places, high_bins);
    const float32x4_t low_re = vldrwq_gather_shifted_offset_f32(work->points, low_places);
    const float32x4_t low_im = vldrwq_gather_shifted_offset_f32(work->points + 1, low_places);
    const float32x4_t high_re = vldrwq_gather_shifted_offset_f32(work->points, high_places);
    const float32x4_t high_im = vldrwq_gather_shifted_offset_f32(work->points + 1, high_places);
    const float32x4x2_t turn = vld2q_f32(turns);
    const float32x4_t sum_re = vaddq_f32(low_re, high_re), gap_re = vsubq_f32(high_re, low_re);
    const float32x4_t sum_im = vaddq_f32(low_im, high_im), gap_im = vsubq_f32(low_im, high_im);
    float32x4_t re = vfmaq_f32(vfmaq_f32(sum_re, turn.val[0], gap_re), turn.val[1], sum_im);
    float32x4_t im = vfmsq_f32(vfmaq_f32(gap_im, turn.val[1], gap_re), turn.val[0], sum_im);
    vstrwq_scatter_shifted_offset_f32(work->points, low_places,
                                      vfmaq_f32(vmulq_f32(im, im), re, re));
    re = vfmsq_f32(vfmsq_f32(sum_re, turn.val[0], gap_re), turn.val[1], sum_im);
    im = vfmaq_f32(vfmsq_f32(gap_im, turn.val[1], gap_re), turn.val[0], sum_im);
    vstrwq_scatter_shifted_offset_f32(work->points, high_places,
                                      vfmaq_f32(vmulq_f32(im, im), re, re));
    high_bins = vsubq_n_u32(high_bins, 4);
  }
#ifdef M3NET_FRONTEND_MAGNITUDES  // Helium has no square root
  for (uint32_t bin = 1; bin < POINTS; ++bin) {
    float* value = &work->points[work->places[bin]];
    *value = of_power(*value);
  }
#endif
}

#endif  // M3NET_CORE_FRONTEND_HELIUM_H_
