// SPDX-License-Identifier: Apache-2.0
// Prints what an I2S microphone hears, as "yes 87 %". For ESP32 boards (Arduino core 3.0 or later)
// and microphones with 32-bit slots on the left channel, such as INMP441 or ICS-43434. Install the
// library that `m3net export RUN --layout arduino` writes: Sketch, Include Library, Add .ZIP
// Library.

#include <ESP_I2S.h>
#include <m3net.h>

static const int8_t CLOCK_PIN = 4;
static const int8_t WORD_SELECT_PIN = 5;
static const int8_t DATA_PIN = 6;
// The 24 bits of a sample begin at the top of its word. They reach 120 dB SPL, so speech a metre
// away, of 60 dB SPL, uses few of the upper 16. Four bits are 24 dB: sound clips from 96 dB SPL on.
static const int GAIN_BITS = 4;

static m3net_recognizer recognizer;
static m3net_live live;
static M3NET_MODEL_ARENA(M3NET_MODEL_ARENA_BYTES) arena
    __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));
static I2SClass microphone;

uint64_t m3net_board_time_us(void) { return micros(); }

static void stop(const char* reason) {
  for (;;) {
    Serial.println(reason);
    delay(1000);
  }
}

static int16_t sample_of(int32_t word) {
  const int32_t sample = word >> (16 - GAIN_BITS);
  return sample > INT16_MAX ? INT16_MAX : sample < INT16_MIN ? INT16_MIN : sample;
}

// Prints "microphone quiet" or "microphone clips" when it begins: change GAIN_BITS then.
static void print_level() {
  static m3net_level_verdict printed = M3NET_LEVEL_OK;
  const m3net_level_verdict verdict = m3net_level_judge(&live.level);
  if (verdict != printed) {
    Serial.print("microphone ");
    Serial.println(m3net_level_verdict_name(verdict));
  }
  printed = verdict;
}

void setup() {
  Serial.begin(115200);
  m3net_status status = m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes));
  if (status == M3NET_OK) status = m3net_live_init(&live, &recognizer);
  if (status == M3NET_OK) status = m3net_live_start(&live, false);
  if (status != M3NET_OK) stop(m3net_status_name(status));
  microphone.setPins(CLOCK_PIN, WORD_SELECT_PIN, -1, DATA_PIN);
  if (!microphone.begin(I2S_MODE_STD, M3NET_FRONTEND_SAMPLE_RATE_HZ, I2S_DATA_BIT_WIDTH_32BIT,
                        I2S_SLOT_MODE_MONO, I2S_STD_SLOT_LEFT)) {
    stop("I2S did not start: change the pins in the sketch");
  }
}

// The I2S driver keeps the samples that arrive while the network runs.
void loop() {
  static int32_t words[M3NET_FRONTEND_HOP_SAMPLES];
  static int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];
  static m3net_live_result result;
  if (microphone.readBytes(reinterpret_cast<char*>(words), sizeof(words)) != sizeof(words)) return;
  for (size_t i = 0; i < M3NET_FRONTEND_HOP_SAMPLES; ++i) hop[i] = sample_of(words[i]);
  m3net_live_hear(&live, hop);
  if (!m3net_live_step(&live, &result)) return;
  if (result.has_level) print_level();
  if (result.status != M3NET_OK) stop(m3net_status_name(result.status));
  if (!result.has_event) return;
  Serial.print(m3net_model_labels[result.event.label]);
  Serial.print(" ");
  Serial.print(100ul * result.event.score / 65536ul);
  Serial.println(" %");
}
