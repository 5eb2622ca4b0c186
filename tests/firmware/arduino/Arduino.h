// SPDX-License-Identifier: Apache-2.0
// As much of Arduino's core as the examples use; Serial prints to the emulator's console.
#ifndef M3NET_TESTS_ARDUINO_H_
#define M3NET_TESTS_ARDUINO_H_

#include <stddef.h>
#include <stdint.h>

void setup();
void loop();

unsigned long micros();
void delay(unsigned long milliseconds);

class SerialPort {
 public:
  void begin(unsigned long baud);
  void print(const char* text);
  void print(unsigned long number);
  void println(const char* text);
};

extern SerialPort Serial;

#endif  // M3NET_TESTS_ARDUINO_H_
