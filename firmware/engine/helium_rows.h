// SPDX-License-Identifier: Apache-2.0
// Rows of operators of two inputs for Helium, four items at a time.
#ifndef M3NET_ENGINE_HELIUM_ROWS_H_
#define M3NET_ENGINE_HELIUM_ROWS_H_

#include "helium.h"
#include "loops.h"

#if M3NET_ENGINE_HELIUM

/// A factor of at most one for four items.
typedef struct {
  int32_t multiplier;
  int32x4_t shift;  ///< Not positive.
} m3net_vector_reducer;

M3NET_INLINE m3net_vector_reducer m3net_vector_reducer_of(m3net_factor factor) {
  const m3net_vector_reducer result = {factor.multiplier,
                                       vdupq_n_s32(factor.shift > 0 ? 0 : factor.shift)};
  return result;
}

/// As m3net_scale: VQRDMULH rounds halves up, as m3net_product does.
M3NET_INLINE int32x4_t m3net_reduce_vector(int32x4_t value, m3net_vector_reducer factor) {
  return m3net_divide_vector(vqrdmulhq_n_s32(value, factor.multiplier), factor.shift);
}

/// A copy of a layer in registers: an output of int8_t may alias the layer.
typedef struct {
  m3net_vector_reducer first, second, output;
  int32_t first_offset, second_offset, output_offset;
  int32_t left;  ///< Shift before the output's factor; sums need none.
  int32x4_t minimum, maximum;
} m3net_vector_layer;

M3NET_INLINE m3net_vector_layer m3net_vector_layer_of(const m3net_binary* layer) {
  const m3net_vector_layer result = {
      .first = m3net_vector_reducer_of(layer->first),
      .second = m3net_vector_reducer_of(layer->second),
      .output = m3net_vector_reducer_of(layer->output),
      .first_offset = layer->first_offset,
      .second_offset = layer->second_offset,
      .output_offset = layer->output_offset,
      .left = layer->output.shift > 0 ? layer->output.shift : 0,
      .minimum = vdupq_n_s32(layer->minimum),
      .maximum = vdupq_n_s32(layer->maximum),
  };
  return result;
}

/// Computes four outputs from four items of each input.
typedef int32x4_t (*m3net_four_items)(const m3net_vector_layer* layer, int32x4_t first,
                                      int32x4_t second);

M3NET_INLINE int32x4_t m3net_finish_items(const m3net_vector_layer* layer, int32x4_t values) {
  const int32x4_t outputs =
      vaddq_n_s32(m3net_reduce_vector(values, layer->output), layer->output_offset);
  return vminq_s32(vmaxq_s32(outputs, layer->minimum), layer->maximum);
}

M3NET_INLINE int32x4_t m3net_add_items(const m3net_vector_layer* layer, int32x4_t first,
                                       int32x4_t second) {
  const int32x4_t a = m3net_reduce_vector(vshlq_n_s32(first, M3NET_SUM_BITS), layer->first);
  const int32x4_t b = m3net_reduce_vector(vshlq_n_s32(second, M3NET_SUM_BITS), layer->second);
  return m3net_finish_items(layer, vaddq_s32(a, b));
}

M3NET_INLINE int32x4_t m3net_subtract_items(const m3net_vector_layer* layer, int32x4_t first,
                                            int32x4_t second) {
  const int32x4_t a = m3net_reduce_vector(vshlq_n_s32(first, M3NET_SUM_BITS), layer->first);
  const int32x4_t b = m3net_reduce_vector(vshlq_n_s32(second, M3NET_SUM_BITS), layer->second);
  return m3net_finish_items(layer, vsubq_s32(a, b));
}

M3NET_INLINE int32x4_t m3net_difference_items(const m3net_vector_layer* layer, int32x4_t first,
                                              int32x4_t second) {
  const int32x4_t a = m3net_reduce_vector(vshlq_n_s32(first, M3NET_DIFFERENCE_BITS), layer->first);
  const int32x4_t b =
      m3net_reduce_vector(vshlq_n_s32(second, M3NET_DIFFERENCE_BITS), layer->second);
  const int32x4_t difference = vsubq_s32(a, b);
  return m3net_finish_items(layer, vshlq_r_s32(vmulq_s32(difference, difference), layer->left));
}

M3NET_INLINE int32x4_t m3net_multiply_items(const m3net_vector_layer* layer, int32x4_t first,
                                            int32x4_t second) {
  return m3net_finish_items(layer, vshlq_r_s32(vmulq_s32(first, second), layer->left));
}

/// Computes a row. Items that are not contiguous are gathered.
M3NET_INLINE void m3net_run_row(const m3net_binary* layer, const m3net_row* operands,
                                m3net_four_items compute, int32_t side_by_side) {
  const m3net_vector_layer constants = m3net_vector_layer_of(layer);
  const uint32x4_t lanes = vidupq_n_u32(0, 1);
  const uint32x4_t first_places = vmulq_n_u32(lanes, (uint32_t)operands->first_step);
  const uint32x4_t second_places = vmulq_n_u32(lanes, (uint32_t)operands->second_step);
  const uint32x4_t output_places = vmulq_n_u32(lanes, (uint32_t)operands->output_step);
  m3net_row row = *operands;
  for (; row.count > 0; row.count -= 4) {
    const mve_pred16_t present = vctp32q((uint32_t)row.count);
    const int32x4_t first = side_by_side
                                ? vldrbq_z_s32(row.first, present)
                                : vldrbq_gather_offset_z_s32(row.first, first_places, present);
    const int32x4_t second = side_by_side
                                 ? vldrbq_z_s32(row.second, present)
                                 : vldrbq_gather_offset_z_s32(row.second, second_places, present);
    const int32x4_t values = compute(&constants, vaddq_n_s32(first, constants.first_offset),
                                     vaddq_n_s32(second, constants.second_offset));
    if (side_by_side) {
      vstrbq_p_s32(row.output, values, present);
      row.first += 4;
      row.second += 4;
      row.output += 4;
    } else {
      vstrbq_scatter_offset_p_s32(row.output, output_places, values, present);
      row.first += 4 * row.first_step;
      row.second += 4 * row.second_step;
      row.output += 4 * row.output_step;
    }
  }
}

M3NET_INLINE void m3net_run_any_row(const void* layer, const m3net_row* row,
                                    m3net_four_items compute) {
  if (row->first_step == 1 && row->second_step == 1 && row->output_step == 1) {
    m3net_run_row((const m3net_binary*)layer, row, compute, 1);
  } else {
    m3net_run_row((const m3net_binary*)layer, row, compute, 0);
  }
}

#endif

#endif  // M3NET_ENGINE_HELIUM_ROWS_H_
