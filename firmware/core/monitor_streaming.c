// SPDX-License-Identifier: Apache-2.0
// The monitor's stream: live detection from the microphone or from blocks.

#include "console.h"
#include "monitor_parts.h"
#include "platform.h"
#include "saved_thresholds.h"

#define HOP M3NET_FRONTEND_HOP_SAMPLES
#define HOP_BYTES M3NET_MONITOR_HOP_BYTES
#define NUMBER_BITS_A_BYTE 10u  // of the UART: start, eight, stop

// --- reports ---------------------------------------------------------------------------------

static void report_losses(m3net_monitor* monitor) {
  const uint32_t lost_hops = monitor->live->statistics.lost_hops;
  const uint32_t audio_overruns = m3net_board_audio_overruns();
  if (lost_hops == monitor->reported_lost_hops &&
      audio_overruns == monitor->reported_audio_overruns) {
    return;
  }
  monitor->reported_lost_hops = lost_hops;
  monitor->reported_audio_overruns = audio_overruns;
  m3net_console_begin("overrun");
  m3net_console_field("lost_hops", lost_hops);
  m3net_console_field("audio_overruns", audio_overruns);
  m3net_console_end();
}

// Every second beside columns or scores; with events alone, only when the verdict changes.
static void report_level(m3net_monitor* monitor) {
  const m3net_level* level = &monitor->live->level;
  const m3net_level_verdict verdict = m3net_level_judge(level);
  const bool changed = verdict != monitor->reported_verdict;
  if (!changed && !monitor->stream_columns && !monitor->stream_scores) return;
  monitor->reported_verdict = verdict;
  m3net_console_begin("level");
  m3net_console_field("peak", level->last_peak);
  m3net_console_field("clipped", level->last_clipped);
  m3net_console_field("missing_db", m3net_level_decibels(level->missing));
  m3net_console_field("gain_db", m3net_level_decibels(m3net_level_gain(level)));
  m3net_monitor_text_field("verdict", m3net_level_verdict_name(verdict));
  m3net_console_end();
}

static void report_audio(uint32_t hop, const int16_t* samples) {
  m3net_console_begin("audio");
  m3net_console_field("offset", hop * HOP);
  m3net_console_field("bytes", HOP_BYTES);
  m3net_monitor_crc_field(samples, HOP_BYTES);
  m3net_console_end();
  m3net_board_write((const char*)samples, HOP_BYTES);
  m3net_console_end();
}

static void report_event(const m3net_live_result* result) {
  m3net_console_begin("event");
  m3net_console_field("column", result->event.column);
  m3net_console_field("label", result->event.label);
  m3net_console_field("score", result->event.score);
  m3net_console_field("latency_us", result->latency_us);
  m3net_console_end();
}

static void report_hop(m3net_monitor* monitor, const m3net_live_result* result) {
  const m3net_live_statistics* statistics = &monitor->live->statistics;
  const uint32_t column = statistics->columns - 1u;
  report_losses(monitor);
  if (result->has_level) report_level(monitor);
  if (monitor->stream_audio) report_audio(statistics->hops - 1u, result->hop);
  if (result->has_column && monitor->stream_columns) {
    m3net_console_begin("column");
    m3net_console_field("column", column);
    m3net_monitor_hex_field("values", result->column, sizeof(result->column));
    m3net_console_end();
  }
  if (result->status != M3NET_OK) {
    m3net_live_stop(monitor->live);
    m3net_console_begin("stopped");
    m3net_monitor_text_field("status", m3net_status_name(result->status));
    m3net_console_end();
    return;
  }
  if (result->scores != NULL && monitor->stream_scores) {
    m3net_console_begin("scores");
    m3net_console_field("column", column);
    m3net_monitor_hex_field("out", result->scores, M3NET_DETECTOR_CLASS_COUNT);
    m3net_console_end();
  }
  if (result->has_event) report_event(result);
}

bool m3net_monitor_work_on_hop(m3net_monitor* monitor) {
  m3net_live_result result;
  if (!m3net_live_step(monitor->live, &result)) return false;
  report_hop(monitor, &result);
  return true;
}

// --- stream ----------------------------------------------------------------------------------

static void start_stream(m3net_monitor* monitor, bool microphone) {
  monitor->reported_lost_hops = 0;
  monitor->reported_verdict = M3NET_LEVEL_OK;
  monitor->reported_audio_overruns = m3net_board_audio_overruns();
  m3net_duty_start(&monitor->duty);
  if (m3net_live_start(monitor->live, microphone) != M3NET_OK) {
    m3net_monitor_error(monitor, "no_audio",
                        "no audio hardware: see docs/guide/monitor.md, or stream host");
    return;
  }
  m3net_monitor_ok("stream");
  m3net_console_end();
}

void m3net_monitor_stream(m3net_monitor* monitor, const m3net_monitor_words* words) {
  bool columns = false;
  bool scores = false;
  bool audio = false;
  const bool microphone = m3net_monitor_is(words->word[1], "mic");
  for (uint32_t i = 2; i < words->count; ++i) {
    if (m3net_monitor_is(words->word[i], "columns")) {
      columns = true;
    } else if (m3net_monitor_is(words->word[i], "scores")) {
      scores = true;
    } else if (m3net_monitor_is(words->word[i], "audio")) {
      audio = true;
    } else {
      m3net_monitor_error(monitor, "usage",
                          "a stream has columns, scores and audio besides events");
      return;
    }
  }
  const bool off = m3net_monitor_is(words->word[1], "off");
  if (!microphone && !m3net_monitor_is(words->word[1], "host") && !off) {
    m3net_monitor_error(monitor, "usage", "say stream mic, stream host or stream off");
    return;
  }
  m3net_live_stop(monitor->live);
  monitor->load = M3NET_LOAD_NONE;
  monitor->next = 0;
  monitor->hop_bytes = 0;
  if (off) {
    m3net_monitor_ok("stream");
    m3net_console_end();
    return;
  }
  // A quarter more than the samples alone, for lines and checksums.
  const uint32_t needed_baud = M3NET_FRONTEND_SAMPLE_RATE_HZ * 2u * NUMBER_BITS_A_BYTE / 4u * 5u;
  if (audio && monitor->baud < needed_baud) {
    m3net_console_error_begin("slow");
    m3net_console_text("audio does not fit the line: say baud first, with at least ");
    m3net_console_u32(needed_baud);
    m3net_console_end();
    return;
  }
  monitor->stream_columns = columns;
  monitor->stream_scores = scores;
  monitor->stream_audio = audio;
  start_stream(monitor, microphone);
}

