// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution for Helium. One instruction multiplies 16 items of a channel with weights:
// of a line, whose items are put side by side channel by channel, or of a single window. Then words
// of four channels are gathered from 16 taps and deinterleaved.
#include "arithmetic.h"
#include "helium.h"
#include "memory.h"
#include "pixels.h"

#if M3NET_ENGINE_HELIUM

/// Taps that are multiplied at once, and words that are gathered at once.
#define TAPS_AT_ONCE 16
#define WORDS_AT_ONCE 4

/// Where the pixels of a window are.
typedef struct {
  const m3net_convolution* layer;
  const int8_t* input;
  int32_t* places;        ///< Relative to the input; places outside fill a group.
  int32_t taps;           ///< Of the window.
  int32_t outside;        ///< Place of a pixel of zero points.
  int32_t last_row;       ///< Of the first pixel of a window inside the image.
  int32_t last_column;    ///< As `last_row`.
  int32_t aligned;        ///< Whether every place is aligned to a word.
  int32_t group_weights;  ///< Weights of four channels.
  int32_t* last_words;    ///< For up to 16 taps of four channels; missing taps are zero.
} window_places;

/// Lists the places of a window; places outside fill the last group.
static void place_window(const m3net_convolution* layer, const window_places* parts, int32_t row,
                         int32_t column) {
  int32_t* end =
      m3net_place_window(&layer->input, &layer->window, row, column, parts->outside, parts->places);
  while ((end - parts->places) % WORDS_AT_ONCE != 0) {
    *end++ = parts->outside;
  }
}

/// Advances the places inside the image by some bytes.
static void move_places(const window_places* parts, int32_t bytes) {
  int32_t* place = parts->places;
  for (int32_t tap = 0; tap < parts->taps; tap += WORDS_AT_ONCE, place += WORDS_AT_ONCE) {
    const int32x4_t places = vldrwq_s32(place);
    const mve_pred16_t inside = vcmpneq_n_s32(places, parts->outside);
    vstrwq_s32(place, vaddq_m_n_s32(places, places, bytes, inside));
  }
}

/// Sums of the products of four channels with up to 16 taps at aligned places. Each tap's channels
/// are gathered as a word; words of missing taps are zero.
static inline int32x4_t multiply_words(const int8_t* input, const int32_t* places, int32_t count,
                                       int32_t* words, const m3net_tap* weights) {
  int32_t a, b, c, d;
  int32_t* word = words;
  __asm__ volatile(
      "dlstp.32 lr, %[count]\n\t"
      "1:\n\t"
      "vldrw.32 q0, [%[places]], #16\n\t"
      "vldrw.u32 q1, [%[input], q0]\n\t"
      "vstrw.32 q1, [%[word]], #16\n\t"
      "letp lr, 1b\n\t"
      "vld40.8 {q4, q5, q6, q7}, [%[weights]]\n\t"
      "vld41.8 {q4, q5, q6, q7}, [%[weights]]\n\t"
      "vld42.8 {q4, q5, q6, q7}, [%[weights]]\n\t"
      "vld43.8 {q4, q5, q6, q7}, [%[weights]]\n\t"
      "vld40.8 {q0, q1, q2, q3}, [%[words]]\n\t"
      "vld41.8 {q0, q1, q2, q3}, [%[words]]\n\t"
      "vld42.8 {q0, q1, q2, q3}, [%[words]]\n\t"
      "vld43.8 {q0, q1, q2, q3}, [%[words]]\n\t"
      "vmladav.s8 %[a], q0, q4\n\t"
      "vmladav.s8 %[b], q1, q5\n\t"
      "vmladav.s8 %[c], q2, q6\n\t"
      "vmladav.s8 %[d], q3, q7\n\t"
      : [places] "+&r"(places), [word] "+&r"(word), [a] "=&Te"(a), [b] "=&Te"(b), [c] "=&Te"(c),
        [d] "=&Te"(d)
      : [count] "r"(count), [input] "r"(input), [words] "r"(words), [weights] "r"(weights)
      : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "lr", "cc", "memory");
  return m3net_vector_of(a, b, c, d);
}

/// As multiply_words, with places of any alignment.
static inline int32x4_t multiply_bytes(const int8_t* input, const int32_t* places, int32_t count,
                                       int32_t* words, const m3net_tap* weights) {
  for (int32_t tap = 0; tap < count; ++tap) {
    M3NET_MEMCPY(words + tap, input + places[tap], sizeof(*words));
  }
  const int8x16x4_t items = vld4q_s8((const int8_t*)words);
  const int8x16x4_t factors = vld4q_s8(weights);
  return m3net_vector_of(
      vmladavq_s8(items.val[0], factors.val[0]), vmladavq_s8(items.val[1], factors.val[1]),
      vmladavq_s8(items.val[2], factors.val[2]), vmladavq_s8(items.val[3], factors.val[3]));
}

