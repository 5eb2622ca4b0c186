// SPDX-License-Identifier: Apache-2.0

#include "model_slots.h"

#if M3NET_CAN_UPDATE

#include <stddef.h>
#include <string.h>

#include "crc32.h"
#include "model_structure.h"
#include "platform.h"

#define CLASSES M3NET_DETECTOR_CLASS_COUNT
#define ERASED 0xFFu
#define NOBODY (M3NET_MODEL_SLOTS + 1u)
#define PART_ALIGNMENT 16u

// A slot starts with room for marks; an image follows. A mark says which model the next start
// takes: the one of its slot, or the firmware's own. The newest whole mark of this firmware counts.
// An update erases a slot's marks before its image.
#define MARKS 8u
#define MARK_BYTES M3NET_STORAGE_MAX_WORD_BYTES  // whole words of every storage
#define HEAD_BYTES (MARKS * MARK_BYTES)
#define MARK_FORMAT 0x314B334Du  // "M3K1"

typedef struct {
  uint32_t format;
  uint32_t crc;  // of all that follows
  uint32_t number;
  uint32_t firmware;  // whose mark it is
  uint32_t model;
} mark;

static const uint8_t structure[M3NET_MODEL_STRUCTURE_BYTES] = M3NET_MODEL_STRUCTURE;

static struct {
  uint32_t active;  // what runs
  uint32_t next;    // what the next start takes
  uint32_t marked;  // slot of the mark that decides; NOBODY without one
  uint32_t number;  // of the newest mark
  const uint8_t* image;
  m3net_detector_config detector;
  uint32_t updated;  // slot of the update; NOBODY without one
  uint32_t bytes;    // of its image
  uint32_t written;
} state = {.active = M3NET_MODEL_OWN, .next = M3NET_MODEL_OWN, .marked = NOBODY, .updated = NOBODY};

static uint32_t slot_bytes(void) {
  return m3net_board_slots.sectors * m3net_board_storage.sector_bytes;
}

static uint32_t slot_offset(uint32_t slot) {
  return m3net_board_storage.sector_count * m3net_board_storage.sector_bytes + slot * slot_bytes();
}

static uint32_t image_offset(uint32_t slot) { return slot_offset(slot) + HEAD_BYTES; }

const uint8_t* m3net_model_slots_structure(void) { return structure; }

uint32_t m3net_model_slots_room(void) { return slot_bytes() - HEAD_BYTES; }

// --- an image ----------------------------------------------------------------------------------

typedef struct {
  uint16_t threshold;
  uint16_t release;
} class_limits;

static const class_limits* limits_of(const uint8_t* image) {
  return (const class_limits*)(const void*)(image + sizeof(m3net_model_image));
}

static const uint32_t* offsets_of(const uint8_t* image) {
  return (const uint32_t*)(const void*)(limits_of(image) + CLASSES);
}

static const char* texts_of(const uint8_t* image) {
  return (const char*)(offsets_of(image) + m3net_model_part_count());
}

static const char* text_of(const uint8_t* image, uint32_t index) {
  const char* text = texts_of(image);
  for (; index > 0u; --index) text += strlen(text) + 1u;
  return text;
}

// Whether thresholds, texts and parts lie within an image, whose bytes are as they were written.
static bool fits(const uint8_t* image, const m3net_model_image* head) {
  uint32_t end = (uint32_t)((const uint8_t*)texts_of(image) - image);
  if (end > head->bytes || head->text_bytes == 0u || head->text_bytes > head->bytes - end) {
    return false;
  }
  const char* texts = texts_of(image);
  uint32_t ends = 0;
  for (uint32_t i = 0; i < head->text_bytes; ++i) ends += texts[i] == '\0';
  if (ends != 2u + CLASSES || texts[head->text_bytes - 1u] != '\0' ||
      strlen(text_of(image, 1)) != M3NET_MODEL_SHA256_CHARACTERS) {
    return false;
  }
  end += head->text_bytes;
  for (uint32_t part = 0; part < head->part_count; ++part) {
    const uint32_t offset = offsets_of(image)[part];
    if (offset % PART_ALIGNMENT != 0u || offset < end || offset > head->bytes ||
        m3net_model_part_bytes(part) > head->bytes - offset) {
      return false;
    }
  }
  for (uint32_t label = 0; label < CLASSES; ++label) {
    const class_limits* limits = &limits_of(image)[label];
    // No detector takes others.
    if (limits->release == 0u || limits->release > limits->threshold) return false;
  }
  return true;
}

