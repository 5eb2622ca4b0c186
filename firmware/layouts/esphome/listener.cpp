// SPDX-License-Identifier: Apache-2.0

#include "listener.h"

#include <m3net.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "esphome/core/hal.h"
#include "esphome/core/log.h"

namespace esphome::m3net_component {

static const char* const TAG = "m3net";
static const float FULL_SCALE = 65536.0f;

#ifdef USE_ESP32
static const uint32_t TASK_STACK_BYTES = 6144;
static const UBaseType_t TASK_PRIORITY = 3;  // as the task of micro_wake_word
#endif

static m3net_recognizer recognizer;
static m3net_live live;
static M3NET_MODEL_ARENA(M3NET_MODEL_ARENA_BYTES) arena
    __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));

// Of the microphone's task.
static int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];
static size_t hop_bytes;

// Of the task that runs the network.
static bool detected[M3NET_DETECTOR_CLASS_COUNT];

// From the main loop to the task: thresholds in 65536ths, 0 for one that did not change.
static std::atomic<uint32_t> new_thresholds[M3NET_DETECTOR_CLASS_COUNT];

void Listener::setup() {
  m3net_status status = m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes));
  if (status == M3NET_OK) status = m3net_live_init(&live, &recognizer);
  if (status == M3NET_OK) status = m3net_live_start(&live, false);
  if (status != M3NET_OK) {
    ESP_LOGE(TAG, "The network cannot start: %s", m3net_status_name(status));
    this->mark_failed();
    return;
  }
#ifdef USE_BINARY_SENSOR
  for (const auto& sensor : this->sensors_) sensor.second->publish_initial_state(false);
#endif
#ifdef USE_ESP32
  if (!this->task_.create(Listener::run_task, "m3net", TASK_STACK_BYTES, this, TASK_PRIORITY,
                          false)) {
    ESP_LOGE(TAG, "There is no memory for the task's stack of %u bytes",
             (unsigned)TASK_STACK_BYTES);
    this->mark_failed();
    return;
  }
#endif
  this->source_->add_data_callback(
      [this](const std::vector<uint8_t>& samples) { this->hear_(samples); });
  this->source_->start();
}

// The microphone's task calls it, with 16-bit samples of one channel.
void Listener::hear_(const std::vector<uint8_t>& samples) {
  for (size_t taken = 0; taken < samples.size();) {
    const size_t count = std::min(sizeof(hop) - hop_bytes, samples.size() - taken);
    std::memcpy(reinterpret_cast<uint8_t*>(hop) + hop_bytes, &samples[taken], count);
    taken += count;
    hop_bytes += count;
    if (hop_bytes < sizeof(hop)) continue;
    hop_bytes = 0;
    m3net_live_hear(&live, hop);  // counts the hop as lost if the queue is full
  }
#ifdef USE_ESP32
  xTaskNotifyGive(this->task_.get_handle());
#endif
}

#ifdef USE_ESP32
void Listener::run_task(void* listener) {
  for (;;) {
    ulTaskNotifyTake(pdTRUE, portMAX_DELAY);
    static_cast<Listener*>(listener)->listen_();
  }
}
#endif

void Listener::listen_() {
  static m3net_live_result result;
  while (m3net_live_step(&live, &result)) {
    if (result.status != M3NET_OK) {
      const char* name = m3net_status_name(result.status);
      m3net_live_stop(&live);
      this->defer([this, name]() {
        ESP_LOGE(TAG, "The network failed: %s", name);
        this->mark_failed();
      });
      return;
    }
    this->apply_thresholds_();
    for (uint32_t label = 0; label < M3NET_DETECTOR_CLASS_COUNT; ++label) {
      const m3net_detector* detector = &live.listener.detector;
      const uint16_t release = detector->config.classes[label].release;
      if (!detected[label] || m3net_detector_score(detector, label) >= release) continue;
      detected[label] = false;
      this->defer([this, label]() { this->publish_(label, false); });
    }
    if (result.has_event) {
      const m3net_event event = result.event;
      detected[event.label] = true;
      this->defer([this, event]() { this->report_(event.label, event.score); });
    }
#ifdef USE_ESP32
    // The idle task must run even if the network is slower than the sound.
    if (result.scores != nullptr) vTaskDelay(1);
#endif
  }
}

void Listener::apply_thresholds_() {
  for (uint32_t label = 0; label < M3NET_DETECTOR_CLASS_COUNT; ++label) {
    const uint32_t threshold = new_thresholds[label].exchange(0);
    if (threshold == 0) continue;
    const m3net_detector_class* exported = &m3net_detector_defaults.classes[label];
    m3net_detector_class settings = live.listener.detector.config.classes[label];
    settings.threshold = static_cast<uint16_t>(threshold);
    settings.release = static_cast<uint16_t>(
        std::max<uint32_t>(1, threshold * exported->release / exported->threshold));
    m3net_detector_set_class(&live.listener.detector, label, &settings);
  }
}

void Listener::loop() {
#ifndef USE_ESP32
  this->listen_();
#endif
  const uint32_t lost = live.statistics.lost_hops;
  if (lost == this->lost_hops_) return;
  ESP_LOGW(TAG, "%u hops of sound are lost: the network is slower than the sound",
           (unsigned)(lost - this->lost_hops_));
  this->lost_hops_ = lost;
}

void Listener::report_(uint32_t label, uint16_t units) {
  const char* name = m3net_live_label(&live, label);
  const float score = 100.0f * units / FULL_SCALE;
  ESP_LOGD(TAG, "Detected '%s', %.0f %%", name, score);
  this->publish_(label, true);
  this->detection_trigger_.trigger(name, score);
}

void Listener::publish_(uint32_t label, bool on) {
#ifdef USE_BINARY_SENSOR
  for (const auto& sensor : this->sensors_) {
    if (sensor.first == label) sensor.second->publish_state(on);
  }
#endif
}

void Listener::set_threshold(uint32_t label, float percent) {
  const float units = percent / 100.0f * FULL_SCALE;
  new_thresholds[label] = static_cast<uint32_t>(std::clamp(units + 0.5f, 1.0f, FULL_SCALE - 1.0f));
}

float Listener::exported_threshold(uint32_t label) {
  return 100.0f * m3net_detector_defaults.classes[label].threshold / FULL_SCALE;
}

void Listener::dump_config() {
  ESP_LOGCONFIG(TAG,
                "M3Net:\n"
                "  Arena: %u bytes\n"
                "  Sample rate: %u Hz",
                (unsigned)M3NET_MODEL_ARENA_BYTES, (unsigned)M3NET_FRONTEND_SAMPLE_RATE_HZ);
#ifdef USE_BINARY_SENSOR
  for (const auto& sensor : this->sensors_) {
    LOG_BINARY_SENSOR("  ", "Detection", sensor.second);
  }
#endif
}

#ifdef USE_NUMBER
void Threshold::setup() {
  float value;
  if (this->restores_) this->saved_ = this->make_entity_preference<float>();
  if (this->restores_ && this->saved_.load(&value)) {
    this->parent_->set_threshold(this->label_, value);
  } else {
    value = Listener::exported_threshold(this->label_);
  }
  this->publish_state(value);
}

void Threshold::control(float value) {
  this->parent_->set_threshold(this->label_, value);
  if (this->restores_) this->saved_.save(&value);
  this->publish_state(value);
}

void Threshold::dump_config() { LOG_NUMBER("", "Threshold", this); }
#endif

}  // namespace esphome::m3net_component
