// SPDX-License-Identifier: Apache-2.0
// The monitor's updates: another model in the flash, in blocks, and back to the former one.

#include "console.h"
#include "model_slots.h"
#include "monitor_parts.h"
#include "platform.h"

#if M3NET_CAN_UPDATE

static void slot_field(const char* name, uint32_t slot) {
  if (slot == M3NET_MODEL_OWN) {
    m3net_monitor_text_field(name, "own");
  } else {
    m3net_console_field(name, slot);
  }
}

static void print_slots(void) {
  m3net_monitor_ok("model");
  slot_field("active", m3net_model_slots_active());
  slot_field("next", m3net_model_slots_next());
  slot_field("former", m3net_model_slots_former());
  m3net_console_field("room", m3net_model_slots_room());
  m3net_console_field("layout", m3net_model_layout());
  m3net_monitor_hex_field("structure", m3net_model_slots_structure(), M3NET_MODEL_STRUCTURE_BYTES);
  m3net_console_end();
}

static void print_failure(m3net_monitor* monitor, m3net_status status) {
  switch (status) {
    case M3NET_ERROR_FULL:
      m3net_monitor_error(monitor, "room", "the slot has no room: say model for its size");
      break;
    case M3NET_ERROR_CONFIG:
      m3net_monitor_error(monitor, "structure",
                          "the model is for another firmware: build and flash its own");
      break;
    case M3NET_ERROR_INVOKE:
      m3net_monitor_error(monitor, "self_test",
                          "the model gives other scores here than where it was made: export again");
      break;
    case M3NET_ERROR_HARDWARE:
      m3net_monitor_error(monitor, "flash", "the flash did not take it; the model stays");
      break;
    case M3NET_ERROR_ARGUMENT:
      m3net_monitor_error(monitor, "order", "nothing to do: say model; a new one needs a reset");
      break;
    default:
      m3net_monitor_error(monitor, "image", "the model is damaged: send it again");
  }
}

static void begin(m3net_monitor* monitor, const char* number) {
  uint32_t bytes = 0;
  if (m3net_monitor_number(number, &bytes) != M3NET_OK) {
    m3net_monitor_bad_number(monitor);
    return;
  }
  m3net_live_stop(monitor->live);
  m3net_monitor_forget_input(monitor);
  m3net_board_watchdog_feed();
  const m3net_status status = m3net_model_slots_begin(bytes);
  if (status != M3NET_OK) {
    print_failure(monitor, status);
    return;
  }
  monitor->load = M3NET_LOAD_MODEL;
  monitor->load_bytes = bytes;
  monitor->next = 0;
  print_slots();
}

static m3net_status commit(m3net_monitor* monitor) {
  if (monitor->load != M3NET_LOAD_MODEL) return M3NET_ERROR_ARGUMENT;
  m3net_live_stop(monitor->live);
  m3net_monitor_forget_input(monitor);
  monitor->has_result = false;
  return m3net_model_slots_commit(monitor->recognizer->model);
}

void m3net_monitor_model(m3net_monitor* monitor, const m3net_monitor_words* words) {
  m3net_status status = M3NET_OK;
  const char* what = words->count > 1u ? words->word[1] : "";
  m3net_board_watchdog_feed();
  if (words->count == 3u && m3net_monitor_is(what, "begin")) {
    begin(monitor, words->word[2]);
    return;
  }
  if (words->count == 2u && m3net_monitor_is(what, "commit")) {
    status = commit(monitor);
  } else if (words->count == 2u && m3net_monitor_is(what, "abort")) {
    m3net_monitor_forget_input(monitor);
  } else if (words->count == 2u && m3net_monitor_is(what, "return")) {
    status = m3net_model_slots_return();
  } else if (words->count != 1u) {
    m3net_monitor_error(monitor, "usage",
                        "say model, or model begin BYTES, commit, abort or return");
    return;
  }
  if (status == M3NET_OK) {
    print_slots();
  } else {
    print_failure(monitor, status);
  }
}

bool m3net_monitor_take_model(m3net_monitor* monitor) {
  m3net_board_watchdog_feed();  // a sector may be erased
  const m3net_status status =
      m3net_model_slots_write(monitor->next, monitor->block, monitor->block_bytes);
  if (status == M3NET_OK) return true;
  if (status == M3NET_ERROR_ARGUMENT) {
    m3net_monitor_error(monitor, "block_bytes", "only the last block may have less than 256 bytes");
  } else {
    m3net_monitor_forget_input(monitor);
    print_failure(monitor, status);
  }
  return false;
}

#endif  // M3NET_CAN_UPDATE