// Checks the image of a slot. Words that a power cut left unreadable are read by the storage's
// function only; the rest is read in place once the checksum is right.
static m3net_status check(uint32_t slot, m3net_model_image* head) {
  const uint32_t start = image_offset(slot);
  if (m3net_board_storage_read(start, head, sizeof(*head)) != M3NET_OK) return M3NET_ERROR_CRC;
  if (head->format != M3NET_MODEL_IMAGE_FORMAT || head->bytes < sizeof(*head) ||
      head->bytes > m3net_model_slots_room()) {
    return M3NET_ERROR_MODEL;
  }
  uint32_t crc = 0;
  uint8_t piece[M3NET_STORAGE_MAX_WORD_BYTES];
  for (uint32_t at = offsetof(m3net_model_image, bytes); at < head->bytes;) {
    const uint32_t left = head->bytes - at;
    const uint32_t count = left < sizeof(piece) ? left : (uint32_t)sizeof(piece);
    if (m3net_board_storage_read(start + at, piece, count) != M3NET_OK) return M3NET_ERROR_CRC;
    crc = m3net_crc32(crc, piece, count);
    at += count;
  }
  if (crc != head->crc) return M3NET_ERROR_CRC;
  if (head->layout != m3net_model_layout() || head->part_count != m3net_model_part_count() ||
      memcmp(head->structure, structure, sizeof(structure)) != 0) {
    return M3NET_ERROR_CONFIG;
  }
  return fits(m3net_board_slots.bytes + start, head) ? M3NET_OK : M3NET_ERROR_MODEL;
}

// --- marks -------------------------------------------------------------------------------------

// Identity of the firmware's own model and detector. Another firmware starts with its own model.
static uint32_t firmware(void) {
  static const char sha256[] = M3NET_MODEL_SHA256;
  const uint32_t crc = m3net_crc32(0, sha256, sizeof(sha256) - 1u);
  return m3net_crc32(crc, &m3net_detector_defaults, sizeof(m3net_detector_defaults));
}

static uint32_t crc_of(const mark* one) {
  return m3net_crc32(0, &one->number, sizeof(*one) - offsetof(mark, number));
}

static bool read_mark(uint32_t slot, uint32_t place, mark* one) {
  return m3net_board_storage_read(slot_offset(slot) + place * MARK_BYTES, one, sizeof(*one)) ==
             M3NET_OK &&
         one->format == MARK_FORMAT && one->crc == crc_of(one) && one->firmware == firmware() &&
         (one->model == slot || one->model == M3NET_MODEL_OWN);
}

// Finds the newest whole mark with a number below a limit; returns its slot, or NOBODY.
static uint32_t newest_mark(uint32_t limit, mark* newest) {
  uint32_t found = NOBODY;
  newest->number = 0;
  for (uint32_t slot = 0; slot < M3NET_MODEL_SLOTS; ++slot) {
    for (uint32_t place = 0; place < MARKS; ++place) {
      mark one;
      if (!read_mark(slot, place, &one) || one.number >= limit || one.number <= newest->number) {
        continue;
      }
      *newest = one;
      found = slot;
    }
  }
  return found;
}

// Whether a slot holds a whole model that a start once took.
static bool holds_former(uint32_t slot) {
  m3net_model_image head;
  if (check(slot, &head) != M3NET_OK) return false;
  for (uint32_t place = 0; place < MARKS; ++place) {
    mark one;
    if (read_mark(slot, place, &one) && one.model == slot) return true;
  }
  return false;
}

