// SPDX-License-Identifier: Apache-2.0
// Exchanges the model in the host's storage.
//
//   cut COUNT SEED      while the power fails: at each step of some updates and returns, then COUNT
//                       times at any step, each time on what the last cut left
//   mutate COUNT SEED   sends images with changed bytes, half of them with a right checksum, and
//                       damages images in the flash
//   refuse              what must not be taken, or not be done; prints statuses

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "crc32.h"
#include "model_slots.h"
#include "model_structure.h"
#include "platform.h"
#include "random.h"
#include "storage.h"

#define CLASSES M3NET_DETECTOR_CLASS_COUNT
#define OWN 0u  // the firmware's model; other models have numbers from 1
#define DAMAGED UINT32_MAX
#define MOST_BYTES 2048u
#define BLOCK 256u
#define PARTS 2u
#define FIRST_OFFSET (sizeof(m3net_model_image) + 4u * CLASSES)  // place of the first part's
#define MARKS 8u
#define MARK_WORDS 5u  // format, CRC, number, firmware, model

typedef struct {
  _Alignas(16) uint8_t bytes[MOST_BYTES];
  uint32_t size;
} image;

static m3net_model* model;
static uint64_t random_state;

static uint32_t random_below(uint32_t limit) { return host_random_below(&random_state, limit); }

// The scores of the test's input with the parts in use.
static uint32_t scores_crc(void) {
  int8_t* input = m3net_model_input(model);
  uint32_t value = 1;
  for (uint32_t i = 0; i < M3NET_MODEL_INPUT_BYTES; ++i) {
    value = value * 1664525u + 1013904223u;
    input[i] = (int8_t)(uint8_t)(value >> 24);
  }
  (void)m3net_model_run(model);
  return m3net_crc32(0, m3net_model_output(model), M3NET_MODEL_CLASS_COUNT);
}

static void put(image* made, const void* bytes, uint32_t count) {
  memcpy(made->bytes + made->size, bytes, count);
  made->size += count;
}

static void set_crc(image* made) {
  m3net_model_image* head = (m3net_model_image*)(void*)made->bytes;
  const uint32_t start = offsetof(m3net_model_image, bytes);
  head->crc = m3net_crc32(0, made->bytes + start, made->size - start);
}

// The image of a model: its number is in its name, its thresholds and its parts.
static void make(image* made, uint32_t number) {
  static const uint8_t structure[M3NET_MODEL_STRUCTURE_BYTES] = M3NET_MODEL_STRUCTURE;
  char texts[1024];
  uint32_t length = (uint32_t)snprintf(texts, sizeof(texts), "model%u", number) + 1u;
  length += (uint32_t)snprintf(texts + length, sizeof(texts) - length, "%064x", number) + 1u;
  for (uint32_t label = 0; label < CLASSES; ++label) {
    length += (uint32_t)snprintf(texts + length, sizeof(texts) - length, "c%u", label) + 1u;
  }
  memset(made, 0, sizeof(*made));
  m3net_model_image* head = (m3net_model_image*)(void*)made->bytes;
  head->format = M3NET_MODEL_IMAGE_FORMAT;
  head->layout = m3net_model_layout();
  memcpy(head->structure, structure, sizeof(structure));
  head->part_count = PARTS;
  head->text_bytes = length;
  made->size = sizeof(*head);
  for (uint32_t label = 0; label < CLASSES; ++label) {
    const uint16_t thresholds[2] = {(uint16_t)(2000u + number), (uint16_t)(1000u + label)};
    put(made, thresholds, sizeof(thresholds));
  }
  const uint32_t place = made->size + PARTS * sizeof(uint32_t) + length;
  const uint32_t first = (place + 15u) & ~15u;
  const uint32_t second = (first + m3net_model_part_bytes(0) + 15u) & ~15u;
  const uint32_t offsets[PARTS] = {first, second};
  put(made, offsets, sizeof(offsets));
  put(made, texts, length);
  uint64_t weights = 2u * number + 1u;
  for (uint32_t i = 0; i < m3net_model_part_bytes(0); ++i) {
    made->bytes[first + i] = (uint8_t)host_random_below(&weights, 3);
  }
  memcpy(made->bytes + second, &number, sizeof(number));
  made->size = second + (uint32_t)sizeof(number);
  head->bytes = made->size;
  m3net_model_use(made->bytes, offsets);
  head->test_crc = scores_crc();
  m3net_model_use(NULL, NULL);
  set_crc(made);
}