/// Writes the outputs of up to four channels.
static inline void write(const m3net_convolution* layer, int32x4_t sums, int32_t first_channel,
                         int8_t* pixel) {
  const int32_t count = layer->output.channels - first_channel;
  const int32x4_t values = m3net_finish_vector(sums, layer->channels + first_channel, layer->narrow,
                                               m3net_limits_of(layer));
  if (count >= 4) {
    vstrbq_s32(pixel + first_channel, values);
  } else {
    vstrbq_p_s32(pixel + first_channel, values, vctp32q((uint32_t)count));
  }
}

/// Computes all channels of one pixel of a layer of up to 16 taps at aligned places.
M3NET_SEPARATE void convolve_small(const m3net_convolution* layer, const window_places* parts,
                                   const int8_t* input, int8_t* output) {
  const window_places window = *parts;
  const m3net_tap* weights = layer->taps;
  const int32_t channels = layer->output.channels;
  for (int32_t c = 0; c < channels; c += 4, weights += window.group_weights) {
    const int32x4_t sums =
        multiply_words(input + c, window.places, window.taps, window.last_words, weights);
    write(layer, sums, c, output);
  }
}

/// Computes all channels of one pixel of any layer.
M3NET_SEPARATE void convolve_large(const m3net_convolution* layer, const window_places* parts,
                                   const int8_t* input, int8_t* output) {
  int32_t words[TAPS_AT_ONCE];
  const window_places window = *parts;
  const m3net_tap* weights = layer->taps;
  const int32_t channels = layer->output.channels;
  for (int32_t c = 0; c < channels; c += 4, weights += window.group_weights) {
    int32x4_t sums = vdupq_n_s32(0);
    for (int32_t first = 0; first < window.taps; first += TAPS_AT_ONCE) {
      const int32_t rest = window.taps - first;
      const int32_t count = rest < TAPS_AT_ONCE ? rest : TAPS_AT_ONCE;
      const int32_t* places = window.places + first;
      int32_t* target = rest < TAPS_AT_ONCE ? window.last_words : words;
      const int32x4_t products =
          window.aligned ? multiply_words(input + c, places, count, target, weights + 4 * first)
                         : multiply_bytes(input + c, places, count, target, weights + 4 * first);
      sums = vaddq_s32(sums, products);
    }
    write(layer, sums, c, output);
  }
}

/// Channels whose columns are copied at once.
#define CHANNELS_AT_ONCE 16
#define COLUMN_BYTES (4 * CHANNELS_AT_ONCE)
/// Columns that are copied at once, and outputs that they suffice for, with a stride of two fewer.
#define COLUMNS_AT_ONCE 9
#define LINE_SUMS 7
#define LINE_SUMS_WIDE 4
/// Weights of a channel, the last of which is zero.
#define WINDOW_TAPS 10

/// Places of a channel's weights among four channels' ones, for a vector of four columns: of an
/// output whose window begins with the first one, and with the second one.
typedef struct {
  uint8_t first[16], second[16];
} column_order;

/// Some outputs of a line, as the kernel reads them. Each of them reads three columns of three
/// items; lines and columns may also be columns and rows of the image. A channel has seven sums, or
/// four with a stride of two.
typedef struct {
  const int8_t* items[3];     ///< Of the first column inside the image.
  int32_t steps[3];           ///< To the next column; 0 outside the image.
  int32_t channel, left;      ///< The first one of up to 16, and how many there are from it on.
  int8_t* words;              ///< Of the first column inside the image.
  int32_t inside;             ///< Columns inside the image.
  uint32_t addresses[4];      ///< Of four columns' words, less a word.
  uint32_t sum_addresses[4];  ///< Of four channels' sums, less a word.
  column_order order;
  const m3net_tap* taps;
  const m3net_channel* channels;
  int8_t* output;
  int32_t output_step;
  int32_t* first_sum;
  int32_t outputs;
  int32_t is_short;  ///< Whether m3net_zero_is_least.
  int32_t stride;
  int32_t entries[2];                              ///< Of the code for sums and for outputs.
  int8_t columns[COLUMNS_AT_ONCE * COLUMN_BYTES];  ///< Three items, and any fourth byte.
  int32_t sums[4 * LINE_SUMS];  ///< The vector of the last columns may end in them.
} window_part;

