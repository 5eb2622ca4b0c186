// SPDX-License-Identifier: Apache-2.0

#include "pdm.h"

#include <string.h>

#define ORDER M3NET_PDM_CIC_ORDER

// A bit is +1 or -1, so the CIC's values reach 16^5.
#define CIC_GAIN 1048576.0f
#define FULL_SCALE 32768.0f

_Static_assert(M3NET_PDM_CIC_FACTOR == 16, "a word of bits makes one value");

m3net_status m3net_pdm_init(m3net_pdm* pdm, const m3net_pdm_filter* filter, float gain) {
  if (filter->tap_count == 0u || filter->tap_count > M3NET_PDM_MAX_TAPS ||
      !(filter->dc_pole > 0.0f && filter->dc_pole < 1.0f)) {
    return M3NET_ERROR_CONFIG;
  }
  if (arm_fir_decimate_init_f32(&pdm->fir, filter->tap_count, M3NET_PDM_FIR_FACTOR, filter->taps,
                                pdm->fir_state, M3NET_PDM_BLOCK_VALUES) != ARM_MATH_SUCCESS) {
    return M3NET_ERROR_CONFIG;
  }
  pdm->scale = gain * (FULL_SCALE / CIC_GAIN);
  pdm->dc_pole = filter->dc_pole;
  m3net_pdm_reset(pdm);
  return M3NET_OK;
}

void m3net_pdm_reset(m3net_pdm* pdm) {
  memset(pdm->integrators, 0, sizeof(pdm->integrators));
  memset(pdm->combs, 0, sizeof(pdm->combs));
  memset(pdm->fir_state, 0, sizeof(pdm->fir_state));
  pdm->dc_input = 0.0f;
  pdm->dc_output = 0.0f;
}

// Sixteen bits through the integrators, then once through the combs. The sums wrap
// around; the differences cancel that.
static int32_t cic(m3net_pdm* pdm, uint32_t word) {
  uint32_t sums[ORDER];
  memcpy(sums, pdm->integrators, sizeof(sums));
#pragma GCC unroll 16
  for (uint32_t bit = 0; bit < 16u; ++bit) {
    sums[0] += ((word >> (15u - bit)) & 1u) * 2u - 1u;
#pragma GCC unroll 5
    for (uint32_t stage = 1; stage < ORDER; ++stage) sums[stage] += sums[stage - 1u];
  }
  memcpy(pdm->integrators, sums, sizeof(sums));
  uint32_t value = sums[ORDER - 1];
#pragma GCC unroll 5
  for (uint32_t stage = 0; stage < ORDER; ++stage) {
    const uint32_t before = pdm->combs[stage];
    pdm->combs[stage] = value;
    value -= before;
  }
  return (int32_t)value;
}

static int16_t saturate(float value) {
  if (value >= 32767.0f) return INT16_MAX;
  if (value <= -32768.0f) return INT16_MIN;
  return (int16_t)(value + (value < 0.0f ? -0.5f : 0.5f));
}

void m3net_pdm_run_values(m3net_pdm* pdm, const int32_t* values, int16_t* samples) {
  float input[M3NET_PDM_BLOCK_VALUES];
  float output[M3NET_PDM_BLOCK_SAMPLES];
  for (uint32_t i = 0; i < M3NET_PDM_BLOCK_VALUES; ++i) input[i] = (float)values[i] * pdm->scale;
  arm_fir_decimate_f32(&pdm->fir, input, output, M3NET_PDM_BLOCK_VALUES);
  for (uint32_t i = 0; i < M3NET_PDM_BLOCK_SAMPLES; ++i) {
    pdm->dc_output = output[i] - pdm->dc_input + pdm->dc_pole * pdm->dc_output;
    pdm->dc_input = output[i];
    samples[i] = saturate(pdm->dc_output);
  }
}

void m3net_pdm_run(m3net_pdm* pdm, const uint16_t* words, int16_t* samples) {
  int32_t values[M3NET_PDM_BLOCK_VALUES];
  for (uint32_t i = 0; i < M3NET_PDM_BLOCK_WORDS; ++i) values[i] = cic(pdm, words[i]);
  m3net_pdm_run_values(pdm, values, samples);
}
