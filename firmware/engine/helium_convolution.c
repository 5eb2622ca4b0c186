// SPDX-License-Identifier: Apache-2.0
// Convolution for Helium: multiplies 16 bytes of a window with the weights of four output channels
// at a time, for two pixels where the layer has the form that this needs. A window whose bytes do
// not overlap the outputs is read where it is; others are gathered first.
#include "arithmetic.h"
#include "helium.h"
#include "pixels.h"

#if M3NET_ENGINE_HELIUM

/// Whether the outputs of a pixel overlap the items that they are computed from.
static inline int32_t overlaps(const int8_t* items, int32_t count, const int8_t* pixel,
                               int32_t channels) {
  return (uintptr_t)pixel < (uintptr_t)(items + count) &&
         (uintptr_t)items < (uintptr_t)(pixel + channels);
}

/// Sums of the products of a window with the weights of four channels; advances `blocks` past them.
static inline int32x4_t multiply(const int8_t* items, int32_t count, const m3net_block** blocks) {
  int32_t a = 0, b = 0, c = 0, d = 0;
  const int8_t* weights = (*blocks)->items;
  __asm__ volatile(
      "dlstp.8 lr, %[count]\n\t"
      "1:\n\t"
      "vldrb.8 q0, [%[items]], #16\n\t"
      "vldrb.8 q1, [%[weights]], #64\n\t"
      "vmladava.s8 %[a], q0, q1\n\t"
      "vldrb.8 q1, [%[weights], #-48]\n\t"
      "vmladava.s8 %[b], q0, q1\n\t"
      "vldrb.8 q1, [%[weights], #-32]\n\t"
      "vmladava.s8 %[c], q0, q1\n\t"
      "vldrb.8 q1, [%[weights], #-16]\n\t"
      "vmladava.s8 %[d], q0, q1\n\t"
      "letp lr, 1b\n\t"
      : [items] "+&r"(items), [weights] "+&r"(weights), [a] "+&Te"(a), [b] "+&Te"(b), [c] "+&Te"(c),
        [d] "+&Te"(d)
      : [count] "r"(count)
      : "q0", "q1", "lr", "cc", "memory");
  *blocks = (const m3net_block*)(const void*)weights;
  return m3net_vector_of(a, b, c, d);
}

/// Computes all output channels of one pixel.
static inline void convolve_channels(const m3net_convolution* layer, const int8_t* items,
                                     int32_t count, int8_t* output, int32_t narrow) {
  const m3net_limits limits = m3net_limits_of(layer);
  const m3net_block* blocks = layer->blocks;
  const m3net_channel* channel = layer->channels;
  for (int32_t left = layer->output.channels; left > 0; left -= 4) {
    const int32x4_t sums = multiply(items, count, &blocks);
    const int32x4_t values = m3net_finish_vector(sums, channel, narrow, limits);
    if (left >= 4) {
      vstrbq_s32(output, values);
    } else {
      vstrbq_p_s32(output, values, vctp32q((uint32_t)left));
    }
    channel += 4;
    output += 4;
  }
}

M3NET_SEPARATE void convolve_narrow(const m3net_convolution* layer, const int8_t* items,
                                    int32_t count, int8_t* output) {
  convolve_channels(layer, items, count, output, 1);
}

M3NET_SEPARATE void convolve_wide(const m3net_convolution* layer, const int8_t* items,
                                  int32_t count, int8_t* output) {
  convolve_channels(layer, items, count, output, 0);
}

/// Two pixels of a layer with the short form, the whole range and a multiple of four channels. The
/// kernel loads the first nine words at once.
typedef struct {
  int8_t* output;
  const int8_t* items;  ///< The last 16 items of the window, or fewer.
  int8_t* other_output;
  const int8_t* other_items;
  const m3net_channel* channel;
  int32_t forward;  ///< Bytes from the weights before four channels' to the next channels' last.
  int32_t rows;     ///< Of the window, if they do not lie side by side.
  int8_t* end;      ///< Of the first pixel.
  int32_t first_passes;  ///< Of the first row, as `passes`.
  int32_t passes;        ///< Through up to BLOCKS_AT_ONCE blocks of a row.
  int32_t gap;           ///< Bytes between two rows.
  int32_t other_gap;
  const m3net_block* last;  ///< Of four channels.
  int32_t count;            ///< Items of the last block.
  // Where passes begin and where outputs are rounded, in bytes of code; the kernel makes them
  // addresses.
  int32_t first_entry, entry, rounding;
  int32_t first_place, place, rounding_place;
} two_pixels;