/// Assembly that sums five outputs of a channel and maybe more; a vector has the columns of two.
#define M3NET_CHANNEL_SUMS(next, more) \
  "vldrb.8 q4, [r3, q2]\n\t"           \
  "vldrb.8 q5, [r3, q6]\n\t"           \
  "add r3, r3, #" next                 \
  "\n\t"                               \
  "vldrw.u32 q0, [q3, #4]!\n\t"        \
  "vmladav.s8 r0, q0, q4\n\t"          \
  "vmladav.s8 r2, q0, q5\n\t"          \
  "vldrw.u32 q0, [q3, #128]\n\t"       \
  "vmladav.s8 r4, q0, q4\n\t"          \
  "vmladav.s8 r6, q0, q5\n\t"          \
  "vldrw.u32 q0, [q3, #256]\n\t"       \
  "vmladav.s8 r8, q0, q4\n\t" more "stm r5!, {r0, r2, r4, r6, r8, r10, r12}\n\t"
#define M3NET_SIXTH_SUM "vmladav.s8 r10, q0, q5\n\t"
#define M3NET_SEVENTH_SUM "vldrw.u32 q0, [q3, #384]\n\tvmladav.s8 r12, q0, q4\n\t"

/// As above with a stride of two: four outputs, a vector for each.
#define M3NET_CHANNEL_SUMS_WIDE(next, more) \
  "vldrb.8 q4, [r3, q2]\n\t"                \
  "add r3, r3, #" next                      \
  "\n\t"                                    \
  "vldrw.u32 q0, [q3, #4]!\n\t"             \
  "vmladav.s8 r0, q0, q4\n\t"               \
  "vldrw.u32 q0, [q3, #128]\n\t"            \
  "vmladav.s8 r2, q0, q4\n\t"               \
  "vldrw.u32 q0, [q3, #256]\n\t"            \
  "vmladav.s8 r4, q0, q4\n\t"               \
  "vldrw.u32 q0, [q3, #384]\n\t"            \
  "vmladav.s8 r6, q0, q4\n\t"               \
  "stm r5!, {r0, r2, r4, r6}\n\t"

/// Assembly that sums four channels, whose first weights lie side by side.
#define M3NET_SUMS(sums, more) sums("1", more) sums("1", more) sums("1", more) sums("37", more)

/// Assembly that writes an output of four channels: 32 bytes of code, with a sign 40.
#define M3NET_WINDOW_OUTPUT(sign)    \
  "vldrw.u32 q0, [q1, #4]!\n\t"      \
  "vadd.i32 q0, q0, q4\n\t"          \
  "vqrdmulh.s32 q0, q0, q5\n\t" sign \
  "vadd.i32 q0, q0, q6\n\t"          \
  "vqshl.s32 q0, q0, q7\n\t"         \
  "vshr.s32 q0, q0, #24\n\t"         \
  "vstrb.32 q0, [r0]\n\t"            \
  "add.w r0, r0, r12\n\t"

/// Assembly that writes seven outputs, of which the code's entry may leave out the first ones.
#define M3NET_THREE_OUTPUTS(sign) \
  M3NET_WINDOW_OUTPUT(sign) M3NET_WINDOW_OUTPUT(sign) M3NET_WINDOW_OUTPUT(sign)
#define M3NET_WINDOW_OUTPUTS(sign) \
  M3NET_WINDOW_OUTPUT(sign) M3NET_THREE_OUTPUTS(sign) M3NET_THREE_OUTPUTS(sign)

/// Assembly that takes one off negative products, which rounds halves away from zero.
#define M3NET_WINDOW_SIGN  \
  "vpt.s32 lt, q0, zr\n\t" \
  "vaddt.i32 q0, q0, lr\n\t"

#define M3NET_PART_REGISTERS                                                                   \
  "r0", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "q0", "q1", "q2", \
      "q3", "q4", "q5", "q6", "q7", "cc", "memory"

