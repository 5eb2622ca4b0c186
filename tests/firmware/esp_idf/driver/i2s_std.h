// SPDX-License-Identifier: Apache-2.0
// As much of ESP-IDF's I2S driver as the example uses; the samples come from vectors.h.
#ifndef M3NET_TESTS_I2S_STD_H_
#define M3NET_TESTS_I2S_STD_H_

#include <stddef.h>
#include <stdint.h>

typedef int esp_err_t;
typedef struct i2s_channel* i2s_chan_handle_t;
typedef enum { I2S_NUM_AUTO } i2s_port_t;
typedef enum { I2S_ROLE_MASTER } i2s_role_t;
typedef enum { I2S_DATA_BIT_WIDTH_32BIT = 32 } i2s_data_bit_width_t;
typedef enum { I2S_SLOT_MODE_MONO = 1 } i2s_slot_mode_t;
typedef enum { I2S_GPIO_UNUSED = -1, GPIO_NUM_4 = 4, GPIO_NUM_5, GPIO_NUM_6 } gpio_num_t;

typedef struct {
  i2s_port_t id;
  i2s_role_t role;
  uint32_t dma_desc_num;
  uint32_t dma_frame_num;
} i2s_chan_config_t;

typedef struct {
  struct {
    uint32_t sample_rate_hz;
  } clk_cfg;
  struct {
    i2s_data_bit_width_t data_bit_width;
    i2s_slot_mode_t slot_mode;
  } slot_cfg;
  struct {
    gpio_num_t mclk;
    gpio_num_t bclk;
    gpio_num_t ws;
    gpio_num_t dout;
    gpio_num_t din;
  } gpio_cfg;
} i2s_std_config_t;

#define I2S_CHANNEL_DEFAULT_CONFIG(port, kind) \
  { (port), (kind), 6, 240 }
#define I2S_STD_CLK_DEFAULT_CONFIG(rate) \
  { (rate) }
#define I2S_STD_PHILIPS_SLOT_DEFAULT_CONFIG(bits, slots) \
  { (bits), (slots) }
#define ESP_ERROR_CHECK(call) check_esp(call)
#define portMAX_DELAY 0xffffffffu

void check_esp(esp_err_t error);
esp_err_t i2s_new_channel(const i2s_chan_config_t* config, i2s_chan_handle_t* transmit,
                          i2s_chan_handle_t* receive);
esp_err_t i2s_channel_init_std_mode(i2s_chan_handle_t channel, const i2s_std_config_t* config);
esp_err_t i2s_channel_enable(i2s_chan_handle_t channel);
esp_err_t i2s_channel_read(i2s_chan_handle_t channel, void* place, size_t bytes, size_t* read,
                           uint32_t timeout_ms);

#endif  // M3NET_TESTS_I2S_STD_H_