/// Blocks in a pass.
#define BLOCKS_AT_ONCE 6
/// Bytes of code for a block, and to correct how negative products are rounded.
#define BLOCK_CODE 56
#define ROUNDING_CODE 16

/// Assembly that multiplies 16 items of each pixel, in q0 and q1, with the weights of a channel,
/// and adds to sums if `a` is "a".
#define M3NET_MULTIPLY_CHANNEL(a, weights, sum, other_sum) \
  "vldrb.8 q2, [r5" weights                                \
  "\n\t"                                                   \
  "vmladav" a ".s8 " sum                                   \
  ", q0, q2\n\t"                                           \
  "vmladav" a ".s8 " other_sum ", q1, q2\n\t"

/// Assembly that multiplies 16 items with the weights of four channels, or of eight.
#define M3NET_MULTIPLY_BLOCK(MULTIPLY, a) \
  MULTIPLY(a, ", #48]", "r6", "lr")       \
  MULTIPLY(a, ", #32]", "r4", "r12")      \
  MULTIPLY(a, ", #16]", "r2", "r10")      \
  MULTIPLY(a, "], #-64", "r0", "r8")

#define M3NET_NEXT_BLOCK       \
  "vldrb.8 q0, [r1], #-16\n\t" \
  "vldrb.8 q1, [r3], #-16\n\t" M3NET_MULTIPLY_BLOCK(M3NET_MULTIPLY_CHANNEL, "a")

/// Computes all output channels of two pixels, from the last block of a window to the first one.
M3NET_SEPARATE void convolve_two(two_pixels* pixels) {
  register two_pixels* place __asm__("r11") = pixels;
  // r7 may be the frame pointer. The channel's left shift is the lowest byte of q7. It moves an
  // output to the highest byte, where it saturates.
  __asm__ volatile(
      "push {r7}\n\t"
      "adr r0, 2f\n\t"
      "adr r1, 5f\n\t"
      "add r2, r11, #56\n\t"
      "ldm r2!, {r3, r4, r5}\n\t"
      "add r3, r3, r0\n\t"
      "add r4, r4, r0\n\t"
      "add r5, r5, r1\n\t"
      "stm r2, {r3, r4, r5}\n\t"
      "ldrd r5, r0, [r11, #48]\n\t"
      "vctp.8 r0\n\t"
      "ldm r11, {r0-r4, r6-r9}\n\t"
      "1:\n\t"
      "vpstt\n\t"
      "vldrbt.8 q0, [r1], #-16\n\t"
      "vldrbt.8 q1, [r3], #-16\n\t"
      M3NET_MULTIPLY_BLOCK(M3NET_MULTIPLY_CHANNEL, "")
      "ldr pc, [r11, #68]\n\t"
      ".balign 4\n\t"
      "2:\n\t"
      M3NET_NEXT_BLOCK
      M3NET_NEXT_BLOCK
      M3NET_NEXT_BLOCK
      M3NET_NEXT_BLOCK
      M3NET_NEXT_BLOCK
      M3NET_NEXT_BLOCK
      ".if . - 2b - 6 * 56\n\t"
      ".error \"BLOCK_CODE\"\n\t"
      ".endif\n\t"
      "subs r9, r9, #1\n\t"
      "bne 2b\n\t"
      "subs r7, r7, #1\n\t"
      "beq 4f\n\t"
      "ldr r9, [r11, #40]\n\t"
      "sub r1, r1, r9\n\t"
      "ldr r9, [r11, #44]\n\t"
      "sub r3, r3, r9\n\t"
      "ldr r9, [r11, #36]\n\t"
      "ldr pc, [r11, #72]\n\t"
      "4:\n\t"
      "vmov q0[2], q0[0], r0, r4\n\t"
      "vmov q0[3], q0[1], r2, r6\n\t"
      "vmov q1[2], q1[0], r8, r12\n\t"
      "vmov q1[3], q1[1], r10, lr\n\t"
      "ldm r11, {r0-r4, r6-r9}\n\t"
      "vld40.32 {q4, q5, q6, q7}, [r4]\n\t"
      "vld41.32 {q4, q5, q6, q7}, [r4]\n\t"
      "vld42.32 {q4, q5, q6, q7}, [r4]\n\t"
      "vld43.32 {q4, q5, q6, q7}, [r4]!\n\t"
      "vadd.i32 q0, q0, q4\n\t"
      "vadd.i32 q1, q1, q4\n\t"
      "vqrdmulh.s32 q0, q0, q5\n\t"
      "vqrdmulh.s32 q1, q1, q5\n\t"
      "ldr pc, [r11, #76]\n\t"
      ".balign 4\n\t"
      // Negative products round the other way. Nothing follows from it if they all saturate.
      "5:\n\t"
      "vshr.s32 q2, q0, #31\n\t"
      "vshr.s32 q3, q1, #31\n\t"
      "vadd.i32 q0, q0, q2\n\t"
      "vadd.i32 q1, q1, q3\n\t"
      "vadd.i32 q0, q0, q6\n\t"
      "vadd.i32 q1, q1, q6\n\t"
      "vqshl.s32 q0, q0, q7\n\t"
      "vqshl.s32 q1, q1, q7\n\t"
      "vshr.s32 q0, q0, #24\n\t"
      "vshr.s32 q1, q1, #24\n\t"
      "add r5, r5, r6\n\t"
      "vstrb.32 q0, [r0], #4\n\t"
      "vstrb.32 q1, [r2], #4\n\t"
      "stm r11, {r0-r4}\n\t"
      "cmp r0, r8\n\t"
      "bne 1b\n\t"
      "pop {r7}\n\t"
      : "+&r"(place)
      :
      : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r12", "lr", "q0", "q1", "q2",
        "q3", "q4", "q5", "q6", "q7", "cc", "memory");
}

