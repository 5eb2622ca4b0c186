// SPDX-License-Identifier: Apache-2.0
// One-bit audio of a PDM microphone to 16-bit samples: a CIC filter decimates by 16, an FIR filter
// (CMSIS-DSP) by 4 and corrects the CIC's droop, a DC blocker removes the offset.
#ifndef M3NET_DRIVERS_PDM_H_
#define M3NET_DRIVERS_PDM_H_

#include <stddef.h>
#include <stdint.h>

#include "dsp/filtering_functions.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define M3NET_PDM_CIC_ORDER 5
#define M3NET_PDM_CIC_FACTOR 16
#define M3NET_PDM_FIR_FACTOR 4

/// Bits per sample.
#define M3NET_PDM_FACTOR (M3NET_PDM_CIC_FACTOR * M3NET_PDM_FIR_FACTOR)

/// Samples per block, and the values or words that a block is computed from.
#define M3NET_PDM_BLOCK_SAMPLES 16
#define M3NET_PDM_BLOCK_VALUES (M3NET_PDM_BLOCK_SAMPLES * M3NET_PDM_FIR_FACTOR)
#define M3NET_PDM_BLOCK_WORDS (M3NET_PDM_BLOCK_SAMPLES * M3NET_PDM_FACTOR / 16)

#define M3NET_PDM_MAX_TAPS 192

/// The part of the filter that Python designs.
typedef struct {
  const float* taps;   ///< FIR at four times the sample rate, symmetric.
  uint16_t tap_count;  ///< At most M3NET_PDM_MAX_TAPS.
  float dc_pole;       ///< Pole of the DC blocker, within (0, 1).
} m3net_pdm_filter;

/// The filter of the generated pdm_filter.c.
extern const m3net_pdm_filter m3net_pdm_default_filter;

/// State of one microphone; the caller's memory.
typedef struct {
  uint32_t integrators[M3NET_PDM_CIC_ORDER];
  uint32_t combs[M3NET_PDM_CIC_ORDER];
  arm_fir_decimate_instance_f32 fir;
  float fir_state[M3NET_PDM_MAX_TAPS + M3NET_PDM_BLOCK_VALUES - 1];
  float scale;  ///< Of a CIC value to samples.
  float dc_pole;
  float dc_input;   ///< The DC blocker's last input.
  float dc_output;  ///< Its last output.
} m3net_pdm;

/// Sets up a decimator.
///
/// @param gain  1 turns a full-scale sine of the modulator into a full-scale sine of samples, which
///              saturate.
/// @return M3NET_OK, or M3NET_ERROR_CONFIG for a filter out of bounds.
m3net_status m3net_pdm_init(m3net_pdm* pdm, const m3net_pdm_filter* filter, float gain);

/// Discards earlier audio.
void m3net_pdm_reset(m3net_pdm* pdm);

/// Converts one block of bits to samples.
///
/// @param words    M3NET_PDM_BLOCK_WORDS words; the first bit is the most significant one.
/// @param samples  receives M3NET_PDM_BLOCK_SAMPLES samples.
void m3net_pdm_run(m3net_pdm* pdm, const uint16_t* words, int16_t* samples);

/// The stages after the CIC, for chips that have one of the same order and factor: values are
/// within +-2^20.
///
/// @param values   M3NET_PDM_BLOCK_VALUES values of the CIC.
/// @param samples  receives M3NET_PDM_BLOCK_SAMPLES samples.
void m3net_pdm_run_values(m3net_pdm* pdm, const int32_t* values, int16_t* samples);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_DRIVERS_PDM_H_
