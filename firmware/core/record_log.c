// SPDX-License-Identifier: Apache-2.0

#include "record_log.h"

#include <stddef.h>
#include <string.h>

#include "crc32.h"
#include "platform.h"

#define FORMAT 0x3152334Du  // "M3R1": another layout of records gets another number
#define ERASED 0xFFu

// A record is this, its content, and erased bytes up to a whole word.
typedef struct {
  uint32_t format;
  uint32_t crc;  // of all that follows
  uint32_t number;
  uint32_t owner;
  uint32_t bytes;
} header;

static uint32_t whole_words(uint32_t bytes) {
  const uint32_t word_bytes = m3net_board_storage.word_bytes;
  return (bytes + word_bytes - 1u) / word_bytes * word_bytes;
}

static uint32_t crc_of(const header* head) {
  return m3net_crc32(0, &head->number, sizeof(*head) - offsetof(header, number));
}

// Reads the record at an offset, behind which its sector has `room` bytes. Returns whether it is
// whole.
static bool read_record(uint32_t offset, uint32_t room, m3net_record* record) {
  header head;
  if (room < sizeof(head) || m3net_board_storage_read(offset, &head, sizeof(head)) != M3NET_OK ||
      head.format != FORMAT || head.bytes > room - sizeof(head)) {
    return false;
  }
  *record = (m3net_record){head.number, head.owner, offset + sizeof(head), head.bytes};
  uint32_t crc = crc_of(&head);
  uint8_t piece[M3NET_STORAGE_MAX_WORD_BYTES];
  for (uint32_t at = 0; at < head.bytes; at += sizeof(piece)) {
    const uint32_t left = head.bytes - at;
    const uint32_t count = left < sizeof(piece) ? left : sizeof(piece);
    if (m3net_board_storage_read(record->offset + at, piece, count) != M3NET_OK) return false;
    crc = m3net_crc32(crc, piece, count);
  }
  return crc == head.crc;
}

// Walks over the whole records of a sector, of which each starts where the one before ends.
// Replaces `newest` by those with a higher number; returns the offset behind the last.
static uint32_t walk(uint32_t sector, m3net_record* newest) {
  const uint32_t start = sector * m3net_board_storage.sector_bytes;
  const uint32_t end = start + m3net_board_storage.sector_bytes;
  uint32_t at = start;
  m3net_record record;
  while (read_record(at, end - at, &record)) {
    if (record.number > newest->number) *newest = record;
    at = start + whole_words(record.offset + record.bytes - start);
  }
  return at;
}

bool m3net_record_log_newest(m3net_record* record) {
  memset(record, 0, sizeof(*record));
  for (uint32_t sector = 0; sector < m3net_board_storage.sector_count; ++sector) {
    (void)walk(sector, record);
  }
  return record->number > 0u;
}

// What a power cut left of a record must not be written over: words of some chips take one
// programming between two erases.
static bool is_erased(uint32_t offset, uint32_t bytes) {
  uint8_t word[M3NET_STORAGE_MAX_WORD_BYTES];
  const uint32_t word_bytes = m3net_board_storage.word_bytes;
  for (uint32_t at = 0; at < bytes; at += word_bytes) {
    if (m3net_board_storage_read(offset + at, word, word_bytes) != M3NET_OK) return false;
    for (uint32_t i = 0; i < word_bytes; ++i) {
      if (word[i] != ERASED) return false;
    }
  }
  return true;
}

static m3net_status write_record(uint32_t offset, const header* head, const uint8_t* content) {
  const uint32_t word_bytes = m3net_board_storage.word_bytes;
  const uint32_t size = whole_words(sizeof(*head) + head->bytes);
  for (uint32_t at = 0; at < size; at += word_bytes) {
    uint8_t word[M3NET_STORAGE_MAX_WORD_BYTES] __attribute__((aligned(4)));
    memset(word, ERASED, sizeof(word));
    for (uint32_t i = 0; i < word_bytes && at + i < sizeof(*head) + head->bytes; ++i) {
      const uint32_t place = at + i;
      word[i] =
          place < sizeof(*head) ? ((const uint8_t*)head)[place] : content[place - sizeof(*head)];
    }
    const m3net_status status = m3net_board_storage_program(offset + at, word);
    if (status != M3NET_OK) return status;
  }
  m3net_record written;
  const bool whole = read_record(offset, size, &written) && written.number == head->number;
  return whole ? M3NET_OK : M3NET_ERROR_HARDWARE;
}

m3net_status m3net_record_log_append(uint32_t owner, const void* content, uint32_t bytes) {
  const uint32_t sector_bytes = m3net_board_storage.sector_bytes;
  if (bytes > sector_bytes - sizeof(header)) return M3NET_ERROR_FULL;
  const uint32_t size = whole_words(sizeof(header) + bytes);
  m3net_record newest;
  const bool any = m3net_record_log_newest(&newest);
  header head = {.format = FORMAT, .number = newest.number + 1u, .owner = owner, .bytes = bytes};
  head.crc = m3net_crc32(crc_of(&head), content, bytes);
  uint32_t next = 0;
  if (any) {
    // Where the record starts: one without content may end with its sector.
    const uint32_t sector = (newest.offset - sizeof(header)) / sector_bytes;
    const uint32_t at = walk(sector, &newest);
    const uint32_t room = (sector + 1u) * sector_bytes - at;
    if (size <= room && is_erased(at, size) && write_record(at, &head, content) == M3NET_OK) {
      return M3NET_OK;
    }
    next = (sector + 1u) % m3net_board_storage.sector_count;
  }
  const m3net_status status = m3net_board_storage_erase(next);
  return status == M3NET_OK ? write_record(next * sector_bytes, &head, content) : status;
}
