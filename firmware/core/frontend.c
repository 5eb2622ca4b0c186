// SPDX-License-Identifier: Apache-2.0

#include "frontend.h"

#include <string.h>

#define FRAME M3NET_FRONTEND_FRAME_SAMPLES
#define HOP M3NET_FRONTEND_HOP_SAMPLES
#define FFT M3NET_FRONTEND_FFT_SAMPLES
#define MEL M3NET_FRONTEND_MEL_BINS
#define BINS M3NET_FRONTEND_FEATURE_BINS
#define KEPT_LOGS (M3NET_FRONTEND_MFCC_COEFFICIENTS > 0 ? MEL : 0)

// Each file defines frontend_work (the working memory of one column) and work_init(). The file
// for waveforms has work_column() (samples to features), the others the steps of the one below. The
// export chooses the waveform; otherwise the core's file chooses (firmware/cmake/cores).
#if defined(M3NET_FRONTEND_WAVEFORM)
#include "frontend_waveform.h"
#elif defined(M3NET_FRONTEND_FIXED)
#include "frontend_fixed.h"
#else
#include "frontend_f32.h"
#endif

_Static_assert(HOP <= FRAME, "hops must not leave audio out");

struct m3net_frontend {
  frontend_work work;
  uint32_t filled;  // samples waiting
  int16_t samples[M3NET_FRONTEND_FRAME_HOPS * HOP];
};

_Static_assert(sizeof(struct m3net_frontend) <= M3NET_FRONTEND_BYTES, "raise M3NET_FRONTEND_BYTES");

#ifndef M3NET_FRONTEND_WAVEFORM

_Static_assert(FRAME <= FFT, "a frame must fit the FFT");
_Static_assert(BINS == (M3NET_FRONTEND_MFCC_COEFFICIENTS ? M3NET_FRONTEND_MFCC_COEFFICIENTS : MEL),
               "feature bins are mel bins or cepstral coefficients");

static bool tables_fit(void) {
  uint32_t weights = 0;
  for (uint32_t bin = 0; bin < MEL; ++bin) {
    const uint32_t count = m3net_frontend_mel_bin_count[bin];
    if (m3net_frontend_mel_first_bin[bin] + count > FFT / 2 + 1) return false;
    weights += count;
  }
  return weights == M3NET_FRONTEND_MEL_WEIGHT_COUNT;
}

static void work_column(frontend_work* work, const int16_t* samples, int8_t* column) {
  work_spectrum(work, samples);
  const mel_weight* weights = MEL_WEIGHTS;
  for (uint32_t bin = 0; bin < MEL; ++bin) {
    const log_value log_mel = log_of_band(work, bin, weights);
    weights += m3net_frontend_mel_bin_count[bin];
    if (M3NET_FRONTEND_MFCC_COEFFICIENTS > 0) {
      work->log_mel[bin] = log_mel;
    } else {
      column[bin] = quantize(log_mel);
    }
  }
  if (M3NET_FRONTEND_MFCC_COEFFICIENTS == 0) return;
  for (uint32_t i = 0; i < BINS; ++i) column[i] = quantize(cepstral_coefficient(work, i));
}

#endif

size_t m3net_frontend_size(void) { return sizeof(m3net_frontend); }

m3net_status m3net_frontend_init(void* memory, size_t memory_bytes, m3net_frontend** frontend) {
  if (memory == NULL || frontend == NULL) return M3NET_ERROR_ARGUMENT;
  if ((uintptr_t)memory % M3NET_FRONTEND_ALIGNMENT != 0u) return M3NET_ERROR_ARGUMENT;
  if (memory_bytes < sizeof(m3net_frontend)) return M3NET_ERROR_MEMORY;
  if (!tables_fit()) return M3NET_ERROR_CONFIG;
  m3net_frontend* made = (m3net_frontend*)memory;
  const m3net_status status = work_init(&made->work);
  if (status != M3NET_OK) return status;
  m3net_frontend_reset(made);
  *frontend = made;
  return M3NET_OK;
}

void m3net_frontend_reset(m3net_frontend* frontend) { frontend->filled = 0; }

bool m3net_frontend_push(m3net_frontend* frontend, const int16_t* hop, int8_t* column) {
  memcpy(&frontend->samples[frontend->filled], hop, HOP * sizeof(int16_t));
  frontend->filled += HOP;
  if (frontend->filled < FRAME) return false;
  work_column(&frontend->work, frontend->samples, column);
  frontend->filled -= HOP;
  memmove(frontend->samples, &frontend->samples[HOP], frontend->filled * sizeof(int16_t));
  return true;
}