/// Computes some outputs: copies the columns of up to 16 channels, then sums four channels and
/// writes their outputs.
static inline void convolve_columns(window_part* part) {
  register window_part* place __asm__("r1") = part;
  // r7, which may be the frame pointer, is the end of the channels whose columns are copied.
  __asm__ volatile(
      "push {r7}\n\t"
      "ldrd r3, r9, [r1, #104]\n\t"
      "ldrd r11, r12, [r1, #112]\n\t"
      "ldrd r2, r4, [r1, #124]\n\t"
      "ldr r5, [r1, #132]\n\t"
      // Where the code for the sums and for so many outputs begins.
      "adr.w r0, 12f\n\t"
      "sub r0, r0, r2, lsl #5\n\t"
      "cbnz r4, 1f\n\t"
      "adr.w r0, 11f\n\t"
      "sub r0, r0, r2, lsl #5\n\t"
      "sub r0, r0, r2, lsl #3\n\t"
      "1:\n\t"
      "adr.w r6, 9f\n\t"
      "cmp r2, #6\n\t"
      "it eq\n\t"
      "adreq.w r6, 8f\n\t"
      "it gt\n\t"
      "adrgt.w r6, 7f\n\t"
      "cmp r5, #1\n\t"
      "it ne\n\t"
      "adrne.w r6, 6f\n\t"
      "orr r0, r0, #1\n\t"
      "orr r6, r6, #1\n\t"
      "strd r6, r0, [r1, #136]\n\t"
      "vldrb.8 q2, [r1, #72]\n\t"
      // The columns.
      "2:\n\t"
      "ldm r1, {r0, r2, r4, r6, r8, r10}\n\t"
      "ldrd lr, r7, [r1, #24]\n\t"
      "add r0, r0, lr\n\t"
      "add r2, r2, lr\n\t"
      "add r4, r4, lr\n\t"
      "vctp.8 r7\n\t"
      "cmp r7, #16\n\t"
      "it gt\n\t"
      "movgt r7, #16\n\t"
      "add r7, r9, r7, lsl #4\n\t"
      "ldrd r5, lr, [r1, #32]\n\t"
      "wls lr, lr, 4f\n\t"
      "3:\n\t"
      "vpsttt\n\t"
      "vldrbt.8 q4, [r0]\n\t"
      "vldrbt.8 q5, [r2]\n\t"
      "vldrbt.8 q6, [r4]\n\t"
      "vst40.8 {q4, q5, q6, q7}, [r5]\n\t"
      "vst41.8 {q4, q5, q6, q7}, [r5]\n\t"
      "vst42.8 {q4, q5, q6, q7}, [r5]\n\t"
      "vst43.8 {q4, q5, q6, q7}, [r5]!\n\t"
      "add r0, r0, r6\n\t"
      "add r2, r2, r8\n\t"
      "add r4, r4, r10\n\t"
      "le lr, 3b\n\t"
      "4:\n\t"
      "mov lr, #-1\n\t"
      "vldrw.32 q3, [r1, #40]\n\t"
      // Four channels.
      "5:\n\t"
      "ldr r5, [r1, #120]\n\t"
      "vldrb.8 q6, [r1, #88]\n\t"
      "ldr pc, [r1, #136]\n\t"
      "6:\n\t" M3NET_SUMS(M3NET_CHANNEL_SUMS_WIDE, "")
      "b 10f\n\t"
      "7:\n\t" M3NET_SUMS(M3NET_CHANNEL_SUMS, M3NET_SIXTH_SUM M3NET_SEVENTH_SUM)
      "ldr r12, [r1, #116]\n\t"
      "b 10f\n\t"
      "8:\n\t" M3NET_SUMS(M3NET_CHANNEL_SUMS, M3NET_SIXTH_SUM)
      "b 10f\n\t"
      "9:\n\t" M3NET_SUMS(M3NET_CHANNEL_SUMS, "")
      "10:\n\t"
      "vldrw.32 q1, [r1, #56]\n\t"
      "vld40.32 {q4, q5, q6, q7}, [r9]\n\t"
      "vld41.32 {q4, q5, q6, q7}, [r9]\n\t"
      "vld42.32 {q4, q5, q6, q7}, [r9]\n\t"
      "vld43.32 {q4, q5, q6, q7}, [r9]!\n\t"
      "mov r0, r11\n\t"
      "add r11, r11, #4\n\t"
      "ldr pc, [r1, #140]\n\t" M3NET_WINDOW_OUTPUTS(M3NET_WINDOW_SIGN)
      "11:\n\t"
      "b 12f\n\t" M3NET_WINDOW_OUTPUTS("")
      "12:\n\t"
      "cmp r9, r7\n\t"
      "bne 5b\n\t"
      "ldrd r0, r2, [r1, #24]\n\t"
      "add r0, r0, #16\n\t"
      "subs r2, r2, #16\n\t"
      "strd r0, r2, [r1, #24]\n\t"
      "bgt 2b\n\t"
      "pop {r7}\n\t"
      : : "r"(place) : M3NET_PART_REGISTERS);
}

/// Writes a column of zero points.
static inline void fill_column(int8_t* words, int32_t padding) {
  const int8x16_t values = vdupq_n_s8((int8_t)padding);
  vstrbq_s8(words, values);
  vstrbq_s8(words + COLUMN_BYTES / 4, values);
  vstrbq_s8(words + COLUMN_BYTES / 2, values);
  vstrbq_s8(words + COLUMN_BYTES / 4 * 3, values);
}

/// Computes a line, some outputs at a time. The part has the items of the line's first column.
static inline void convolve_line(const m3net_convolution* layer, const m3net_direction* along,
                                 window_part* part) {
  const int32_t stride = part->stride, most = stride == 1 ? LINE_SUMS : LINE_SUMS_WIDE;
  int32_t left = along->outputs, column = -along->before;
  for (;;) {
    const int32_t first = column < 0 ? 0 : column;
    part->outputs = left < most ? left : most;
    part->channel = 0;
    part->left = layer->output.channels;
    part->words = part->columns;
    int32_t count = (part->outputs - 1) * stride + 3;
    if (column < 0) {
      fill_column(part->columns, layer->padding);
      part->words += COLUMN_BYTES;
      --count;
    }
    const int32_t inside = along->inputs - first;
    if (count > inside) {
      count = inside;
      fill_column(part->words + count * COLUMN_BYTES, layer->padding);
    }
    part->inside = count;
    convolve_columns(part);
    left -= most;
    if (left <= 0) {
      return;
    }
    column += most * stride;
    for (int32_t i = 0; i < 3; ++i) {
      part->items[i] += (column - first) * part->steps[i];
    }
    part->output += most * along->output_step;
  }
}

