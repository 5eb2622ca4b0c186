// SPDX-License-Identifier: Apache-2.0
// Gives the samples of a file, in blocks that are no whole hops, and ends the program behind them.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "esphome/components/microphone/microphone.h"
#include "esphome/core/component.h"

namespace esphome::pcm_microphone {

class PcmMicrophone : public microphone::Microphone, public Component {
 public:
  PcmMicrophone(const char* path, uint32_t rate_hz) : file_(std::fopen(path, "rb")) {
    if (this->file_ == nullptr) std::exit(2);
    this->audio_stream_info_ = audio::AudioStreamInfo(16, 1, rate_hz);
  }
  void start() override { this->state_ = microphone::STATE_RUNNING; }
  void stop() override { this->state_ = microphone::STATE_STOPPED; }
  void loop() override {
    std::vector<uint8_t> block(1234);
    if (!this->is_running()) return;
    block.resize(std::fread(block.data(), 1, block.size(), this->file_));
    if (!block.empty()) {
      this->data_callbacks_.call(block);
    } else if (++this->idle_loops_ > 3) {
      std::fflush(stdout);
      std::exit(0);
    }
  }

 protected:
  std::FILE* file_;
  int idle_loops_{0};  // in which the last detections are reported
};

}  // namespace esphome::pcm_microphone