static bool is_erased(uint32_t offset, uint32_t bytes) {
  uint8_t piece[MARK_BYTES];
  if (m3net_board_storage_read(offset, piece, bytes) != M3NET_OK) return false;
  for (uint32_t i = 0; i < bytes; ++i) {
    if (piece[i] != ERASED) return false;
  }
  return true;
}

static m3net_status write_words(uint32_t offset, const uint8_t* bytes, uint32_t count) {
  const uint32_t word_bytes = m3net_board_storage.word_bytes;
  for (uint32_t at = 0; at < count; at += word_bytes) {
    uint8_t word[M3NET_STORAGE_MAX_WORD_BYTES] __attribute__((aligned(4)));
    const uint32_t left = count - at;
    memset(word, ERASED, sizeof(word));
    memcpy(word, bytes + at, left < word_bytes ? left : word_bytes);
    const m3net_status status = m3net_board_storage_program(offset + at, word);
    if (status != M3NET_OK) return status;
  }
  return M3NET_OK;
}

// Makes a model the next start's by a mark in a slot. What a power cut left of a mark stays there.
static m3net_status write_mark(uint32_t slot, uint32_t model) {
  mark one = {
      .format = MARK_FORMAT, .number = state.number + 1u, .firmware = firmware(), .model = model};
  one.crc = crc_of(&one);
  m3net_status status = M3NET_ERROR_FULL;
  for (uint32_t place = 0; place < MARKS; ++place) {
    const uint32_t offset = slot_offset(slot) + place * MARK_BYTES;
    if (!is_erased(offset, MARK_BYTES)) continue;
    mark written;
    status = write_words(offset, (const uint8_t*)&one, sizeof(one));
    if (status == M3NET_OK && read_mark(slot, place, &written) && written.crc == one.crc) {
      state.number = one.number;
      state.marked = slot;
      state.next = model;
      return M3NET_OK;
    }
  }
  return status == M3NET_OK ? M3NET_ERROR_HARDWARE : status;
}

// --- the model in use --------------------------------------------------------------------------

static void use(const uint8_t* image) {
  m3net_model_use(image, image == NULL ? NULL : offsets_of(image));
}

static void take_thresholds(void) {
  state.detector = m3net_detector_defaults;
  for (uint32_t label = 0; state.image != NULL && label < CLASSES; ++label) {
    state.detector.classes[label].threshold = limits_of(state.image)[label].threshold;
    state.detector.classes[label].release = limits_of(state.image)[label].release;
  }
}

void m3net_model_slots_start(void) {
  memset(&state, 0, sizeof(state));
  state.active = M3NET_MODEL_OWN;
  state.updated = NOBODY;
  state.marked = NOBODY;
  mark one;
  uint32_t slot;
  for (uint32_t limit = UINT32_MAX; (slot = newest_mark(limit, &one)) != NOBODY;
       limit = one.number) {
    if (state.number == 0u) state.number = one.number;
    m3net_model_image head;
    if (one.model == M3NET_MODEL_OWN || check(slot, &head) == M3NET_OK) {
      state.marked = slot;
      state.active = one.model;
      break;
    }
  }
  state.next = state.active;
  if (state.active != M3NET_MODEL_OWN) {
    state.image = m3net_board_slots.bytes + image_offset(state.active);
  }
  take_thresholds();
  use(state.image);
}

uint32_t m3net_model_slots_active(void) { return state.active; }

uint32_t m3net_model_slots_next(void) { return state.next; }

const char* m3net_model_name(void) {
  return state.image == NULL ? M3NET_MODEL_NAME : text_of(state.image, 0);
}

const char* m3net_model_sha256(void) {
  return state.image == NULL ? M3NET_MODEL_SHA256 : text_of(state.image, 1);
}

const char* m3net_model_label(uint32_t label) {
  return state.image == NULL ? m3net_model_labels[label] : text_of(state.image, 2u + label);
}