/// Fills a pixel of zero points behind the places of a window; returns it.
static int8_t* fill_outside(const m3net_convolution* layer, int32_t* scratch) {
  const int32_t taps = layer->window.rows * layer->window.columns;
  int8_t* outside = (int8_t*)(scratch + ((taps + WORDS_AT_ONCE - 1) & -WORDS_AT_ONCE));
  m3net_fill_bytes(outside, layer->padding, (layer->input.channels + 3) & ~3);
  return outside;
}

/// Four addresses, the first of which is some bytes before a given one.
static inline uint32x4_t addresses_of(const void* first, uint32_t step, uint32_t before) {
  return vaddq_n_u32(vmulq_n_u32(vidupq_n_u32(0, 1), step), (uint32_t)(uintptr_t)first - before);
}

/// Computes an image line by line. Where the compiler allows this, an output overwrites no item
/// that another channel or a later line reads.
M3NET_SEPARATE void convolve_lines(const m3net_convolution* layer, const int8_t* input,
                                   int8_t* output, int32_t* scratch) {
  // The tenth weight is zero.
  static const column_order orders[2] = {
      {{0, 12, 24, 36, 4, 16, 28, 36, 8, 20, 32, 36, 36, 36, 36, 36},
       {36, 36, 36, 36, 0, 12, 24, 36, 4, 16, 28, 36, 8, 20, 32, 36}},
      {{0, 4, 8, 36, 12, 16, 20, 36, 24, 28, 32, 36, 36, 36, 36, 36},
       {36, 36, 36, 36, 0, 4, 8, 36, 12, 16, 20, 36, 24, 28, 32, 36}},
  };
  const int32_t by_rows = layer->lines == M3NET_ALONG_ROWS;
  m3net_direction along, across;
  if (by_rows) {
    along = m3net_down(layer);
    across = m3net_right(layer);
  } else {
    along = m3net_right(layer);
    across = m3net_down(layer);
  }
  window_part part;
  part.stride = layer->window.row_stride;
  const uint32_t sums = part.stride == 1 ? LINE_SUMS : LINE_SUMS_WIDE;
  part.order = orders[by_rows];
  part.taps = layer->taps;
  part.channels = layer->channels;
  part.output_step = along.output_step;
  part.first_sum = part.sums;
  part.is_short = m3net_zero_is_least(layer);
  vstrwq_u32(part.addresses, addresses_of(part.columns, COLUMN_BYTES, 4));
  vstrwq_u32(part.sum_addresses, addresses_of(part.sums, 4 * sums, 4));
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    for (int32_t index = 0; index < across.outputs; ++index) {
      int32_t place = index * part.stride - across.before;
      for (int32_t i = 0; i < 3; ++i, ++place) {
        const int32_t inside = place >= 0 && place < across.inputs;
        part.items[i] = inside ? input + place * across.step : fill_outside(layer, scratch);
        part.steps[i] = inside ? along.step : 0;
      }
      part.output = output + index * across.output_step;
      convolve_line(layer, &along, &part);
    }
    input += layer->input.batch_step;
    output += layer->output.batch_step;
  }
}

/// Computes a pixel. Inside the image it advances the places of the pixel before.
static inline void convolve_window(const void* any_parts, int32_t row, int32_t column,
                                   int8_t* output) {
  const window_places* parts = (const window_places*)any_parts;
  const m3net_convolution* layer = parts->layer;
  const m3net_window* window = &layer->window;
  if (column >= window->column_stride && column <= parts->last_column) {
    move_places(parts, layer->input.column_step * window->column_stride);
  } else if (layer->output.columns == 1 && row >= window->row_stride && row <= parts->last_row) {
    move_places(parts, layer->input.row_step * window->row_stride);
  } else {
    place_window(layer, parts, row, column);
  }
  if (parts->aligned && parts->taps <= TAPS_AT_ONCE) {
    convolve_small(layer, parts, parts->input, output);
  } else {
    convolve_large(layer, parts, parts->input, output);
  }
}

