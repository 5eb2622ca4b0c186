// SPDX-License-Identifier: Apache-2.0
// Kernels that copy items, or look them up in a table.
#include "engine.h"
#include "helium.h"
#include "loops.h"
#include "memory.h"

/// So many bytes are copied by loads and stores of words, without a call.
#define COPY_BYTES 16
#define MOVE_BYTES 64

#if M3NET_ENGINE_HELIUM

/// Looks up 16 contiguous items at a time; with a step of -1, from the last one on.
static void look_up_row(const int8_t* table, const int8_t* source, int8_t* target, int32_t count,
                        int32_t step) {
  const uint8x16_t middle = vdupq_n_u8(128);  // index of 0
  for (int32_t left = count; left > 0; left -= M3NET_VECTOR_BYTES) {
    const int32_t items = left < M3NET_VECTOR_BYTES ? left : M3NET_VECTOR_BYTES;
    const int32_t first = step > 0 ? count - left : 1 - (count - left) - items;
    const mve_pred16_t present = vctp8q((uint32_t)items);
    const uint8x16_t values = vreinterpretq_u8_s8(vldrbq_z_s8(source + first, present));
    const uint8x16_t places = veorq_u8(values, middle);
    vstrbq_p_s8(target + first, vldrbq_gather_offset_z_s8(table, places, present), present);
  }
}

#endif

void m3net_look_up(const m3net_loop* loop, const int8_t* table, const int8_t* input,
                   int8_t* output) {
  const int8_t* zero = table - INT8_MIN;
  const int32_t rows = m3net_rows(loop), count = loop->size[3];
  const int32_t input_step = loop->first[3], output_step = loop->output[3];
  m3net_places places = {0, 0, 0};
  for (int32_t i = 1; i <= rows; ++i) {
    const int8_t* source = input + places.first;
    int8_t* target = output + places.output;
#if M3NET_ENGINE_HELIUM
    if (input_step == output_step && (input_step == 1 || input_step == -1)) {
      look_up_row(table, source, target, count, input_step);
      m3net_next_row(loop, i, &places);
      continue;
    }
#endif
    for (int32_t x = 0; x < count; ++x) {
      *target = zero[*source];
      source += input_step;
      target += output_step;
    }
    m3net_next_row(loop, i, &places);
  }
}

void m3net_copy(const m3net_loop* loop, const int8_t* input, int8_t* output) {
  const int32_t rows = m3net_rows(loop), count = loop->size[3];
  const int32_t input_step = loop->first[3], output_step = loop->output[3];
  m3net_places places = {0, 0, 0};
  for (int32_t i = 1; i <= rows; ++i) {
    const int8_t* source = input + places.first;
    int8_t* target = output + places.output;
    if (input_step == 1 && output_step == 1) {
      M3NET_MEMCPY(target, source, (uint32_t)count);
    } else {
      for (int32_t x = 0; x < count; ++x) {
        *target = *source;
        source += input_step;
        target += output_step;
      }
    }
    m3net_next_row(loop, i, &places);
  }
}

int32_t m3net_next_line(int16_t* before, int16_t* lines, int32_t stride) {
  const int32_t outside = *before < stride ? *before : stride;
  const int32_t left = stride - outside;
  *before = (int16_t)(*before - outside);
  *lines = (int16_t)(*lines - left);
  return left;
}

int32_t m3net_drop_lines(int8_t* lines, int32_t held, int32_t dropped) {
  const int32_t kept = held > dropped ? held - dropped : 0;
#if M3NET_ENGINE_HELIUM
  if (dropped > 0) {  // each vector is read before it is overwritten
    m3net_copy_bytes(lines, lines + dropped, kept);
  }
  return kept;
#else
  int32_t done = 0;
  if (dropped % 4 == 0) {  // source and target of a copy do not overlap
    for (; dropped >= MOVE_BYTES && done <= kept - MOVE_BYTES; done += MOVE_BYTES) {
      M3NET_MEMCPY(M3NET_WORDS(lines + done), M3NET_WORDS(lines + done + dropped), MOVE_BYTES);
    }
    for (; dropped >= COPY_BYTES && done <= kept - COPY_BYTES; done += COPY_BYTES) {
      M3NET_MEMCPY(M3NET_WORDS(lines + done), M3NET_WORDS(lines + done + dropped), COPY_BYTES);
    }
  }
  if (dropped > 0) {
    for (; done <= kept - 4; done += 4) {  // a word is read before it is overwritten
      uint32_t word;
      M3NET_MEMCPY(&word, lines + done + dropped, sizeof(word));
      M3NET_MEMCPY(lines + done, &word, sizeof(word));
    }
    for (; done < kept; ++done) {
      lines[done] = lines[done + dropped];
    }
  }
  return kept;
#endif
}

void m3net_fill(int8_t value, int32_t bytes, int8_t* output) {
  M3NET_MEMSET(output, value, (uint32_t)bytes);
}