const m3net_detector_config* m3net_model_detector(void) { return &state.detector; }

// --- updates -----------------------------------------------------------------------------------

m3net_status m3net_model_slots_begin(uint32_t bytes) {
  // The slot with the mark that decides must stay, and so must the one that runs.
  const uint32_t slot = state.marked == 0u ? 1u : 0u;
  state.updated = NOBODY;
  if (bytes > m3net_model_slots_room() || bytes == 0u) return M3NET_ERROR_FULL;
  if (slot == state.active) return M3NET_ERROR_ARGUMENT;
  const uint32_t first = slot_offset(slot) / m3net_board_storage.sector_bytes;
  const m3net_status status = m3net_board_storage_erase(first);
  if (status != M3NET_OK) return status;
  state.updated = slot;
  state.bytes = bytes;
  state.written = 0;
  return M3NET_OK;
}

m3net_status m3net_model_slots_write(uint32_t offset, const uint8_t* bytes, uint32_t count) {
  const uint32_t word_bytes = m3net_board_storage.word_bytes;
  if (state.updated == NOBODY || offset != state.written || count > state.bytes - offset ||
      (count % word_bytes != 0u && offset + count != state.bytes)) {
    return M3NET_ERROR_ARGUMENT;
  }
  for (uint32_t at = 0; at < count; at += word_bytes) {
    const uint32_t place = image_offset(state.updated) + offset + at;
    m3net_status status = M3NET_OK;
    if (place % m3net_board_storage.sector_bytes == 0u) {
      status = m3net_board_storage_erase(place / m3net_board_storage.sector_bytes);
    }
    const uint32_t left = count - at;
    if (status == M3NET_OK) {
      status = write_words(place, bytes + at, left < word_bytes ? left : word_bytes);
    }
    if (status != M3NET_OK) {
      state.updated = NOBODY;
      return status;
    }
  }
  state.written += count;
  return M3NET_OK;
}

// Runs an image on an input that m3net_tf.export.model_image makes, too.
static m3net_status test(m3net_model* model, const uint8_t* image, uint32_t expected) {
  use(image);
  int8_t* input = m3net_model_input(model);
  uint32_t value = 1;
  for (uint32_t i = 0; i < M3NET_MODEL_INPUT_BYTES; ++i) {
    value = value * 1664525u + 1013904223u;
    input[i] = (int8_t)(uint8_t)(value >> 24);
  }
  m3net_status status = m3net_model_run(model);
  if (status == M3NET_OK &&
      m3net_crc32(0, m3net_model_output(model), M3NET_MODEL_CLASS_COUNT) != expected) {
    status = M3NET_ERROR_INVOKE;
  }
  use(state.image);
  return status;
}

m3net_status m3net_model_slots_commit(m3net_model* model) {
  const uint32_t slot = state.updated;
  if (slot == NOBODY || state.written != state.bytes) return M3NET_ERROR_ARGUMENT;
  m3net_model_image head;
  m3net_status status = check(slot, &head);
  if (status == M3NET_OK && head.bytes != state.bytes) status = M3NET_ERROR_MODEL;
  if (status == M3NET_OK) {
    status = test(model, m3net_board_slots.bytes + image_offset(slot), head.test_crc);
  }
  if (status != M3NET_OK) return status;
  state.updated = NOBODY;
  return write_mark(slot, slot);
}

uint32_t m3net_model_slots_former(void) {
  if (state.next != state.active) return state.active;
  const uint32_t other = state.active == 0u ? 1u : 0u;
  const bool returns = state.active != M3NET_MODEL_OWN && holds_former(other);
  return returns ? other : M3NET_MODEL_OWN;
}

m3net_status m3net_model_slots_return(void) {
  const uint32_t former = m3net_model_slots_former();
  if (former == state.next) return M3NET_ERROR_ARGUMENT;
  if (former == M3NET_MODEL_OWN) return write_mark(state.marked, former);
  return write_mark(former, former);
}

#endif  // M3NET_CAN_UPDATE
