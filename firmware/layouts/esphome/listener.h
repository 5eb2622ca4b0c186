// SPDX-License-Identifier: Apache-2.0
// Live recognition as a component of ESPHome: a microphone's samples in, detections out.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "esphome/components/microphone/microphone_source.h"
#include "esphome/core/automation.h"
#include "esphome/core/component.h"
#include "esphome/core/defines.h"
#include "esphome/core/helpers.h"
#ifdef USE_BINARY_SENSOR
#include "esphome/components/binary_sensor/binary_sensor.h"
#endif
#ifdef USE_NUMBER
#include "esphome/components/number/number.h"
#include "esphome/core/preferences.h"
#endif
#ifdef USE_ESP32
#include "esphome/core/static_task.h"
#endif

namespace esphome::m3net_component {

// Its network, arena and detector are static: a program has one.
//
// The microphone's task queues samples. On ESP32 another task runs the network, because a run takes
// longer than ESPHome's main loop may be held up. Detections reach the main loop by defer().
class Listener : public Component {
 public:
  void setup() override;
  void loop() override;
  void dump_config() override;
  float get_setup_priority() const override { return setup_priority::AFTER_CONNECTION; }

  void set_microphone_source(microphone::MicrophoneSource* source) { this->source_ = source; }
  // Starts with the class's name and its score in percent.
  Trigger<std::string, float>* get_detection_trigger() { return &this->detection_trigger_; }
#ifdef USE_BINARY_SENSOR
  void add_binary_sensor(uint32_t label, binary_sensor::BinarySensor* sensor) {
    this->sensors_.emplace_back(label, sensor);
  }
#endif
  // Threshold of a class in percent, from the next run of the network on.
  void set_threshold(uint32_t label, float percent);
  static float exported_threshold(uint32_t label);

 protected:
  void hear_(const std::vector<uint8_t>& samples);
  void listen_();
  void apply_thresholds_();
  void report_(uint32_t label, uint16_t units);
  void publish_(uint32_t label, bool on);

  microphone::MicrophoneSource* source_{nullptr};
  Trigger<std::string, float> detection_trigger_;
  uint32_t lost_hops_{0};  // of which a warning has told
#ifdef USE_BINARY_SENSOR
  std::vector<std::pair<uint32_t, binary_sensor::BinarySensor*>> sensors_;
#endif
#ifdef USE_ESP32
  static void run_task(void* listener);
  StaticTask task_;
#endif
};

#ifdef USE_NUMBER
class Threshold : public number::Number, public Component, public Parented<Listener> {
 public:
  Threshold(uint32_t label, bool restores) : label_(label), restores_(restores) {}
  void setup() override;
  void dump_config() override;

 protected:
  void control(float value) override;

  uint32_t label_;
  bool restores_;
  ESPPreferenceObject saved_;
};
#endif

}  // namespace esphome::m3net_component
