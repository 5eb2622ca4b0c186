// SPDX-License-Identifier: Apache-2.0
// The monitor's input: blocks of features or samples, for the model or for the stream.

#include <string.h>

#include "console.h"
#include "crc32.h"
#include "model_data.h"
#include "monitor_parts.h"
#include "platform.h"

#define HOP M3NET_FRONTEND_HOP_SAMPLES
#define HOP_BYTES M3NET_MONITOR_HOP_BYTES
#define MAX_CLIP_SAMPLES 0x00FFFFFFu

void m3net_monitor_forget_input(m3net_monitor* monitor) {
  monitor->load = M3NET_LOAD_NONE;
  monitor->eembc.size = 0;
  monitor->eembc.position = 0;
}

bool m3net_monitor_has_input(const m3net_monitor* monitor) {
  return monitor->load != M3NET_LOAD_NONE && monitor->load != M3NET_LOAD_MODEL &&
         monitor->next == monitor->load_bytes;
}

void m3net_monitor_load(m3net_monitor* monitor, const m3net_monitor_words* words) {
  uint32_t samples = 0;
  m3net_live_stop(monitor->live);
  m3net_monitor_forget_input(monitor);
  if (m3net_monitor_is(words->word[1], "features") && words->count == 2u) {
    monitor->load = M3NET_LOAD_FEATURES;
    monitor->load_bytes = M3NET_MODEL_INPUT_BYTES;
  } else if (m3net_monitor_is(words->word[1], "pcm") && words->count == 3u) {
    if (m3net_monitor_number(words->word[2], &samples) != M3NET_OK ||
        samples < M3NET_WINDOW_SAMPLES || samples > MAX_CLIP_SAMPLES) {
      m3net_console_error_begin("number");
      m3net_console_text("the clip must have 2^24 samples at most, and at least ");
      m3net_console_u32(M3NET_WINDOW_SAMPLES);
      m3net_console_end();
      return;
    }
    monitor->load = M3NET_LOAD_PCM;
    monitor->load_bytes = 2u * samples;
    m3net_recognizer_reset(monitor->recognizer);
  } else {
    m3net_monitor_error(monitor, "usage", "say load features, or load pcm SAMPLES");
    return;
  }
  monitor->next = 0;
  monitor->hop_bytes = 0;
  monitor->frames = 0;
  monitor->frames_expected =
      samples == 0u ? 0u : 1u + (samples - M3NET_FRONTEND_FRAME_SAMPLES) / HOP;
  monitor->frontend_steps = 0;
  m3net_monitor_ok("load");
  m3net_console_field("bytes", monitor->load_bytes);
  m3net_console_end();
}

void m3net_monitor_drain(m3net_monitor* monitor, const char* code, const char* text) {
  monitor->state = M3NET_MONITOR_DRAIN;
  monitor->drain_code = code;
  monitor->drain_text = text;
}

void m3net_monitor_drain_block(m3net_monitor* monitor) {
  m3net_monitor_drain(monitor, "block_header", "say block OFFSET BYTES CRC, up to 256 bytes");
}

void m3net_monitor_block(m3net_monitor* monitor, const m3net_monitor_words* words) {
  const bool good = words->count == 4u &&
                    m3net_monitor_number(words->word[1], &monitor->block_offset) == M3NET_OK &&
                    m3net_monitor_number(words->word[2], &monitor->block_bytes) == M3NET_OK &&
                    m3net_monitor_number(words->word[3], &monitor->block_crc) == M3NET_OK &&
                    monitor->block_bytes > 0u && monitor->block_bytes <= M3NET_MONITOR_BLOCK_BYTES;
  if (!good) {
    ++monitor->bad_blocks;
    m3net_monitor_drain_block(monitor);
    return;
  }
  monitor->block_filled = 0;
  monitor->state = M3NET_MONITOR_BLOCK;
}

