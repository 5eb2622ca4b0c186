// SPDX-License-Identifier: Apache-2.0
// What portable code may ask of the board and of the core it runs on. A board folder implements
// the m3net_board_* part, the folder of its architecture the m3net_platform_* part.
#ifndef M3NET_CORE_PLATFORM_H_
#define M3NET_CORE_PLATFORM_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Facts about a board that portable code reads but never assumes.
typedef struct {
  const char* name;           ///< As in the folder's name.
  const char* cpu_core;       ///< E.g. "cortex-m4f".
  const char* counter_unit;   ///< What m3net_board_counter() counts: "instructions" or "cycles".
  uint32_t counter_scale;     ///< Units for each step of the counter.
  const uint8_t* job;         ///< Where a job image is put by the emulator or the debugger.
  size_t job_capacity_bytes;  ///< Room for it.
  uint32_t clock_hz;          ///< Of the core.
  uint32_t uart_baud;         ///< Of the console, at start.
  bool has_audio;             ///< Whether m3net_board_audio_start() can succeed.
} m3net_board;

/// The board this firmware was built for.
extern const m3net_board m3net_board_info;

/// Why the board started.
typedef enum {
  M3NET_RESET_UNKNOWN = 0,
  M3NET_RESET_POWER,
  M3NET_RESET_PIN,
  M3NET_RESET_SOFTWARE,
  M3NET_RESET_WATCHDOG,
  M3NET_RESET_FAULT,
} m3net_reset_reason;

/// Sets up clocks, console and counter. Called once, first thing in main(). Waits for hardware are
/// bounded; what never comes ends in m3net_platform_panic().
void m3net_board_init(void);

/// Writes to the console and returns when all is handed over; safe in a fault handler.
void m3net_board_write(const char* bytes, size_t count);

/// Takes up to `capacity` bytes that the console received; returns how many, 0 if none. Reception
/// goes on in an interrupt meanwhile, into a ring of at least 512 bytes.
size_t m3net_board_read(uint8_t* bytes, size_t capacity);

/// Bytes that the console lost since the start because nobody took them in time.
uint32_t m3net_board_read_overruns(void);

/// Changes the console's speed once all is sent; returns 0, or a negative number and changes
/// nothing where the board cannot. The default cannot.
int m3net_board_set_baud(uint32_t baud);

/// A counter that rises steadily and wraps at 2^32 steps of m3net_board_info.counter_scale units.
uint32_t m3net_board_counter(void);

/// Microseconds since the start; never goes back.
uint64_t m3net_board_time_us(void);

/// Starts the microphone: samples go into the two halves of `ping_pong` in turn (2 * half_samples
/// in all), and `half_ready` is called, from an interrupt, whenever one is full. A DMA may write
/// there by words: `ping_pong` must be aligned to 4 bytes and half_samples be even.
///
/// @return 0, or a negative number if the board has no microphone, not at this rate, or not now.
int m3net_board_audio_start(uint32_t sample_rate_hz, int16_t* ping_pong, size_t half_samples,
                            void (*half_ready)(const int16_t* half));

/// Stops the microphone and takes its power away.
void m3net_board_audio_stop(void);

/// Halves that the hardware filled anew before `half_ready` had returned, since the start.
uint32_t m3net_board_audio_overruns(void);

/// Sleeps until an interrupt is pending, even one that m3net_platform_lock() holds back. There must
/// be one every 10 s at least, or the watchdog is not fed.
void m3net_board_idle(void);

/// Starts anew, as after power-up but for m3net_board_reset_reason().
__attribute__((noreturn)) void m3net_board_reset(void);

/// Why the board started this time.
m3net_reset_reason m3net_board_reset_reason(void);

/// Short name for a log line, e.g. "watchdog".
const char* m3net_reset_reason_name(m3net_reset_reason reason);

/// Starts the watchdog: the board restarts unless it is fed at least so often; 30 s must be
/// possible.
void m3net_board_watchdog_start(uint32_t timeout_ms);

/// Feeds the watchdog.
void m3net_board_watchdog_feed(void);

/// Marks a point in time for an energy meter: a pin goes low for a moment, then high again. Returns
/// false where the board has no such pin, as by default.
bool m3net_board_timestamp_pin(void);

/// Holds interrupts back; returns what m3net_platform_unlock() wants. May be nested.
uint32_t m3net_platform_lock(void);

/// Lets interrupts through again if they were before.
void m3net_platform_unlock(uint32_t state);

/// Bytes of stack that exist, without the guard.
size_t m3net_platform_stack_size(void);

/// Bytes of stack that have been in use at any time since the start (watermark).
size_t m3net_platform_stack_used(void);

/// Reports an error that leaves no way on, and stops.
__attribute__((noreturn)) void m3net_platform_panic(const char* code, const char* text,
                                                    uint32_t value);

/// Stops with interrupts off.
__attribute__((noreturn)) void m3net_platform_halt(void);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_PLATFORM_H_