// The number of the model in use, or DAMAGED if anything of it is another's.
static uint32_t value_in_use(void) {
  uint32_t number = OWN;
  if (m3net_model_slots_active() == M3NET_MODEL_OWN) {
    const bool own = strcmp(m3net_model_name(), M3NET_MODEL_NAME) == 0 &&
                     m3net_model_label(CLASSES - 1u) == m3net_model_labels[CLASSES - 1u] &&
                     memcmp(m3net_model_detector(), &m3net_detector_defaults,
                            sizeof(m3net_detector_defaults)) == 0;
    return own ? OWN : DAMAGED;
  }
  static image expected;
  if (sscanf(m3net_model_name(), "model%u", &number) != 1) return DAMAGED;
  const uint32_t crc = scores_crc();
  make(&expected, number);
  m3net_model_slots_start();  // make() has changed the parts
  const m3net_detector_class* classes = m3net_model_detector()->classes;
  for (uint32_t label = 0; label < CLASSES; ++label) {
    if (classes[label].threshold != 2000u + number || classes[label].release != 1000u + label) {
      return DAMAGED;
    }
  }
  const m3net_model_image* head = (const m3net_model_image*)(void*)expected.bytes;
  return crc == head->test_crc && strcmp(m3net_model_label(1), "c1") == 0 ? number : DAMAGED;
}

// Starts as the firmware does; returns the model's number.
static uint32_t start(void) {
  m3net_model_slots_start();
  if (m3net_model_init(NULL, 0, NULL, 0, &model) != M3NET_OK) return DAMAGED;
  return value_in_use();
}

static m3net_status send(const image* sent) {
  m3net_status status = m3net_model_slots_begin(sent->size);
  for (uint32_t at = 0; status == M3NET_OK && at < sent->size; at += BLOCK) {
    const uint32_t left = sent->size - at;
    status = m3net_model_slots_write(at, sent->bytes + at, left < BLOCK ? left : BLOCK);
  }
  return status == M3NET_OK ? m3net_model_slots_commit(model) : status;
}

#define RETURN 0u  // instead of a model's number: to the former one

static m3net_status change(uint32_t number) {
  static image sent;
  if (number == RETURN) return m3net_model_slots_return();
  make(&sent, number);
  m3net_model_slots_start();  // make() has changed the parts
  return send(&sent);
}

// Changes the model while the power fails at a step, and starts again; returns the model then.
static uint32_t value_after_cut(uint32_t number, uint32_t step, host_cut kind) {
  (void)start();
  host_storage_steps = 0;
  host_storage_cut_step = step;
  host_storage_cut = kind;
  if (setjmp(host_restart) == 0 && change(number) != M3NET_OK) return DAMAGED;
  host_storage_cut_step = HOST_NO_CUT;
  return start();
}

static uint32_t value_after(uint32_t number) {
  return value_after_cut(number, HOST_NO_CUT, HOST_CUT_NOTHING);
}

// Cuts each step of a change; returns how many it has, or 0 if a model was neither.
static uint32_t cut_each_step(uint32_t number, uint32_t former, uint32_t value) {
  host_storage_keep();
  if (value_after(number) != value) return 0;
  const uint32_t steps = host_storage_steps;
  for (uint32_t step = 0; step < steps; ++step) {
    for (uint32_t kind = 0; kind < HOST_CUT_KINDS; ++kind) {
      host_storage_restore();
      const uint32_t after = value_after_cut(number, step, (host_cut)kind);
      const bool all_written = step + 1u == steps && kind == HOST_CUT_WHOLE;
      if (after != (all_written ? value : former)) return 0;
      // What the cut left is not an obstacle. A second return leads back.
      if (!(all_written && number == RETURN) && value_after(number) != value) return 0;
    }
  }
  host_storage_restore();
  return value_after(number) == value ? steps : 0;
}

