// SPDX-License-Identifier: Apache-2.0
// The PDM library of Arduino's boards; its samples come from vectors.h.
#ifndef M3NET_TESTS_PDM_H_
#define M3NET_TESTS_PDM_H_

#include <Arduino.h>

#define NRF52840_XXAA

class Microphone {
 public:
  int begin(int channels, int sample_rate);
  int available();
  int read(void* buffer, size_t size);
  void setGain(int gain);
  void onReceive(void (*callback)());
};

extern Microphone PDM;

#endif  // M3NET_TESTS_PDM_H_
