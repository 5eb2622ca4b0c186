// SPDX-License-Identifier: Apache-2.0
// The monitor's enrolled words: examples in, names out.

#include "console.h"
#include "monitor_parts.h"
#include "prototypes.h"

#if M3NET_PROTOTYPE_SLOTS > 0

// The output of the stream's last run, or of the last infer; null if there was none.
static const int8_t* last_output(const m3net_monitor* monitor) {
  if (monitor->live->on) {
    const bool ran =
        monitor->live->listener.detector.runs > monitor->live->listener.detector.skipped_runs;
    return ran ? m3net_model_output(monitor->recognizer->model) : NULL;
  }
  return monitor->has_result ? monitor->result : NULL;
}

void m3net_monitor_enrol(m3net_monitor* monitor, const m3net_monitor_words* words) {
  const int8_t* output = last_output(monitor);
  if (output == NULL) {
    m3net_monitor_error(monitor, "no_result", "the model did not run yet: say infer, or stream");
    return;
  }
  const m3net_status status =
      m3net_prototypes_add(monitor->live->listener.prototypes, words->word[1], output);
  if (status == M3NET_ERROR_ARGUMENT) {
    m3net_monitor_error(monitor, "name", "a name has at most 15 bytes");
  } else if (status != M3NET_OK) {
    m3net_monitor_error(monitor, "full", "no place is free, or no example more: forget a word");
  } else {
    m3net_monitor_ok("enrol");
    m3net_console_end();
  }
}

void m3net_monitor_forget(m3net_monitor* monitor, const m3net_monitor_words* words) {
  if (!m3net_prototypes_forget(monitor->live->listener.prototypes, words->word[1])) {
    m3net_monitor_error(monitor, "name", "no such word is enrolled: say list");
    return;
  }
  m3net_monitor_ok("forget");
  m3net_console_end();
}

void m3net_monitor_list(m3net_monitor* monitor, const m3net_monitor_words* words) {
  (void)words;
  const m3net_prototype* prototypes = monitor->live->listener.prototypes;
  for (uint32_t place = 0; place < M3NET_PROTOTYPE_SLOTS; ++place) {
    if (prototypes[place].examples == 0u) continue;
    m3net_monitor_begin_item("word");
    m3net_console_field("label", place);
    m3net_console_field("examples", prototypes[place].examples);
    m3net_monitor_hex_field("sums", prototypes[place].sums, sizeof(prototypes[place].sums));
    m3net_monitor_text_field("name", prototypes[place].name);
    m3net_console_end();
  }
  m3net_monitor_ok("list");
  m3net_console_field("slots", M3NET_PROTOTYPE_SLOTS);
  m3net_console_end();
}

#endif  // M3NET_PROTOTYPE_SLOTS > 0