static int cut(uint32_t count, uint64_t seed) {
  static const struct {
    uint32_t number, value;
  } changes[] = {{1, 1}, {2, 2}, {3, 3}, {RETURN, 2}, {4, 4}, {RETURN, 2}};
  random_state = seed * 2u + 1u;
  uint32_t value = start(), steps = 0, most_steps = 0, taken = 0;
  for (uint32_t i = 0; i < sizeof(changes) / sizeof(changes[0]); ++i) {
    const uint32_t of_change = cut_each_step(changes[i].number, value, changes[i].value);
    if (of_change == 0u) {
      fprintf(stderr, "change %u: neither the former nor the new model\n", i);
      return 1;
    }
    value = changes[i].value;
    steps += of_change;
    most_steps = of_change > most_steps ? of_change : most_steps;
  }
  for (uint32_t left = count; left > 0u; --left) {
    const uint32_t number = 1u + random_below(60000);
    const host_cut kind = (host_cut)random_below(HOST_CUT_KINDS);
    const uint32_t after = value_after_cut(number, random_below(most_steps + 8u), kind);
    if (after != value && after != number) {
      fprintf(stderr, "cut %u from the end: neither model\n", left);
      return 1;
    }
    taken += after == number;
    value = after;
  }
  static image last;
  make(&last, 1);
  printf("bytes=%u steps=%u cuts=%u taken=%u\n", last.size, steps, steps * HOST_CUT_KINDS + count,
         taken);
  return value_after(7) == 7u ? 0 : 1;
}

static void mutate_image(image* changed) {
  for (uint32_t left = 1u + random_below(4); left > 0u; --left) {
    const uint32_t most = random_below(2) ? 256u : changed->size;
    changed->bytes[random_below(most < changed->size ? most : changed->size)] ^=
        (uint8_t)(1u << random_below(8));
  }
  if (random_below(4) == 0u) changed->size = 1u + random_below(changed->size);
}

static int mutate(uint32_t count, uint64_t seed) {
  static image sent, changed;
  random_state = seed * 2u + 1u;
  if (value_after(1) != 1u || value_after(2) != 2u) return 1;
  uint32_t refused = 0, right = 0;
  for (uint32_t left = count; left > 0u; --left) {
    const bool with_crc = random_below(2) == 0u;
    make(&sent, 3);
    changed = sent;
    mutate_image(&changed);
    if (with_crc && changed.size >= sizeof(m3net_model_image)) set_crc(&changed);
    if (changed.size == sent.size && memcmp(changed.bytes, sent.bytes, sent.size) == 0) continue;
    host_storage_keep();
    (void)start();
    const m3net_status status = send(&changed);
    m3net_model_slots_start();
    if (status != M3NET_OK) {
      ++refused;
      if (value_in_use() != 2u) return 1;
    } else if (!with_crc) {
      fprintf(stderr, "a damaged image was taken\n");
      return 1;
    } else {
      ++right;  // such as another name with a right checksum
      (void)scores_crc();
    }
    host_storage_restore();
  }
  // The flash loses a bit of the model in use: the former one runs, then the firmware's own.
  const uint32_t slot_bytes = m3net_board_slots.sectors * m3net_board_storage.sector_bytes;
  const uint32_t log = m3net_board_storage.sector_count * m3net_board_storage.sector_bytes;
  make(&sent, 2);
  for (uint32_t at = 0; at < sent.size; ++at) {
    host_storage_keep();
    host_storage_damage(log + slot_bytes + 256u + at, 4);
    if (start() != 1u) return 1;
    host_storage_damage(log + 256u + at % sent.size, 1);
    if (start() != OWN || value_after(5) != 5u) return 1;
    host_storage_restore();
  }
  // A bit of the mark is lost.
  for (uint32_t at = 0; at < MARK_WORDS * sizeof(uint32_t); ++at) {
    for (uint32_t bit = 0; bit < 8u; ++bit) {
      host_storage_keep();
      host_storage_damage(log + slot_bytes + at, (uint8_t)(1u << bit));
      if (start() != 1u) return 1;
      host_storage_restore();
    }
  }
  printf("refused=%u right=%u\n", refused, right);
  return 0;
}

static void print(const char* what, m3net_status status) {
  printf("%s: %s, then %u\n", what, m3net_status_name(status), start());
}

static m3net_status send_changed(uint32_t offset, uint8_t bits) {
  static image changed;
  make(&changed, 9);
  changed.bytes[offset] ^= bits;
  set_crc(&changed);
  m3net_model_slots_start();
  return send(&changed);
}

