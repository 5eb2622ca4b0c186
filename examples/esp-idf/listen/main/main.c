// SPDX-License-Identifier: Apache-2.0
// Prints what an I2S microphone hears, as "yes 87 %": one with 32-bit slots on the left channel,
// such as INMP441 or ICS-43434.

#include <driver/i2s_std.h>
#include <esp_timer.h>
#include <m3net.h>
#include <stdio.h>

#define CLOCK_PIN GPIO_NUM_4
#define WORD_SELECT_PIN GPIO_NUM_5
#define DATA_PIN GPIO_NUM_6
// The 24 bits of a sample begin at the top of its word. They reach 120 dB SPL, so speech a metre
// away, of 60 dB SPL, uses few of the upper 16. Four bits are 24 dB: sound clips from 96 dB SPL on.
#define GAIN_BITS 4

static m3net_recognizer recognizer;
static m3net_live live;
static M3NET_MODEL_ARENA(M3NET_MODEL_ARENA_BYTES) arena
    __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));

uint64_t m3net_board_time_us(void) { return (uint64_t)esp_timer_get_time(); }

static int16_t sample_of(int32_t word) {
  const int32_t sample = word >> (16 - GAIN_BITS);
  return (int16_t)(sample > INT16_MAX ? INT16_MAX : sample < INT16_MIN ? INT16_MIN : sample);
}

// Prints "microphone quiet" or "microphone clips" when it begins: change GAIN_BITS then.
static void print_level(void) {
  static m3net_level_verdict printed = M3NET_LEVEL_OK;
  const m3net_level_verdict verdict = m3net_level_judge(&live.level);
  if (verdict != printed) printf("microphone %s\n", m3net_level_verdict_name(verdict));
  printed = verdict;
}

static i2s_chan_handle_t start_microphone(void) {
  i2s_chan_handle_t microphone = NULL;
  i2s_chan_config_t channel = I2S_CHANNEL_DEFAULT_CONFIG(I2S_NUM_AUTO, I2S_ROLE_MASTER);
  channel.dma_frame_num = M3NET_FRONTEND_HOP_SAMPLES;
  channel.dma_desc_num = 8;  // hops that wait while the network runs
  const i2s_std_config_t format = {
      .clk_cfg = I2S_STD_CLK_DEFAULT_CONFIG(M3NET_FRONTEND_SAMPLE_RATE_HZ),
      .slot_cfg = I2S_STD_PHILIPS_SLOT_DEFAULT_CONFIG(I2S_DATA_BIT_WIDTH_32BIT, I2S_SLOT_MODE_MONO),
      .gpio_cfg =
          {
              .mclk = I2S_GPIO_UNUSED,
              .bclk = CLOCK_PIN,
              .ws = WORD_SELECT_PIN,
              .dout = I2S_GPIO_UNUSED,
              .din = DATA_PIN,
          },
  };
  ESP_ERROR_CHECK(i2s_new_channel(&channel, NULL, &microphone));
  ESP_ERROR_CHECK(i2s_channel_init_std_mode(microphone, &format));
  ESP_ERROR_CHECK(i2s_channel_enable(microphone));
  return microphone;
}

void app_main(void) {
  static int32_t words[M3NET_FRONTEND_HOP_SAMPLES];
  static int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];
  static m3net_live_result result;
  m3net_status status = m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes));
  if (status == M3NET_OK) status = m3net_live_init(&live, &recognizer);
  if (status == M3NET_OK) status = m3net_live_start(&live, false);
  const i2s_chan_handle_t microphone = start_microphone();
  while (status == M3NET_OK) {
    size_t bytes = 0;
    ESP_ERROR_CHECK(i2s_channel_read(microphone, words, sizeof(words), &bytes, portMAX_DELAY));
    for (size_t i = 0; i < M3NET_FRONTEND_HOP_SAMPLES; ++i) hop[i] = sample_of(words[i]);
    status = m3net_live_hear(&live, hop);
    if (status != M3NET_OK || !m3net_live_step(&live, &result)) continue;
    if (result.has_level) print_level();
    status = result.status;
    if (status != M3NET_OK || !result.has_event) continue;
    printf("%s %d %%\n", m3net_model_labels[result.event.label],
           (int)(100u * result.event.score / 65536u));
  }
  printf("%s\n", m3net_status_name(status));
}