/// One pixel of a layer with the short form, the whole range and a multiple of eight channels.
typedef struct {
  int8_t* output;
  const int8_t* items;               ///< The last 16 items of the window, or fewer.
  const m3net_block* weights;        ///< Of the last items and four channels.
  const m3net_block* other_weights;  ///< Of the four channels after them.
  const m3net_channel* channel;
  int32_t blocks;
  int32_t forward;  ///< Bytes from the weights before eight channels' to the next channels' last.
  int8_t* end;
  int32_t count;  ///< Items of the last block.
} one_pixel;

/// Assembly that multiplies 16 items, in q0, with the weights of a channel and of the one four
/// channels after it, and adds to sums if `a` is "a".
#define M3NET_MULTIPLY_APART(a, weights, sum, other_sum) \
  "vldrb.8 q1, [r3" weights                              \
  "\n\t"                                                 \
  "vmladav" a ".s8 " sum                                 \
  ", q0, q1\n\t"                                         \
  "vldrb.8 q2, [r5" weights                              \
  "\n\t"                                                 \
  "vmladav" a ".s8 " other_sum ", q0, q2\n\t"

/// Assembly that makes outputs of the sums of four channels, whose constants are in q4 to q7, and
/// writes them.
#define M3NET_FINISH_FOUR_SUMS(sums, spare) \
  "vadd.i32 " sums ", " sums                \
  ", q4\n\t"                                \
  "vqrdmulh.s32 " sums ", " sums            \
  ", q5\n\t"                                \
  "vshr.s32 " spare ", " sums               \
  ", #31\n\t"                               \
  "vadd.i32 " sums ", " sums ", " spare     \
  "\n\t"                                    \
  "vadd.i32 " sums ", " sums                \
  ", q6\n\t"                                \
  "vqshl.s32 " sums ", " sums               \
  ", q7\n\t"                                \
  "vshr.s32 " sums ", " sums                \
  ", #24\n\t"                               \
  "vstrb.32 " sums ", [r0], #4\n\t"

