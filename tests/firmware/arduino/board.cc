// SPDX-License-Identifier: Apache-2.0
// Runs a sketch in the emulator. The microphone delivers buffers of 256 samples, which are no
// multiple of a hop. The first call of delay() ends the program.

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

unsigned long micros() {
  static unsigned long now;
  return ++now;
}

void delay(unsigned long) { exit(0); }

void SerialPort::begin(unsigned long) {}
void SerialPort::print(const char* text) { fputs(text, stdout); }
void SerialPort::print(unsigned long number) { printf("%lu", number); }
void SerialPort::println(const char* text) { puts(text); }

int Microphone::begin(int channels, int sample_rate) { return channels == 1 && sample_rate > 0; }

int Microphone::available() { return static_cast<int>(waiting); }

int Microphone::read(void* buffer, size_t size) {
  if (size > waiting) size = waiting;
  memcpy(buffer, reinterpret_cast<const uint8_t*>(pcm) + delivered, size);
  delivered += size;
  waiting -= size;
  return static_cast<int>(size);
}

void Microphone::onReceive(void (*callback)()) { receive = callback; }

int main() {
  setup();
  do {
    waiting = sizeof(pcm) - delivered < 512u ? sizeof(pcm) - delivered : 512u;
    if (receive != nullptr) receive();
    for (int turn = 0; turn < 2; ++turn) loop();
  } while (delivered < sizeof(pcm));
  return 0;
}
