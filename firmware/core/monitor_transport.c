// SPDX-License-Identifier: Apache-2.0
// The monitor's transport: bytes of the console become lines, blocks and commands of MLPerf Tiny's
// protocol.

#include <string.h>

#include "console.h"
#include "monitor_parts.h"
#include "platform.h"
#include "saved_thresholds.h"

static bool line_starts_block(const m3net_monitor* monitor) {
  const size_t length = sizeof(M3NET_MONITOR_BLOCK_WORD) - 1u;
  return monitor->line_length >= length &&
         memcmp(monitor->line, M3NET_MONITOR_BLOCK_WORD, length) == 0;
}

static void run_benchmark_command(m3net_monitor* monitor) {
  const bool too_long = monitor->line_length >= M3NET_EEMBC_COMMAND_BYTES;
  monitor->line[monitor->line_length] = '\0';
  monitor->line_length = 0;
  ++monitor->commands;
  m3net_live_stop(monitor->live);
  monitor->load = M3NET_LOAD_NONE;  // the benchmark's own input shares the buffer and stays
  if (too_long) {
    m3net_eembc_too_long();
  } else {
    m3net_eembc_command(&monitor->eembc, monitor->line);
  }
}

static void receive_in_line(m3net_monitor* monitor, char byte) {
  if (byte == '%' && !line_starts_block(monitor)) {
    run_benchmark_command(monitor);
  } else if (byte == '\n') {
    monitor->line[monitor->line_length] = '\0';
    monitor->line_length = 0;
    m3net_monitor_run_line(monitor);
  } else if (byte == '\r' || byte == '\0') {
    return;
  } else if (monitor->line_length == M3NET_MONITOR_LINE_BYTES) {
    monitor->line_length = 0;
    m3net_monitor_drain(monitor, "line", "a line was too long, or its end got lost: send it again");
  } else {
    monitor->line[monitor->line_length++] = byte;
  }
}

void m3net_monitor_init(m3net_monitor* monitor, m3net_recognizer* recognizer, m3net_live* live,
                        uint8_t* buffer, uint32_t buffer_bytes, uint32_t arena_bytes) {
  memset(monitor, 0, sizeof(*monitor));
  monitor->recognizer = recognizer;
  monitor->live = live;
  monitor->buffer = buffer;
  monitor->buffer_bytes = buffer_bytes;
  monitor->arena_bytes = arena_bytes;
  monitor->baud = m3net_eembc_start_console();
  m3net_duty_start(&monitor->duty);
  m3net_eembc_init(&monitor->eembc, recognizer, buffer, buffer_bytes);
  if (M3NET_CAN_SAVE_THRESHOLDS) {
    (void)m3net_saved_thresholds_load(&live->listener.detector, m3net_live_prototypes(live));
  }
}

void m3net_monitor_greet(m3net_monitor* monitor) {
  m3net_console_begin("ready");
  m3net_console_field("protocol", M3NET_MONITOR_PROTOCOL);
  if (M3NET_CAN_SAVE_THRESHOLDS && m3net_saved_thresholds_exist()) {
    m3net_monitor_text_field("thresholds", "saved");
  }
  m3net_console_end();
  m3net_eembc_boot(&monitor->eembc);
}

void m3net_monitor_receive(m3net_monitor* monitor, const uint8_t* bytes, size_t count) {
  if (count > 0u) monitor->last_byte_us = m3net_board_time_us();
  for (; count > 0u; --count, ++bytes) {
    if (monitor->state == M3NET_MONITOR_LINE) {
      receive_in_line(monitor, (char)*bytes);
    } else if (monitor->state == M3NET_MONITOR_BLOCK) {
      monitor->block[monitor->block_filled++] = *bytes;
      if (monitor->block_filled == monitor->block_bytes) {
        monitor->state = M3NET_MONITOR_LINE;
        m3net_monitor_take_block(monitor);
      }
    }
  }
}

bool m3net_monitor_poll(m3net_monitor* monitor) {
  const uint64_t quiet_us = m3net_board_time_us() - monitor->last_byte_us;
  if (monitor->state == M3NET_MONITOR_DRAIN && quiet_us >= M3NET_MONITOR_QUIET_US) {
    monitor->state = M3NET_MONITOR_LINE;
    m3net_monitor_error(monitor, monitor->drain_code, monitor->drain_text);
  } else if (monitor->state == M3NET_MONITOR_BLOCK && quiet_us >= M3NET_MONITOR_BLOCK_TIMEOUT_US) {
    monitor->state = M3NET_MONITOR_LINE;
    ++monitor->bad_blocks;
    m3net_monitor_error(monitor, "block_short", "bytes of the block got lost: send it again");
  }
  return m3net_monitor_work_on_hop(monitor);
}

void m3net_monitor_work(m3net_monitor* monitor) {
  uint8_t bytes[64];
  bool busy = m3net_monitor_poll(monitor);
  // While interrupts are held back, none can come between this check and the sleep.
  const uint32_t state = m3net_platform_lock();
  const size_t count = m3net_board_read(bytes, sizeof(bytes));
  busy = busy || count > 0u || m3net_live_waiting(monitor->live);
  if (!busy) m3net_duty_sleep(&monitor->duty);
  m3net_platform_unlock(state);
  m3net_monitor_receive(monitor, bytes, count);
}
