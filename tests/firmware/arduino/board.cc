// SPDX-License-Identifier: Apache-2.0
// Runs a sketch in the emulator. The PDM microphone delivers buffers of 256 samples, which are no
// multiple of a hop; the I2S microphone delivers 24 bits in words of 32. The first call of delay()
// ends the program.

#include <ESP_I2S.h>
#include <PDM.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

SerialPort Serial;
Microphone PDM;

static void (*receive)();
static size_t delivered;
static size_t waiting;
static int gain;

unsigned long micros() {
  static unsigned long now;
  return ++now;
}

void delay(unsigned long) { exit(0); }

void SerialPort::begin(unsigned long) {}
void SerialPort::print(const char* text) { fputs(text, stdout); }
void SerialPort::print(unsigned long number) { printf("%lu", number); }
void SerialPort::println(const char* text) { puts(text); }

int Microphone::begin(int channels, int sample_rate) {
  gain = 20;  // as the library does on an nRF52840
  return channels == 1 && sample_rate > 0;
}

void Microphone::setGain(int value) { gain = value; }

int Microphone::available() { return static_cast<int>(waiting); }

int Microphone::read(void* buffer, size_t size) {
  if (size > waiting) size = waiting;
  memcpy(buffer, reinterpret_cast<const uint8_t*>(pcm) + delivered, size);
  delivered += size;
  waiting -= size;
  return static_cast<int>(size);
}

void Microphone::onReceive(void (*callback)()) { receive = callback; }

void I2SClass::setPins(int8_t, int8_t, int8_t, int8_t, int8_t) {}

bool I2SClass::begin(i2s_mode_t, uint32_t rate, i2s_data_bit_width_t, i2s_slot_mode_t, int8_t) {
  return rate > 0;
}

size_t I2SClass::readBytes(char* buffer, size_t size) {
  const size_t words = size / sizeof(int32_t);
  for (size_t i = 0; i < words; ++i, delivered += sizeof(pcm[0])) {
    if (delivered == sizeof(pcm)) return sizeof(int32_t) * i;
    const int32_t word = static_cast<int32_t>(
        static_cast<uint32_t>(pcm[delivered / sizeof(pcm[0])]) << 12 | 0x0a00u);
    memcpy(buffer + sizeof(word) * i, &word, sizeof(word));
  }
  return sizeof(int32_t) * words;
}

int main() {
  setup();
  if (receive != nullptr && gain <= 40) return 1;  // below 0 dB
  do {
    waiting = sizeof(pcm) - delivered < 512u ? sizeof(pcm) - delivered : 512u;
    if (receive != nullptr) receive();
    for (int turn = 0; turn < 2; ++turn) loop();
  } while (delivered < sizeof(pcm));
  return 0;
}