// Makes the marks of a slot another firmware's.
static void disown(uint32_t slot) {
  const m3net_storage* storage = &m3net_board_storage;
  const uint32_t start =
      storage->sector_bytes * (storage->sector_count + slot * m3net_board_slots.sectors);
  for (uint32_t place = 0; place < MARKS; ++place) {
    uint32_t before[MARK_WORDS], after[MARK_WORDS];
    const uint32_t offset = start + place * M3NET_STORAGE_MAX_WORD_BYTES;
    (void)m3net_board_storage_read(offset, before, sizeof(before));
    memcpy(after, before, sizeof(after));
    after[3] ^= 1u;
    after[1] = m3net_crc32(0, &after[2], sizeof(after) - 2u * sizeof(after[0]));
    for (uint32_t i = 0; i < sizeof(before); ++i) {
      const uint8_t bits = (uint8_t)(((uint8_t*)before)[i] ^ ((uint8_t*)after)[i]);
      host_storage_damage(offset + i, bits);
    }
  }
}

static int refuse(void) {
  static image sent;
  (void)start();
  print("back from the firmware's own model", change(RETURN));
  print("bytes that nobody announced", m3net_model_slots_write(0, sent.bytes, BLOCK));
  print("the end of no update", m3net_model_slots_commit(model));
  print("more than a slot", m3net_model_slots_begin(m3net_model_slots_room() + 1u));
  print("nothing", m3net_model_slots_begin(0));
  print("the first model", change(1));
  make(&sent, 2);
  m3net_model_slots_start();
  (void)m3net_model_slots_begin(sent.size);
  (void)m3net_model_slots_write(0, sent.bytes, BLOCK);
  print("a part of a model", m3net_model_slots_commit(model));
  (void)m3net_model_slots_begin(sent.size);
  (void)m3net_model_slots_write(0, sent.bytes, BLOCK);
  print("a gap", m3net_model_slots_write(2u * BLOCK, sent.bytes, BLOCK));
  print("another format", send_changed(0, 1));
  print("another layout", send_changed(offsetof(m3net_model_image, layout), 1));
  print("another structure", send_changed(offsetof(m3net_model_image, structure), 1));
  print("a part more", send_changed(offsetof(m3net_model_image, part_count), 4));
  print("other scores", send_changed(offsetof(m3net_model_image, test_crc), 1));
  print("texts beyond the image", send_changed(offsetof(m3net_model_image, text_bytes) + 2, 1));
  print("a part beyond the image", send_changed(FIRST_OFFSET + 2, 1));
  make(&sent, 9);
  memcpy(sent.bytes + FIRST_OFFSET, sent.bytes + FIRST_OFFSET + 4, 4);
  set_crc(&sent);
  m3net_model_slots_start();
  print("a part whose end is beyond the image", send(&sent));
  make(&sent, 2);
  print("a release above its threshold", send_changed(sizeof(m3net_model_image) + 3, 0x80));
  host_storage_worn = true;
  print("a worn storage", change(3));
  host_storage_worn = false;
  static image other;
  make(&other, 3);
  (void)start();
  m3net_status status = send(&sent);
  if (status == M3NET_OK) status = send(&other);
  print("a second model before the restart", status);
  (void)send(&other);
  print("back before the restart", m3net_model_slots_return());
  print("back from a slot that was begun anew",
        send_changed(0, 1) == M3NET_OK ? M3NET_OK : m3net_model_slots_return());
  print("a model again", change(4));
  (void)send_changed(offsetof(m3net_model_image, test_crc), 1);
  print("back to one that failed its test", m3net_model_slots_return());
  print("the same model again", change(4));
  print("another one", change(5));
  host_storage_keep();
  for (uint32_t slot = 0; slot < M3NET_MODEL_SLOTS; ++slot) disown(slot);
  print("marks of another firmware", M3NET_OK);
  host_storage_restore();
  (void)start();
  for (uint32_t i = 0; i < 14u; ++i) (void)(change(RETURN) == M3NET_OK && start() != DAMAGED);
  print("back too often", change(RETURN));
  return 0;
}

int main(int count, char** words) {
  const char* command = count > 1 ? words[1] : "";
  host_storage_blank();
  if (count == 4 && strcmp(command, "cut") == 0) {
    return cut((uint32_t)strtoul(words[2], NULL, 10), strtoull(words[3], NULL, 10));
  }
  if (count == 4 && strcmp(command, "mutate") == 0) {
    return mutate((uint32_t)strtoul(words[2], NULL, 10), strtoull(words[3], NULL, 10));
  }
  if (count == 2 && strcmp(command, "refuse") == 0) return refuse();
  fprintf(stderr, "say cut COUNT SEED, mutate COUNT SEED, or refuse\n");
  return 2;
}
