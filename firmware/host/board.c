// SPDX-License-Identifier: Apache-2.0
// A board of the host's: the console is standard input and output, the microphone a file of
// samples, and time passes only while the firmware asks for it or sleeps.

#include "board.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "platform.h"

#define SLEEP_MS 20
#define BITS_A_BYTE 10u            // of the UART: start, eight, stop
#define LONGEST_TURN_US 15000000u  // without feeding the watchdog: platform.h

const m3net_board m3net_board_info = {
    .name = "host",
    .cpu_core = "host",
    .counter_unit = "instructions",
    .counter_scale = 1,
    .job = host_job,
    .job_capacity_bytes = HOST_JOB_BYTES,
    .clock_hz = 1000000,
    .uart_baud = 115200,
    .has_audio = true,
};

uint8_t host_job[HOST_JOB_BYTES];
jmp_buf host_restart;
void (*host_sink)(const char* bytes, size_t count);
FILE* host_microphone;

static uint64_t now_us;
static uint64_t writing_us;  // since the watchdog was fed
static uint32_t baud = 115200;
static uint32_t counter;
static m3net_reset_reason reason = M3NET_RESET_POWER;

static struct {
  int16_t* halves;
  size_t half_samples;
  uint64_t due_us, period_us;
  uint32_t half;
  bool on, in_callback;
  m3net_half_ready half_ready;
  void* context;
} audio;

void m3net_board_init(void) {}

void m3net_board_write(const char* bytes, size_t count) {
  if (host_sink != NULL) {
    host_sink(bytes, count);
  } else {
    fwrite(bytes, 1, count, stdout);
    writing_us += (uint64_t)count * BITS_A_BYTE * 1000000u / baud;
    if (writing_us > LONGEST_TURN_US) {
      fputs("m3net_host: the watchdog was not fed while the console wrote\n", stderr);
      abort();
    }
  }
}

size_t m3net_board_read(uint8_t* bytes, size_t capacity) {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  if (host_sink != NULL || poll(&input, 1, 0) <= 0) return 0;
  const ssize_t count = read(STDIN_FILENO, bytes, capacity);
  if (count <= 0) exit(0);  // the other side has closed it
  return (size_t)count;
}

uint32_t m3net_board_read_overruns(void) { return 0; }

m3net_status m3net_board_set_baud(uint32_t speed) {
  if (speed > 1000000u) return M3NET_ERROR_UNSUPPORTED;
  baud = speed;
  return M3NET_OK;
}

m3net_status m3net_board_timestamp_pin(void) { return M3NET_OK; }

uint32_t m3net_board_counter(void) { return counter += 7u; }

static void hear(void) {
  int16_t* half = audio.halves + audio.half * audio.half_samples;
  memset(half, 0, audio.half_samples * sizeof(int16_t));
  if (fread(half, sizeof(int16_t), audio.half_samples, host_microphone) == 0) {
    rewind(host_microphone);  // over and over: a microphone never ends
  }
  audio.half ^= 1u;
  audio.due_us += audio.period_us;
  audio.in_callback = true;
  audio.half_ready(audio.context, half);
  audio.in_callback = false;
}

void host_advance(uint64_t us) {
  now_us += us;
  while (audio.on && !audio.in_callback && now_us >= audio.due_us) hear();
}

uint64_t m3net_board_time_us(void) {
  host_advance(1);
  return now_us;
}

m3net_status m3net_board_audio_start(uint32_t sample_rate_hz, int16_t* ping_pong,
                                     size_t half_samples, m3net_half_ready half_ready,
                                     void* context) {
  if (host_microphone == NULL) return M3NET_ERROR_UNSUPPORTED;
  rewind(host_microphone);
  audio.halves = ping_pong;
  audio.half_samples = half_samples;
  audio.period_us = (uint64_t)half_samples * 1000000u / sample_rate_hz;
  audio.due_us = now_us + audio.period_us;
  audio.half = 0;
  audio.half_ready = half_ready;
  audio.context = context;
  audio.on = true;
  return M3NET_OK;
}

void m3net_board_audio_stop(void) { audio.on = false; }

uint32_t m3net_board_audio_overruns(void) { return 0; }

void m3net_board_idle(void) {
  fflush(stdout);
  if (audio.on || host_sink != NULL) {
    host_advance(audio.on ? audio.period_us : 1000u * SLEEP_MS);
    return;
  }
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  (void)poll(&input, 1, SLEEP_MS);
  host_advance(1000u * SLEEP_MS);
}

void m3net_board_reset(void) {
  audio.on = false;
  reason = M3NET_RESET_SOFTWARE;
  longjmp(host_restart, 1);
}

m3net_reset_reason m3net_board_reset_reason(void) { return reason; }

// The test that waits for the program ends it if it hangs.
void m3net_board_watchdog_start(uint32_t timeout_ms) { (void)timeout_ms; }

void m3net_board_watchdog_feed(void) { writing_us = 0; }

uint32_t m3net_platform_lock(void) { return 0; }

void m3net_platform_unlock(uint32_t state) { (void)state; }

size_t m3net_platform_stack_size(void) { return 0; }

size_t m3net_platform_stack_used(void) { return 0; }
