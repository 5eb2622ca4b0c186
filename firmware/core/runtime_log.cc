// SPDX-License-Identifier: Apache-2.0

#include "runtime_log.h"

#include <cstdarg>
#include <cstddef>
#include <cstdint>

#include "tensorflow/lite/micro/debug_log.h"

namespace {

constexpr size_t kCapacity = 160;
char g_message[kCapacity];
size_t g_length = 0;
bool g_complete = false;

// Appends to a buffer of fixed size and always leaves it terminated.
class Writer {
 public:
  Writer(char* buffer, size_t capacity, size_t length)
      : buffer_(buffer), capacity_(capacity), length_(length) {}

  void Put(char letter) {
    if (length_ + 1 < capacity_) buffer_[length_++] = letter;
  }
  void Text(const char* text) {
    for (; text != nullptr && *text != '\0'; ++text) Put(*text);
  }
  void Number(uint32_t value, uint32_t base) {
    char digits[10];
    size_t count = 0;
    do {
      digits[count++] = "0123456789abcdef"[value % base];
      value /= base;
    } while (value != 0);
    while (count > 0) Put(digits[--count]);
  }
  void Format(const char* format, va_list args);
  size_t length() const { return length_; }
  void Terminate() {
    if (capacity_ > 0) buffer_[length_] = '\0';
  }

 private:
  char* buffer_;
  size_t capacity_;
  size_t length_;
};

// The conversions that TFLM's messages use; 64-bit values and fractions are not printed.
void Writer::Format(const char* format, va_list args) {
  for (; *format != '\0'; ++format) {
    if (*format != '%') {
      Put(*format);
      continue;
    }
    ++format;
    while ((*format >= '0' && *format <= '9') || *format == '.' || *format == '-') ++format;
    while (*format == 'l' || *format == 'z' || *format == 'h') ++format;
    switch (*format) {
      case 'd':
      case 'i': {
        const int value = va_arg(args, int);
        if (value < 0) Put('-');
        Number(value < 0 ? 0u - static_cast<uint32_t>(value) : static_cast<uint32_t>(value), 10);
        break;
      }
      case 'u':
        Number(va_arg(args, unsigned), 10);
        break;
      case 'x':
      case 'X':
        Number(va_arg(args, unsigned), 16);
        break;
      case 'p':
        Text("0x");
        Number(static_cast<uint32_t>(reinterpret_cast<uintptr_t>(va_arg(args, void*))), 16);
        break;
      case 's':
        Text(va_arg(args, const char*));
        break;
      case 'c':
        Put(static_cast<char>(va_arg(args, int)));
        break;
      case 'f':
      case 'g':
      case 'e':
        static_cast<void>(va_arg(args, double));
        Text("(real)");
        break;
      case '\0':
        return;
      default:
        Put(*format);
    }
  }
}

}  // namespace

extern "C" {

void DebugLog(const char* format, va_list args) {
  if (g_complete) return;
  Writer writer(g_message, kCapacity, g_length);
  writer.Format(format, args);
  g_length = writer.length();
  while (g_length > 0 && (g_message[g_length - 1] == '\n' || g_message[g_length - 1] == '\r')) {
    --g_length;
    g_complete = true;  // a message ends with its line
  }
  g_message[g_length] = '\0';
  if (g_length == 0) g_complete = false;
}

int DebugVsnprintf(char* buffer, size_t buf_size, const char* format, va_list vlist) {
  Writer writer(buffer, buf_size, 0);
  writer.Format(format, vlist);
  writer.Terminate();
  return static_cast<int>(writer.length());
}

void m3net_runtime_log_clear(void) {
  g_length = 0;
  g_complete = false;
  g_message[0] = '\0';
}

const char* m3net_runtime_log_message(void) { return g_message; }

}  // extern "C"