/// Computes all output channels of a pixel, eight at a time.
M3NET_SEPARATE void convolve_one(one_pixel* pixel) {
  register one_pixel* place __asm__("r11") = pixel;
  __asm__ volatile(
      "ldr r0, [r11, #32]\n\t"
      "vctp.8 r0\n\t"
      "ldrd r3, r5, [r11, #8]\n\t"
      "1:\n\t"
      "ldr r1, [r11, #4]\n\t"
      "ldr r9, [r11, #20]\n\t"
      "vpst\n\t"
      "vldrbt.8 q0, [r1], #-16\n\t"
      M3NET_MULTIPLY_BLOCK(M3NET_MULTIPLY_APART, "")
      "subs r9, r9, #1\n\t"
      "beq 3f\n\t"
      "2:\n\t"
      "vldrb.8 q0, [r1], #-16\n\t"
      M3NET_MULTIPLY_BLOCK(M3NET_MULTIPLY_APART, "a")
      "subs r9, r9, #1\n\t"
      "bne 2b\n\t"
      "3:\n\t"
      "vmov q0[2], q0[0], r0, r4\n\t"
      "vmov q0[3], q0[1], r2, r6\n\t"
      "vmov q1[2], q1[0], r8, r12\n\t"
      "vmov q1[3], q1[1], r10, lr\n\t"
      "ldr r4, [r11, #16]\n\t"
      "ldr r0, [r11]\n\t"
      "ldrd r6, r8, [r11, #24]\n\t"
      "vld40.32 {q4, q5, q6, q7}, [r4]\n\t"
      "vld41.32 {q4, q5, q6, q7}, [r4]\n\t"
      "vld42.32 {q4, q5, q6, q7}, [r4]\n\t"
      "vld43.32 {q4, q5, q6, q7}, [r4]!\n\t"
      M3NET_FINISH_FOUR_SUMS("q0", "q2")
      "vld40.32 {q4, q5, q6, q7}, [r4]\n\t"
      "vld41.32 {q4, q5, q6, q7}, [r4]\n\t"
      "vld42.32 {q4, q5, q6, q7}, [r4]\n\t"
      "vld43.32 {q4, q5, q6, q7}, [r4]!\n\t"
      "str r4, [r11, #16]\n\t"
      M3NET_FINISH_FOUR_SUMS("q1", "q3")
      "add r3, r3, r6\n\t"
      "add r5, r5, r6\n\t"
      "str r0, [r11]\n\t"
      "cmp r0, r8\n\t"
      "bne 1b\n\t"
      : "+&r"(place)
      :
      : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r12", "lr", "q0", "q1", "q2",
        "q3", "q4", "q5", "q6", "q7", "cc", "memory");
}

/// Windows that begin in these first rows and columns are inside the image, and a row of each is
/// contiguous.
typedef struct {
  int32_t rows, columns;
} inner_windows;

static inner_windows find_inner(const m3net_convolution* layer) {
  const m3net_window* window = &layer->window;
  const m3net_image* image = &layer->input;
  inner_windows windows = {0, 0};
  if (window->columns == 1 || image->column_step * window->column_dilation == image->channels) {
    windows.rows = image->rows - (window->rows - 1) * window->row_dilation;
    windows.columns = image->columns - (window->columns - 1) * window->column_dilation;
  }
  return windows;
}

/// Pixels that are computed in pairs.
typedef struct {
  int32_t in_place;     ///< Whether inner windows can be read where they are.
  int32_t gap;          ///< Bytes between the rows of such a window.
  int32_t reach;        ///< Bytes from its first item to its last block.
  int32_t bytes;        ///< Of a gathered window, up to the end of the last 16.
  int32_t fits;         ///< Whether the layer has the form of pairs.
  int32_t left;         ///< Pixels that no pair has yet.
  int32_t row, column;  ///< Of the pixel that waits for another one.
  int8_t* output;       ///< As `row`; null if no pixel waits.
  two_pixels pixels;
} pixel_pairs;

typedef struct {
  const m3net_convolution* layer;
  const int8_t* input;
  int8_t* patch;
  inner_windows inner;
  int32_t count;  ///< Items of a window.
  pixel_pairs* pairs;
} convolution_state;

/// Bytes from a row of a window to the next one.
static inline int32_t row_pitch(const m3net_convolution* layer) {
  return layer->input.row_step * layer->window.row_dilation;
}

static inline int32_t row_items(const m3net_convolution* layer) {
  return layer->window.columns * layer->input.channels;
}

static inline int32_t is_inner(const convolution_state* state, int32_t row, int32_t column) {
  return row >= 0 && row < state->inner.rows && column >= 0 && column < state->inner.columns;
}

static inline const int8_t* items_of(const convolution_state* state, int32_t row, int32_t column) {
  const m3net_image* image = &state->layer->input;
  return state->input + row * image->row_step + column * image->column_step;
}

