// SPDX-License-Identifier: Apache-2.0
// The I2S library of the ESP32's core; its samples come from vectors.h.
#ifndef M3NET_TESTS_ESP_I2S_H_
#define M3NET_TESTS_ESP_I2S_H_

#include <Arduino.h>

enum i2s_mode_t { I2S_MODE_STD };
enum i2s_data_bit_width_t { I2S_DATA_BIT_WIDTH_32BIT = 32 };
enum i2s_slot_mode_t { I2S_SLOT_MODE_MONO = 1 };
enum i2s_std_slot_mask_t { I2S_STD_SLOT_LEFT = 1 };

class I2SClass {
 public:
  void setPins(int8_t bclk, int8_t ws, int8_t dout, int8_t din = -1, int8_t mclk = -1);
  bool begin(i2s_mode_t mode, uint32_t rate, i2s_data_bit_width_t bits, i2s_slot_mode_t slots,
             int8_t slot_mask = -1);
  size_t readBytes(char* buffer, size_t size);
};

#endif  // M3NET_TESTS_ESP_I2S_H_
