// SPDX-License-Identifier: Apache-2.0
// multiply_window() and inner_powers() of frontend_f32.h for cores with Helium: four values at a
// time, with the same roundings.
#ifndef M3NET_CORE_FRONTEND_HELIUM_H_
#define M3NET_CORE_FRONTEND_HELIUM_H_

#include <arm_mve.h>

static void multiply_window(float* points, const int16_t* samples) {
  const uint32_t whole = FRAME / 4 * 4;
  for (uint32_t i = 0; i < whole; i += 4) {
    const float32x4_t sample = vcvtq_f32_s32(vldrhq_s32(&samples[i]));
    vstrwq_f32(&points[i], vmulq_f32(sample, vldrwq_f32(&m3net_frontend_window[i])));
  }
  for (uint32_t i = whole; i < FRAME; ++i) {
    points[i] = (float)samples[i] * m3net_frontend_window[i];
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
    vstrwq_f32(&work->power[bin], vfmaq_f32(vmulq_f32(im, im), re, re));
    re = vfmsq_f32(vfmsq_f32(sum_re, turn.val[0], gap_re), turn.val[1], sum_im);
    im = vfmaq_f32(vfmsq_f32(gap_im, turn.val[1], gap_re), turn.val[0], sum_im);
    vstrwq_scatter_shifted_offset_f32(work->power, high_bins, vfmaq_f32(vmulq_f32(im, im), re, re));
    high_bins = vsubq_n_u32(high_bins, 4);
  }
}

#endif  // M3NET_CORE_FRONTEND_HELIUM_H_
