// SPDX-License-Identifier: Apache-2.0
// The monitor's recordings: from the microphone to the buffer, and from there to the host.

#include <string.h>

#include "console.h"
#include "monitor_parts.h"
#include "platform.h"

#define HOP_BYTES M3NET_MONITOR_HOP_BYTES
#define SLACK_US 1000000u

typedef struct {
  uint8_t* buffer;
  uint32_t bytes;
  volatile uint32_t filled;  // written by the microphone's interrupt
} recording;

static void record_half(void* context, const int16_t* half) {
  recording* record = context;
  const uint32_t left = record->bytes - record->filled;
  const uint32_t count = left < HOP_BYTES ? left : HOP_BYTES;
  memcpy(record->buffer + record->filled, half, count);
  record->filled += count;
}

static void wait_for_recording(m3net_monitor* monitor, const recording* record,
                               uint64_t give_up_us) {
  while (m3net_board_time_us() < give_up_us) {
    m3net_board_watchdog_feed();  // a large buffer holds more sound than the watchdog waits for
    const uint32_t state = m3net_platform_lock();
    const bool full = record->filled == record->bytes;
    if (!full) m3net_duty_sleep(&monitor->duty);
    m3net_platform_unlock(state);
    if (full) break;
  }
}

void m3net_monitor_record(m3net_monitor* monitor, const m3net_monitor_words* words) {
  uint32_t samples = 0;
  if (m3net_monitor_number(words->word[1], &samples) != M3NET_OK || samples == 0u ||
      samples > monitor->buffer_bytes / 2u) {
    m3net_console_error_begin("number");
    m3net_console_text("the recording must have at least one sample and at most ");
    m3net_console_u32(monitor->buffer_bytes / 2u);
    m3net_console_end();
    return;
  }
  m3net_live_stop(monitor->live);
  m3net_monitor_forget_input(monitor);
  recording record = {.buffer = monitor->buffer, .bytes = 2u * samples, .filled = 0};
  const uint64_t give_up_us = m3net_board_time_us() + SLACK_US +
                              (uint64_t)samples * 1000000u / M3NET_FRONTEND_SAMPLE_RATE_HZ;
  if (m3net_board_audio_start(M3NET_FRONTEND_SAMPLE_RATE_HZ, monitor->live->halves,
                              M3NET_FRONTEND_HOP_SAMPLES, record_half, &record) != M3NET_OK) {
    m3net_monitor_error(monitor, "no_audio", "no audio hardware: see docs/guide/monitor.md");
    return;
  }
  wait_for_recording(monitor, &record, give_up_us);
  m3net_board_audio_stop();
  if (record.filled < record.bytes) {
    m3net_monitor_error(monitor, "silent", "the microphone gave too few samples: check its wiring");
    return;
  }
  m3net_monitor_ok("record");
  m3net_console_field("bytes", record.bytes);
  m3net_console_end();
}

void m3net_monitor_read(m3net_monitor* monitor, const m3net_monitor_words* words) {
  uint32_t offset = 0, bytes = 0;
  if (m3net_monitor_number(words->word[1], &offset) != M3NET_OK ||
      m3net_monitor_number(words->word[2], &bytes) != M3NET_OK || bytes == 0u ||
      bytes > M3NET_MONITOR_BLOCK_BYTES || offset > monitor->buffer_bytes ||
      bytes > monitor->buffer_bytes - offset) {
    m3net_monitor_bad_number(monitor);
    return;
  }
  m3net_console_begin("data");
  m3net_console_field("offset", offset);
  m3net_console_field("bytes", bytes);
  m3net_monitor_crc_field(monitor->buffer + offset, bytes);
  m3net_console_end();
  m3net_board_write((const char*)monitor->buffer + offset, bytes);
  m3net_console_end();
  m3net_monitor_ok("read");
  m3net_console_end();
}