// --- thresholds ------------------------------------------------------------------------------

static void print_class(const m3net_monitor* monitor, uint32_t label) {
  const m3net_detector_class* settings = &monitor->live->listener.detector.config.classes[label];
  m3net_console_field("label", label);
  m3net_console_field("threshold", settings->threshold);
  m3net_console_field("release", settings->release);
  m3net_console_field("suppression_columns", settings->suppression_columns);
  m3net_console_field("window_runs", settings->window_runs);
  m3net_console_field("hits", settings->hits);
  m3net_console_end();
}

void m3net_monitor_threshold(m3net_monitor* monitor, const m3net_monitor_words* words) {
  uint32_t label = 0, threshold = 0, release = 0;
  if (words->count == 1u) {
    for (; label < M3NET_DETECTOR_CLASS_COUNT; ++label) {
      m3net_monitor_begin_item("class");
      print_class(monitor, label);
    }
    m3net_monitor_ok("threshold");
    m3net_console_field("run_columns", monitor->live->listener.detector.config.run_columns);
#ifdef M3NET_DETECTOR_SEVERAL_LABELS
    m3net_console_field("several_labels", 1u);
#endif
    if (M3NET_CAN_SAVE_THRESHOLDS) {
      m3net_console_field("saved", m3net_saved_thresholds_exist() ? 1u : 0u);
    }
    m3net_console_end();
    return;
  }
  if (words->count < 3u) {
    m3net_monitor_error(monitor, "usage", "say threshold, or threshold LABEL VALUE [RELEASE]");
    return;
  }
  if (m3net_monitor_number(words->word[1], &label) != M3NET_OK ||
      label >= M3NET_DETECTOR_CLASS_COUNT ||
      m3net_monitor_number(words->word[2], &threshold) != M3NET_OK || threshold > UINT16_MAX) {
    m3net_monitor_bad_number(monitor);
    return;
  }
  m3net_detector_class settings = monitor->live->listener.detector.config.classes[label];
  release = settings.release < threshold ? settings.release : threshold;
  if (words->count == 4u &&
      (m3net_monitor_number(words->word[3], &release) != M3NET_OK || release > UINT16_MAX)) {
    m3net_monitor_bad_number(monitor);
    return;
  }
  settings.threshold = (uint16_t)threshold;
  settings.release = (uint16_t)release;
  if (m3net_detector_set_class(&monitor->live->listener.detector, label, &settings) != M3NET_OK) {
    m3net_monitor_error(monitor, "range",
                        "the detector refuses that: 0 < RELEASE <= VALUE <= 65535");
    return;
  }
  m3net_monitor_ok("threshold");
  print_class(monitor, label);
}

#if M3NET_NORMAL_PROTOTYPES > 0

void m3net_monitor_calibrate(m3net_monitor* monitor, const m3net_monitor_words* words) {
  (void)words;
  m3net_detector* detector = &monitor->live->listener.detector;
  if (detector->runs == detector->skipped_runs) {
    m3net_monitor_error(monitor, "no_result", "the model did not run yet: say stream");
    return;
  }
  const uint16_t highest = monitor->live->statistics.max_score;
  m3net_detector_class settings = detector->config.classes[0];
  if (settings.threshold <= highest) {
    const uint16_t by = (uint16_t)(highest + 1u - settings.threshold);
    settings.threshold = (uint16_t)(settings.threshold + by);
    settings.release = (uint16_t)(settings.release + by);
    (void)m3net_detector_set_class(detector, 0, &settings);  // its order is as before
  }
  m3net_monitor_ok("calibrate");
  m3net_console_field("runs", detector->runs);
  m3net_console_field("highest", highest);
  print_class(monitor, 0);
}

#endif  // M3NET_NORMAL_PROTOTYPES > 0

void m3net_monitor_save(m3net_monitor* monitor, const m3net_monitor_words* words) {
  if (!M3NET_CAN_SAVE_THRESHOLDS) {
    m3net_monitor_error(monitor, "no_flash",
                        "there is no flash to keep thresholds in: export them with the model");
    return;
  }
  const bool clear = words->count == 2u;
  if (clear && !m3net_monitor_is(words->word[1], "clear")) {
    m3net_monitor_error(monitor, "usage", "say save, or save clear");
    return;
  }
  m3net_board_watchdog_feed();  // the storage may hold the core for some seconds
  m3net_detector* detector = &monitor->live->listener.detector;
  m3net_prototype* prototypes = m3net_live_prototypes(monitor->live);
  const m3net_status status = clear ? m3net_saved_thresholds_forget(detector, prototypes)
                                    : m3net_saved_thresholds_save(detector, prototypes);
  if (status != M3NET_OK) {
    m3net_monitor_error(monitor, "flash",
                        "the flash does not take the thresholds: what was saved before stays");
    return;
  }
  m3net_monitor_ok("save");
  m3net_console_field("saved", clear ? 0u : 1u);
  m3net_console_end();
}