/// Computes an image pixel by pixel.
M3NET_SEPARATE void convolve_pixels(const m3net_convolution* layer, const int8_t* input,
                                    int8_t* output, int32_t* places, const int8_t* outside) {
  const m3net_image* image = &layer->input;
  const m3net_window* window = &layer->window;
  const int32_t taps = window->rows * window->columns;
  const uint32_t steps = (uint32_t)image->row_step | (uint32_t)image->column_step;
  int32_t last_words[TAPS_AT_ONCE] = {0};
  const window_places parts = {
      .layer = layer,
      .input = input,
      .places = places,
      .taps = taps,
      .outside = (int32_t)(outside - input),
      .last_row = image->rows - 1 - (window->rows - 1) * window->row_dilation,
      .last_column = image->columns - 1 - (window->columns - 1) * window->column_dilation,
      .aligned = (((uintptr_t)input | steps) & 3u) == 0,
      .group_weights = 4 * ((taps + 1) & ~1),
      .last_words = last_words,
  };
  m3net_for_each_pixel(&layer->output, window, output, convolve_window, &parts);
}

void m3net_convolve_depthwise_pixels(const m3net_convolution* layer, const int8_t* input,
                                     int8_t* output, int32_t* scratch) {
  const int8_t* outside = fill_outside(layer, scratch);
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    convolve_pixels(layer, input, output, scratch, outside);
    input += layer->input.batch_step;
    output += layer->output.batch_step;
  }
}

void m3net_convolve_depthwise(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                              int32_t* scratch) {
  if (layer->lines) {
    convolve_lines(layer, input, output, scratch);
  } else {
    m3net_convolve_depthwise_pixels(layer, input, output, scratch);
  }
}

/// Pixels of a line whose items of a channel make up a word.
#define PIXELS_AT_ONCE 4
/// Such words of a channel, and outputs that are computed at once.
#define LINE_WORDS 8
#define LINE_OUTPUTS 28
/// The longest window, so that four outputs read one vector.
#define LINE_TAPS (M3NET_VECTOR_BYTES - PIXELS_AT_ONCE + 1)

/// Transposes four pixels or more of up to 16 channels: a word of each channel, and so on.
static inline int8_t* transpose_pixels(const int8_t* a, int32_t step, int32_t channels,
                                       int32_t count, int8_t* words) {
  const int8_t *b, *c, *d;
  __asm__ volatile(
      "vctp.8 %[channels]\n\t"
      "dls lr, %[count]\n\t"
      "1:\n\t"
      "add %[b], %[a], %[step]\n\t"
      "add %[c], %[b], %[step]\n\t"
      "add %[d], %[c], %[step]\n\t"
      "vpstttt\n\t"
      "vldrbt.8 q0, [%[a]]\n\t"
      "vldrbt.8 q1, [%[b]]\n\t"
      "vldrbt.8 q2, [%[c]]\n\t"
      "vldrbt.8 q3, [%[d]]\n\t"
      "vst40.8 {q0, q1, q2, q3}, [%[words]]\n\t"
      "vst41.8 {q0, q1, q2, q3}, [%[words]]\n\t"
      "vst42.8 {q0, q1, q2, q3}, [%[words]]\n\t"
      "vst43.8 {q0, q1, q2, q3}, [%[words]]!\n\t"
      "add %[a], %[d], %[step]\n\t"
      "le lr, 1b\n\t"
      : [a] "+&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [words] "+&r"(words)
      : [channels] "r"(channels), [count] "r"(count), [step] "r"(step)
      : "q0", "q1", "q2", "q3", "lr", "cc", "memory");
  return words;
}

/// Transposes up to 16 channels of a line from a pixel on, which may lie outside the image. The
/// first and the last pixels take a way through 64 bytes.
static inline void transpose(const m3net_image_line* line, const int8_t* from, int32_t pixel,
                             int32_t padding, int32_t channels, int8_t* edge, int8_t* words,
                             int32_t count) {
  const mve_pred16_t present = vctp8q((uint32_t)channels);
  while (count > 0) {
    const int32_t inside = (line->inputs - pixel) / PIXELS_AT_ONCE;
    int32_t now = 1;
    if (pixel >= 0 && inside > 0) {
      now = inside < count ? inside : count;
      words = transpose_pixels(from + pixel * line->step, line->step, channels, now, words);
    } else {
      for (int32_t i = 0; i < PIXELS_AT_ONCE; ++i) {
        const int32_t place = pixel + i;
        int8x16_t items = vdupq_n_s8((int8_t)padding);
        if (place >= 0 && place < line->inputs) {
          items = vldrbq_z_s8(from + place * line->step, present);
        }
        vstrbq_s8(edge + i * CHANNELS_AT_ONCE, items);
      }
      words = transpose_pixels(edge, CHANNELS_AT_ONCE, channels, 1, words);
    }
    pixel += PIXELS_AT_ONCE * now;
    count -= now;
  }
}

