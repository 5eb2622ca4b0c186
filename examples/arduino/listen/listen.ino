// SPDX-License-Identifier: Apache-2.0
// Prints what the microphone hears, as "yes 87 %". For boards whose microphone the PDM library
// reads, such as Arduino Nano 33 BLE Sense, Nano RP2040 Connect and Nicla. Install the library
// that `m3net export RUN --layout arduino` writes: Sketch, Include Library, Add .ZIP Library.

#include <PDM.h>
#include <m3net.h>

static m3net_recognizer recognizer;
static m3net_live live;
static M3NET_MODEL_ARENA(M3NET_MODEL_ARENA_BYTES) arena
    __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));
static int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];
static size_t hop_bytes;  // received so far

// Of the nRF52840, in half decibels, where 40 is 0 dB. The library's own gain is -10 dB, which is
// too quiet for speech a metre away. Other chips count otherwise and keep the library's.
static const int NRF52840_GAIN = 40 + 2 * 18;

uint64_t m3net_board_time_us(void) { return micros(); }

// An interrupt calls it when the microphone has samples.
static void hear() {
  size_t waiting = PDM.available();
  while (waiting > 0) {
    const size_t room = sizeof(hop) - hop_bytes;
    uint8_t* place = reinterpret_cast<uint8_t*>(hop) + hop_bytes;
    const size_t count = PDM.read(place, waiting < room ? waiting : room);
    if (count == 0) return;
    waiting -= count;
    hop_bytes += count;
    if (hop_bytes == sizeof(hop)) {
      m3net_live_hear(&live, hop);  // counts the hop as lost if the queue is full
      hop_bytes = 0;
    }
  }
}

// Prints "microphone quiet" or "microphone clips" when it begins: change the gain then.
static void print_level() {
  static m3net_level_verdict printed = M3NET_LEVEL_OK;
  const m3net_level_verdict verdict = m3net_level_judge(&live.level);
  if (verdict != printed) {
    Serial.print("microphone ");
    Serial.println(m3net_level_verdict_name(verdict));
  }
  printed = verdict;
}

static void stop(const char* reason) {
  for (;;) {
    Serial.println(reason);
    delay(1000);
  }
}

void setup() {
  Serial.begin(115200);
  m3net_status status = m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes));
  if (status == M3NET_OK) status = m3net_live_init(&live, &recognizer);
  if (status == M3NET_OK) status = m3net_live_start(&live, false);
  if (status != M3NET_OK) stop(m3net_status_name(status));
  PDM.onReceive(hear);
  if (!PDM.begin(1, M3NET_FRONTEND_SAMPLE_RATE_HZ)) {
    stop("the PDM library has no microphone with the network's sample rate");
  }
#ifdef NRF52840_XXAA
  PDM.setGain(NRF52840_GAIN);  // begin() sets the library's own
#endif
}

void loop() {
  static m3net_live_result result;
  if (!m3net_live_step(&live, &result)) return;
  if (result.has_level) print_level();
  if (result.status != M3NET_OK) stop(m3net_status_name(result.status));
  if (!result.has_event) return;
  Serial.print(m3net_model_labels[result.event.label]);
  Serial.print(" ");
  Serial.print(100ul * result.event.score / 65536ul);
  Serial.println(" %");
}
