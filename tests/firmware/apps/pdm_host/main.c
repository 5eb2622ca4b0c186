// SPDX-License-Identifier: Apache-2.0
// Drives the PDM decimator, the ping-pong buffer and the byte ring on a host, by standard input
// and output, in binary.
//
//   pdm GAIN          16-bit words of bits, whole blocks  -> samples; then all again after a reset
//   values GAIN       32-bit values of the CIC            -> samples
//   ping_pong HALF B  16-bit samples, put B at a time     -> the halves that were ready
//   ring TAKE         records of u16 length and bytes     -> the taken bytes, TAKE bytes a record
//   refuse            -                                   -> statuses for bad filters, as text

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "byte_ring.h"
#include "pdm.h"
#include "ping_pong.h"

static uint8_t input[1u << 22];
static m3net_pdm pdm;

static void write_half(void* context, const int16_t* half) {
  const size_t* half_samples = context;
  fwrite(half, 2, *half_samples, stdout);
}

static void run_bits(size_t bytes) {
  const uint16_t* words = (const uint16_t*)(const void*)input;
  int16_t samples[M3NET_PDM_BLOCK_SAMPLES];
  for (size_t at = 0; at + M3NET_PDM_BLOCK_WORDS <= bytes / 2u; at += M3NET_PDM_BLOCK_WORDS) {
    m3net_pdm_run(&pdm, &words[at], samples);
    fwrite(samples, sizeof(samples), 1, stdout);
  }
}

static void run_values(size_t bytes) {
  const int32_t* values = (const int32_t*)(const void*)input;
  int16_t samples[M3NET_PDM_BLOCK_SAMPLES];
  for (size_t at = 0; at + M3NET_PDM_BLOCK_VALUES <= bytes / 4u; at += M3NET_PDM_BLOCK_VALUES) {
    m3net_pdm_run_values(&pdm, &values[at], samples);
    fwrite(samples, sizeof(samples), 1, stdout);
  }
}

static void run_ping_pong(size_t bytes, size_t half_samples, size_t step) {
  m3net_ping_pong buffer;
  int16_t* halves = malloc(4u * half_samples);  // exactly, for the sanitiser
  m3net_ping_pong_start(&buffer, halves, half_samples, write_half, &half_samples);
  for (size_t at = 0; at < bytes / 2u; at += step) {
    const size_t count = bytes / 2u - at < step ? bytes / 2u - at : step;
    m3net_ping_pong_put(&buffer, (const int16_t*)(const void*)input + at, count);
  }
  free(halves);
}

static void run_ring(size_t bytes, size_t take) {
  static m3net_byte_ring ring;
  uint8_t* taken = malloc(take);
  for (size_t at = 0; at + 2u <= bytes;) {
    const size_t length = input[at] | ((size_t)input[at + 1u] << 8);
    at += 2u;
    for (size_t i = 0; i < length; ++i) m3net_byte_ring_put(&ring, input[at + i]);
    at += length;
    fwrite(taken, 1, m3net_byte_ring_take(&ring, taken, take), stdout);
  }
  for (size_t count; (count = m3net_byte_ring_take(&ring, taken, take)) > 0u;) {
    fwrite(taken, 1, count, stdout);
  }
  fprintf(stderr, "%u\n", (unsigned)ring.lost);
  free(taken);
}

static int run_refuse(void) {
  const m3net_pdm_filter good = m3net_pdm_default_filter;
  m3net_pdm_filter filters[] = {good, good, good, good, good};
  filters[1].tap_count = 0;
  filters[2].tap_count = M3NET_PDM_MAX_TAPS + 1;
  filters[3].dc_pole = 1.0f;
  filters[4].dc_pole = 0.0f / 1.0f;
  for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); ++i) {
    printf("%d ", (int)m3net_pdm_init(&pdm, &filters[i], 1.0f));
  }
  return 0;
}

int main(int count, char** words) {
  const char* command = count > 1 ? words[1] : "";
  if (strcmp(command, "refuse") == 0) return run_refuse();
  const double number = count > 2 ? atof(words[2]) : 0.0;
  const size_t bytes = fread(input, 1, sizeof(input), stdin);
  if (m3net_pdm_init(&pdm, &m3net_pdm_default_filter, (float)number) != M3NET_OK) return 3;
  if (strcmp(command, "pdm") == 0) {
    run_bits(bytes);
    m3net_pdm_reset(&pdm);
    run_bits(bytes);
  } else if (strcmp(command, "values") == 0) {
    run_values(bytes);
  } else if (strcmp(command, "ping_pong") == 0 && count == 4) {
    run_ping_pong(bytes, (size_t)number, (size_t)atol(words[3]));
  } else if (strcmp(command, "ring") == 0) {
    run_ring(bytes, (size_t)number);
  } else {
    return 2;
  }
  return 0;
}