/// Up to 16 channels of some outputs of a line, as the kernel reads them.
typedef struct {
  int8_t weights[20];  ///< Of a channel, between three zeros and others.
  const m3net_tap* tap;
  const m3net_channel* channel;
  const m3net_channel* group_end;  ///< Of up to four channels.
  int8_t* output;
  int32_t step;  ///< Bytes from an output to the fourth one after it.
  int32_t fours, rest;
  int32_t output_back, address_back;  ///< Bytes from the last outputs to the next channel's.
  int32_t taps;
  const m3net_channel* end;
  int32_t next_group;     ///< Bytes from the end of four channels' first weights.
  uint8_t places[16];     ///< Of the weights of a channel.
  uint32_t steps[4];      ///< Bytes to each of four outputs.
  uint32_t addresses[4];  ///< Of the words of the first vector, less a word of each channel.
} line_part;

/// Assembly that computes four outputs of a channel from one vector of its items, with weights that
/// lie one item further on for each output.
#define M3NET_LINE_OUTPUTS(scale) \
  "vldrw.u32 q0, [q3, #64]!\n\t"  \
  "vmladav.s8 r0, q0, q4\n\t"     \
  "vmladav.s8 r2, q0, q5\n\t"     \
  "vmladav.s8 r4, q0, q6\n\t"     \
  "vmladav.s8 r6, q0, q7\n\t"     \
  "vmov q0[2], q0[0], r0, r4\n\t" \
  "vmov q0[3], q0[1], r2, r6\n\t" \
  "vadd.i32 q0, q0, r8\n\t" scale
/// The sign of a sum lowers its product, which rounds halves away from zero.
#define M3NET_LINE_SCALE        \
  "vshr.s32 q2, q0, #31\n\t"    \
  "vadd.i32 q2, q2, r10\n\t"    \
  "vqrdmlah.s32 q2, q0, r9\n\t" \
  "vqshl.s32 q2, r11\n\t"       \
  "vshr.s32 q0, q2, #24\n\t"
/// As above if m3net_zero_is_least, with the multiplier in a vector.
#define M3NET_LINE_DOUBLE "vdup.32 q2, r9\n\t"
#define M3NET_LINE_SCALE_SHORT    \
  "vqrdmlash.s32 q0, q2, r10\n\t" \
  "vqshl.s32 q0, r11\n\t"         \
  "vshr.s32 q0, q0, #24\n\t"

/// Assembly that computes all channels. r7, which may be the frame pointer, is the place of a
/// channel's first weight.
#define M3NET_LINE(prepare, scale) \
  "push {r7}\n\t"                            \
  "ldr r0, [r1, #56]\n\t"                    \
  "ldr r7, [r1, #20]\n\t"                    \
  "ldr r3, [r1, #24]\n\t"                    \
  "ldrd r5, r12, [r1, #32]\n\t"              \
  "vldrw.32 q1, [r1, #84]\n\t"               \
  "vldrw.32 q3, [r1, #100]\n\t"              \
  "vctp.8 r0\n\t"                            \
  "1:\n\t"                                   \
  "vldrb.8 q0, [r1, #68]\n\t"                \
  "vpst\n\t"                                 \
  "vldrbt.8 q4, [r7, q0]\n\t"                \
  "add r7, r7, #1\n\t"                       \
  "vstrb.8 q4, [r1, #3]\n\t"                 \
  "vldrb.8 q5, [r1, #2]\n\t"                 \
  "vldrb.8 q6, [r1, #1]\n\t"                 \
  "vldrb.8 q7, [r1]\n\t"                     \
  "ldrd r8, r9, [r3], #8\n\t"                \
  "ldrd r10, r11, [r3], #8\n\t" prepare      \
  "ldr r0, [r1, #40]\n\t"                    \
  "wls lr, r0, 3f\n\t"                       \
  "2:\n\t" M3NET_LINE_OUTPUTS(scale)         \
  "vstrb.32 q0, [r5, q1]\n\t"                \
  "add r5, r5, r12\n\t"                      \
  "le lr, 2b\n\t"                            \
  "3:\n\t"                                   \
  "ldr r0, [r1, #44]\n\t"                    \
  "cbz r0, 4f\n\t"                           \
  "vctp.32 r0\n\t" M3NET_LINE_OUTPUTS(scale) \
  "vpst\n\t"                                 \
  "vstrbt.32 q0, [r5, q1]\n\t"               \
  "ldr r0, [r1, #56]\n\t"                    \
  "vctp.8 r0\n\t"                            \
  "4:\n\t"                                   \
  "ldrd r0, r2, [r1, #48]\n\t"               \
  "ldr r4, [r1, #28]\n\t"                    \
  "add r5, r5, r0\n\t"                       \
  "vadd.i32 q3, q3, r2\n\t"                  \
  "cmp r3, r4\n\t"                           \
  "bne 1b\n\t"                               \
  "ldrd r0, r2, [r1, #60]\n\t"               \
  "cmp r3, r0\n\t"                           \
  "beq 5f\n\t"                               \
  "adds r4, #64\n\t"                         \
  "cmp r4, r0\n\t"                           \
  "it hi\n\t"                                \
  "movhi r4, r0\n\t"                         \
  "str r4, [r1, #28]\n\t"                    \
  "add r7, r7, r2\n\t"                       \
  "b 1b\n\t"                                 \
  "5:\n\t"                                   \
  "pop {r7}\n\t"

