// SPDX-License-Identifier: Apache-2.0
// Runs an application for ESP-IDF on this computer. The microphone delivers 24 bits in words of 32,
// and the end of its samples ends the program.

#include <driver/i2s_std.h>
#include <esp_timer.h>
#include <stdlib.h>

#include "vectors.h"

void app_main(void);

struct i2s_channel {
  int steps;  // new, set up, enabled
};

static struct i2s_channel microphone;

void check_esp(esp_err_t error) {
  if (error != 0) exit(1);
}

int64_t esp_timer_get_time(void) {
  static int64_t now;
  return ++now;
}

esp_err_t i2s_new_channel(const i2s_chan_config_t* config, i2s_chan_handle_t* transmit,
                          i2s_chan_handle_t* receive) {
  // The DMA takes at most 4092 bytes for each descriptor.
  if (transmit != NULL || config->dma_desc_num < 2 || 4 * config->dma_frame_num > 4092) return 1;
  *receive = &microphone;
  return 0;
}

esp_err_t i2s_channel_init_std_mode(i2s_chan_handle_t channel, const i2s_std_config_t* config) {
  channel->steps = 1;
  return config->slot_cfg.data_bit_width == I2S_DATA_BIT_WIDTH_32BIT ? 0 : 1;
}

esp_err_t i2s_channel_enable(i2s_chan_handle_t channel) { return channel->steps++ != 1; }

esp_err_t i2s_channel_read(i2s_chan_handle_t channel, void* place, size_t bytes, size_t* read,
                           uint32_t timeout_ms) {
  static size_t delivered;
  int32_t* words = place;
  if (channel->steps != 2 || timeout_ms != portMAX_DELAY) return 1;
  for (*read = 0; *read < bytes; *read += sizeof(*words), ++delivered) {
    if (delivered == sizeof(pcm) / sizeof(pcm[0])) exit(0);
    *words++ = (int32_t)((uint32_t)pcm[delivered] << 12 | 0x0a00u);
  }
  return 0;
}

int main(void) {
  app_main();
  return 1;
}