// Passes the hop that was put together from blocks to the stream or to the front end.
static void take_hop(m3net_monitor* monitor) {
  monitor->hop_bytes = 0;
  if (monitor->live->on) {
    m3net_board_watchdog_feed();                         // one block may lead to several runs
    (void)m3net_live_hear(monitor->live, monitor->hop);  // the queue is empty between blocks
    while (m3net_monitor_work_on_hop(monitor)) {
    }
  } else if (monitor->frames < monitor->frames_expected) {
    const uint32_t start = m3net_board_counter();
    monitor->frames += m3net_recognizer_push(monitor->recognizer, monitor->hop) ? 1u : 0u;
    monitor->frontend_steps += m3net_board_counter() - start;
  }
}

static void take_samples(m3net_monitor* monitor, const uint8_t* bytes, uint32_t count) {
  while (count > 0u) {
    const uint32_t room = HOP_BYTES - monitor->hop_bytes;
    const uint32_t step = count < room ? count : room;
    memcpy((uint8_t*)monitor->hop + monitor->hop_bytes, bytes, step);
    monitor->hop_bytes += step;
    bytes += step;
    count -= step;
    if (monitor->hop_bytes == HOP_BYTES) take_hop(monitor);
  }
}

// Takes the bytes of the next block, or answers why they do not fit.
static m3net_status take_bytes(m3net_monitor* monitor, bool streaming) {
  const bool features = !streaming && monitor->load == M3NET_LOAD_FEATURES;
  const bool model = M3NET_CAN_UPDATE && !streaming && monitor->load == M3NET_LOAD_MODEL;
  if ((!streaming && monitor->block_bytes > monitor->load_bytes - monitor->next) ||
      (!features && !model && monitor->block_bytes % 2u != 0u)) {
    m3net_monitor_error(monitor, "block_bytes",
                        "half a sample, or more than load announced: send the rest");
    return M3NET_ERROR_ARGUMENT;
  }
  if (model) {
    if (!m3net_monitor_take_model(monitor)) return M3NET_ERROR_HARDWARE;
  } else if (features) {
    memcpy(monitor->buffer + monitor->next, monitor->block, monitor->block_bytes);
  } else {
    take_samples(monitor, monitor->block, monitor->block_bytes);
  }
  monitor->next += monitor->block_bytes;
  if (!streaming && monitor->load == M3NET_LOAD_PCM && monitor->next == monitor->load_bytes &&
      monitor->hop_bytes > 0u) {
    // No complete frame of the clip reaches into this silence.
    memset((uint8_t*)monitor->hop + monitor->hop_bytes, 0, HOP_BYTES - monitor->hop_bytes);
    take_hop(monitor);
  }
  return M3NET_OK;
}

void m3net_monitor_take_block(m3net_monitor* monitor) {
  if (m3net_crc32(0, monitor->block, monitor->block_bytes) != monitor->block_crc) {
    ++monitor->bad_blocks;
    m3net_monitor_error(monitor, "block_crc", "the block was damaged on the way: send it again");
    return;
  }
  const bool streaming = monitor->live->on && !monitor->live->microphone;
  if (!streaming && monitor->load == M3NET_LOAD_NONE) {
    m3net_monitor_error(monitor, "no_load",
                        "nothing is to be loaded: say load or stream host first");
    return;
  }
  // If the answer to a block is lost, the host sends the block again; it must change nothing then.
  const bool repeated = monitor->block_offset + monitor->block_bytes == monitor->next;
  if (!repeated && monitor->block_offset != monitor->next) {
    ++monitor->bad_blocks;
    m3net_console_error_begin("block_offset");
    m3net_console_text("this is not the next block; next=");
    m3net_console_u32(monitor->next);
    m3net_console_end();
    return;
  }
  if (!repeated && take_bytes(monitor, streaming) != M3NET_OK) return;
  ++monitor->blocks;
  m3net_monitor_ok("block");
  m3net_console_field("next", monitor->next);
  m3net_console_end();
}