/// Computes the channels of a part.
static inline void convolve_part(line_part* part, int32_t is_short) {
  register line_part* place __asm__("r1") = part;
  if (is_short) {
    __asm__ volatile(M3NET_LINE(M3NET_LINE_DOUBLE, M3NET_LINE_SCALE_SHORT)
                     :
                     : "r"(place)
                     : M3NET_PART_REGISTERS);
  } else {
    __asm__ volatile(M3NET_LINE("", M3NET_LINE_SCALE) : : "r"(place) : M3NET_PART_REGISTERS);
  }
}

/// Words of the pixels that some outputs read; the vector of the last outputs may end behind them.
typedef struct {
  int8_t words[LINE_WORDS * COLUMN_BYTES];
  line_part part;
  int8_t behind[12];
} line_memory;

/// Computes a line, some outputs of up to 16 channels at a time.
M3NET_SEPARATE void convolve_taps(const m3net_convolution* layer, const m3net_image_line* line,
                                  int32_t stride, int32_t* scratch) {
  (void)stride;  // is 1
  line_memory memory;
  line_part* part = &memory.part;
  const uint32_t taps = (uint32_t)(layer->window.rows * layer->window.columns);
  const uint32_t fitting = (LINE_WORDS * PIXELS_AT_ONCE + 1 - taps) & -(uint32_t)PIXELS_AT_ONCE;
  const int32_t most = fitting < LINE_OUTPUTS ? (int32_t)fitting : LINE_OUTPUTS;
  const int32_t channels = layer->output.channels, is_short = m3net_zero_is_least(layer);
  const int32_t group_weights = 4 * (int32_t)((taps + 1) & ~1u);
  vstrbq_s8(part->weights, vdupq_n_s8(0));
  vstrbq_s8(part->weights + sizeof(part->weights) - M3NET_VECTOR_BYTES, vdupq_n_s8(0));
  part->step = PIXELS_AT_ONCE * line->output_step;
  part->taps = (int32_t)taps;
  part->next_group = group_weights - 4;
  vstrbq_u8(part->places, vidupq_n_u8(0, 4));
  vstrwq_u32(part->steps, addresses_of(0, (uint32_t)line->output_step, 0));
  vstrwq_u32(part->addresses, addresses_of(memory.words, COLUMN_BYTES, COLUMN_BYTES));
  for (int32_t done = 0; done < line->outputs; done += most) {
    const int32_t left = line->outputs - done;
    const uint32_t count = (uint32_t)(left < most ? left : most);
    const int32_t vectors = (int32_t)((count + PIXELS_AT_ONCE - 1) / PIXELS_AT_ONCE);
    part->fours = (int32_t)(count / PIXELS_AT_ONCE);
    part->rest = (int32_t)(count % PIXELS_AT_ONCE);
    part->output_back = 1 - part->fours * part->step;
    part->address_back = 4 - vectors * COLUMN_BYTES;
    part->output = line->to + done * line->output_step;
    part->tap = layer->taps;
    for (int32_t first = 0; first < channels; first += CHANNELS_AT_ONCE) {
      const int32_t rest = channels - first;
      transpose(line, line->from + first, done - line->before, layer->padding, rest,
                (int8_t*)scratch, memory.words,
                (int32_t)((count + taps + PIXELS_AT_ONCE - 2) / PIXELS_AT_ONCE));
      part->channel = layer->channels + first;
      part->group_end = part->channel + (rest < 4 ? rest : 4);
      part->end = part->channel + (rest < CHANNELS_AT_ONCE ? rest : CHANNELS_AT_ONCE);
      convolve_part(part, is_short);
      part->tap += CHANNELS_AT_ONCE / 4 * group_weights;
      part->output += CHANNELS_AT_ONCE;
    }
  }
}

void m3net_convolve_depthwise_line(const m3net_convolution* layer, const int8_t* input,
                                   int8_t* output, int32_t* scratch) {
  const m3net_window* window = &layer->window;
  const int32_t stride = window->columns == 1 ? window->row_stride : window->column_stride;
  if (stride > 1 || window->rows * window->columns > LINE_TAPS) {
    m3net_convolve_depthwise_pixels(layer, input, output, scratch);
  } else {
    m3net_for_each_line(layer, input, output, convolve_taps, scratch);
  }
}

#endif