/// Copies rows of bytes, at least one, between places that lie `pitch` bytes apart.
static inline void copy_rows(int8_t* target, int32_t target_pitch, const int8_t* source,
                             int32_t pitch, int32_t rows, int32_t bytes) {
  const int32_t copied = (bytes + M3NET_VECTOR_BYTES - 1) & -M3NET_VECTOR_BYTES;
  __asm__ volatile(
      "1:\n\t"
      "dlstp.8 lr, %[bytes]\n\t"
      "2:\n\t"
      "vldrb.8 q0, [%[source]], #16\n\t"
      "vstrb.8 q0, [%[target]], #16\n\t"
      "letp lr, 2b\n\t"
      "add %[source], %[source], %[to_next]\n\t"
      "add %[target], %[target], %[to_target]\n\t"
      "subs %[rows], %[rows], #1\n\t"
      "bne 1b\n\t"
      : [source] "+&r"(source), [target] "+&r"(target), [rows] "+&r"(rows)
      : [bytes] "r"(bytes), [to_next] "r"(pitch - copied), [to_target] "r"(target_pitch - copied)
      : "q0", "lr", "cc", "memory");
}

/// Gathers a window that reaches beyond an image whose pixels lie side by side.
static void gather_edge(const convolution_state* state, int32_t row, int32_t column,
                        int8_t* patch) {
  const m3net_convolution* layer = state->layer;
  const m3net_image* image = &layer->input;
  const m3net_window* window = &layer->window;
  const int32_t above = row < 0 ? -row : 0, before = column < 0 ? -column : 0;
  const int32_t below = row + window->rows - image->rows;
  const int32_t after = column + window->columns - image->columns;
  const int32_t rows = window->rows - above - (below > 0 ? below : 0);
  const int32_t columns = window->columns - before - (after > 0 ? after : 0);
  m3net_fill_bytes(patch, layer->padding, state->count);
  if (rows > 0 && columns > 0) {
    const int32_t pitch = row_items(layer);
    copy_rows(patch + above * pitch + before * image->channels, pitch,
              items_of(state, row + above, column + before), image->row_step, rows,
              columns * image->channels);
  }
}

static const int8_t* gather(const convolution_state* state, int32_t row, int32_t column,
                            int8_t* patch) {
  const m3net_convolution* layer = state->layer;
  const m3net_window* window = &layer->window;
  if (is_inner(state, row, column)) {
    const int32_t items = row_items(layer);
    copy_rows(patch, items, items_of(state, row, column), row_pitch(layer), window->rows, items);
  } else if (layer->input.column_step == layer->input.channels && window->row_dilation == 1 &&
             window->column_dilation == 1) {
    gather_edge(state, row, column, patch);
  } else {
    const m3net_gatherer gatherer = {m3net_copy_bytes, m3net_fill_bytes, 1, layer->padding};
    m3net_gather(&layer->input, window, state->input, row, column, gatherer, patch);
  }
  return patch;
}

/// Finds the items of a window for convolve_two: where they are, or in a patch if outputs of the
/// pair, between two places, overlap them. Returns the last block.
M3NET_INLINE const int8_t* find_items(const convolution_state* state, int32_t row, int32_t column,
                                      const int8_t* low, const int8_t* high, int8_t* patch,
                                      int32_t* gap) {
  const pixel_pairs* pairs = state->pairs;
  const int8_t* items = items_of(state, row, column);
  const int8_t* last = items + pairs->reach;
  if (pairs->in_place && is_inner(state, row, column) &&
      ((uintptr_t)low >= (uintptr_t)(last + M3NET_VECTOR_BYTES) ||
       (uintptr_t)items >= (uintptr_t)high)) {
    *gap = pairs->gap;
    return last;
  }
  *gap = 0;
  return gather(state, row, column, patch) + pairs->bytes - M3NET_VECTOR_BYTES;
}

/// Computes the pixel that waits, and another one.
M3NET_INLINE void convolve_pair(const convolution_state* state, int32_t row, int32_t column,
                                int8_t* output) {
  pixel_pairs* pairs = state->pairs;
  two_pixels* pixels = &pairs->pixels;
  const m3net_convolution* layer = state->layer;
  const int32_t channels = layer->output.channels;
  int8_t* first = pairs->output;
  const int8_t* low = first < output ? first : output;
  const int8_t* high = (first < output ? output : first) + channels;
  pixels->items =
      find_items(state, pairs->row, pairs->column, low, high, state->patch, &pixels->gap);
  pixels->other_items = find_items(state, row, column, low, high,
                                   state->patch + ((state->count + 3) & ~3), &pixels->other_gap);
  pixels->output = first;
  pixels->other_output = output;
  pixels->channel = layer->channels;
  pixels->end = first + channels;
  pairs->output = 0;
  convolve_two(pixels);
}

/// Computes a pixel from its window, or leaves it to the next one.
static inline void convolve_window(const void* any_state, int32_t row, int32_t column,
                                   int8_t* output) {
  const convolution_state* state = (const convolution_state*)any_state;
  const m3net_convolution* layer = state->layer;
  pixel_pairs* pairs = state->pairs;
  if (pairs->output) {
    convolve_pair(state, row, column, output);
    return;
  }
  if (pairs->left > 1) {
    pairs->left -= 2;
    pairs->row = row;
    pairs->column = column;
    pairs->output = output;
    return;
  }
  const int8_t* items = items_of(state, row, column);
  if (!is_inner(state, row, column) ||
      (layer->window.rows > 1 && row_pitch(layer) != row_items(layer)) ||
      overlaps(items, state->count, output, layer->output.channels)) {
    items = gather(state, row, column, state->patch);
  }
  if (pairs->fits && layer->output.channels % 8 == 0) {
    const int32_t blocks = pairs->bytes / M3NET_VECTOR_BYTES;
    const m3net_block* last = pairs->pixels.last;
    one_pixel pixel = {.output = output,
                       .items = items + pairs->bytes - M3NET_VECTOR_BYTES,
                       .weights = last,
                       .other_weights = last + blocks,
                       .channel = layer->channels,
                       .blocks = blocks,
                       .forward = 3 * blocks * (int32_t)sizeof(m3net_block),
                       .end = output + layer->output.channels,
                       .count = pairs->pixels.count};
    convolve_one(&pixel);
  } else if (layer->narrow) {
    convolve_narrow(layer, items, state->count, output);
  } else {
    convolve_wide(layer, items, state->count, output);
  }
}

/// Passes through some blocks, at least one.
static inline int32_t passes_of(int32_t blocks) {
  return blocks > 0 ? (blocks + BLOCKS_AT_ONCE - 1) / BLOCKS_AT_ONCE : 1;
}

/// Where the first of these passes begins, an address of Thumb's instructions: the last passes are
/// whole ones.
static inline int32_t entry_of(int32_t blocks) {
  return (passes_of(blocks) * BLOCKS_AT_ONCE - blocks) * BLOCK_CODE + 1;
}

/// Prepares what all pairs of a layer share; no pixel has a pair if the layer lacks the form for
/// it. A structure that is returned would be copied by a call.
static inline void prepare_pairs(const m3net_convolution* layer, int32_t count,
                                 pixel_pairs* pairs) {
  const int32_t all = (count + M3NET_VECTOR_BYTES - 1) / M3NET_VECTOR_BYTES;
  pairs->output = 0;
  pairs->left = 0;
  pairs->fits = layer->narrow && layer->full && layer->output.channels % 4 == 0;
  if (!pairs->fits) {
    return;
  }
  const int32_t gap = layer->window.rows > 1 ? row_pitch(layer) - row_items(layer) : 0;
  const int32_t apart = layer->window.rows > 1 && row_items(layer) % M3NET_VECTOR_BYTES == 0;
  const int32_t rows = apart ? layer->window.rows : 1;
  const int32_t blocks = all / rows;
  pairs->in_place = gap == 0 || (apart && gap > 0);
  pairs->gap = gap;
  pairs->bytes = all * M3NET_VECTOR_BYTES;
  pairs->reach = pairs->bytes + (rows - 1) * gap - M3NET_VECTOR_BYTES;
  pairs->left = layer->output.rows * layer->output.columns;
  pairs->pixels.forward = 2 * all * (int32_t)sizeof(m3net_block);
  pairs->pixels.rows = rows;
  pairs->pixels.first_passes = passes_of(blocks - 1);
  pairs->pixels.first_entry = entry_of(blocks - 1);
  pairs->pixels.passes = passes_of(blocks);
  pairs->pixels.entry = entry_of(blocks);
  pairs->pixels.rounding = (m3net_zero_is_least(layer) ? ROUNDING_CODE : 0) + 1;
  pairs->pixels.last = layer->blocks + all - 1;
  pairs->pixels.count = count - (all - 1) * M3NET_VECTOR_BYTES;
}

void m3net_convolve(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                    int16_t* patch) {
  const m3net_window* window = &layer->window;
  const int32_t count = window->rows * window->columns * layer->input.channels;
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    pixel_pairs pairs;
    prepare_pairs(layer, count, &pairs);
    const convolution_state state = {layer,          input + batch * layer->input.batch_step,
                                     (int8_t*)patch, find_inner(layer),
                                     count,          &pairs};
    m3net_for_each_pixel(&layer->output, window, output + batch * layer->output.batch_step,
                         convolve_window, &state);
  }
}

#endif
