// SPDX-License-Identifier: Apache-2.0
// What portable code may ask of the board and of the core that it runs on. A board's folder
// implements m3net_board_*, the folder of its architecture m3net_platform_*.
#ifndef M3NET_CORE_PLATFORM_H_
#define M3NET_CORE_PLATFORM_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Facts about a board; portable code assumes none of them.
typedef struct {
  const char* name;           ///< The folder's name.
  const char* cpu_core;       ///< E.g. "cortex-m4f".
  const char* counter_unit;   ///< What m3net_board_counter() counts: "instructions" or "cycles".
  uint32_t counter_scale;     ///< Units for each step of the counter.
  const uint8_t* job;         ///< Where emulator or debugger put a job image.
  size_t job_capacity_bytes;  ///< Of the memory at `job`.
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

/// Sets up clocks, console and counter; main() calls it once, first. Waits for hardware are bounded
/// and end in m3net_platform_panic().
void m3net_board_init(void);

/// Writes to the console; returns when the hardware has taken every byte. Safe in a fault handler.
void m3net_board_write(const char* bytes, size_t count);

/// Takes up to `capacity` bytes that the console received; returns how many. An interrupt receives
/// them meanwhile into a ring of at least 512 bytes.
size_t m3net_board_read(uint8_t* bytes, size_t capacity);

/// Bytes that the console lost since the start because the ring was full.
uint32_t m3net_board_read_overruns(void);

/// Changes the console's speed once everything is sent.
///
/// @return M3NET_OK, or M3NET_ERROR_UNSUPPORTED for a speed that the board does not have; the speed
///         then stays as it was. The default supports none.
m3net_status m3net_board_set_baud(uint32_t baud);

/// A counter that rises steadily and wraps at 2^32 steps of m3net_board_info.counter_scale units.
uint32_t m3net_board_counter(void);

/// Microseconds since the start; never goes back.
uint64_t m3net_board_time_us(void);

/// Takes one full half of the microphone's buffer, within an interrupt.
///
/// @param context  as given to m3net_board_audio_start().
typedef void (*m3net_half_ready)(void* context, const int16_t* half);

/// Starts the microphone: samples go into the two halves of `ping_pong` in turn (2 * half_samples
/// in all), and an interrupt calls `half_ready` with `context` whenever one is full. A DMA may
/// write whole words: `ping_pong` must be aligned to 4 bytes and half_samples must be even.
///
/// @return M3NET_OK, M3NET_ERROR_UNSUPPORTED (no microphone, or not at this rate),
///         M3NET_ERROR_ARGUMENT (a buffer that the hardware cannot fill), M3NET_ERROR_CONFIG (a
///         filter out of range) or M3NET_ERROR_HARDWARE (the hardware did not become ready). The
///         default has no microphone.
m3net_status m3net_board_audio_start(uint32_t sample_rate_hz, int16_t* ping_pong,
                                     size_t half_samples, m3net_half_ready half_ready,
                                     void* context);

/// Stops the microphone and switches it off; `half_ready` is not called again.
void m3net_board_audio_stop(void);

/// Halves that the hardware overwrote before `half_ready` had returned, since the start.
uint32_t m3net_board_audio_overruns(void);

/// Sleeps until an interrupt is pending, even one that m3net_platform_lock() holds back. One must
/// come at least every 10 s, because a sleeping loop does not feed the watchdog.
void m3net_board_idle(void);

/// Restarts the board, as after power-up except for m3net_board_reset_reason().
__attribute__((noreturn)) void m3net_board_reset(void);

/// Why the board started this time.
m3net_reset_reason m3net_board_reset_reason(void);

/// Short name for a log line, e.g. "watchdog".
const char* m3net_reset_reason_name(m3net_reset_reason reason);

/// Starts the watchdog: the board restarts if it is not fed for `timeout_ms`, which may be up to
/// 30 s. Some watchdogs raise an interrupt after half of it, which a board may report as a fault.
void m3net_board_watchdog_start(uint32_t timeout_ms);

/// Feeds the watchdog. The application's loops do this, never the code that they call to compute:
/// the main loop in each turn, and a loop within one command or job before each run of the model
/// and before each line of an answer that has one line per class or layer. So one turn of any loop
/// must end within half the timeout, which is 15 s in the product: it may sleep (m3net_board_idle()
/// ends within 10 s), take one block or command, and run the model once.
void m3net_board_watchdog_feed(void);

/// Marks a point in time for an energy meter: a pin goes low for a moment, then high again.
///
/// @return M3NET_OK, or M3NET_ERROR_UNSUPPORTED if the board has no such pin, as by default.
m3net_status m3net_board_timestamp_pin(void);

/// Most bytes of a word of any storage.
#define M3NET_STORAGE_MAX_WORD_BYTES 32u

/// The storage of a board: sectors of its flash that no image occupies, with one address after the
/// other from 0. Erased bytes read as 0xFF.
typedef struct {
  uint32_t sector_bytes;  ///< What one erase clears.
  uint32_t sector_count;  ///< At least 2.
  uint32_t word_bytes;    ///< What one programming writes, aligned to itself: a multiple of 4.
} m3net_storage;

/// The storage. Boards without one define neither this nor the functions below, and leave out
/// M3NET_HAS_STORAGE, which the table `storage` of a board.toml defines.
extern const m3net_storage m3net_board_storage;

/// Reads bytes of the storage.
///
/// @return M3NET_OK, or M3NET_ERROR_HARDWARE (a word that a power cut left unreadable).
m3net_status m3net_board_storage_read(uint32_t offset, void* bytes, size_t count);

/// Erases a sector. The core may stand still meanwhile, for seconds on some chips: sound and bytes
/// of the console are lost then, and the caller must have fed the watchdog.
///
/// @return M3NET_OK, or M3NET_ERROR_HARDWARE.
m3net_status m3net_board_storage_erase(uint32_t sector);

/// Programs an erased word.
///
/// @param word  word_bytes bytes, aligned to 4.
/// @return M3NET_OK, or M3NET_ERROR_HARDWARE.
m3net_status m3net_board_storage_program(uint32_t offset, const void* word);

/// Two slots for models (model_slots.h) that follow the storage's sectors, at the next offsets.
typedef struct {
  uint32_t sectors;      ///< Of each slot, of the storage's size.
  const uint8_t* bytes;  ///< Address of the storage's first byte: slots are read in place.
} m3net_slots;

/// The slots. Boards without them do not define it, and leave out M3NET_HAS_SLOTS, which a build of
/// an updatable export for a board with a storage defines.
extern const m3net_slots m3net_board_slots;

/// Holds interrupts back; returns the state for m3net_platform_unlock(). Calls may be nested.
uint32_t m3net_platform_lock(void);

/// Restores the state of before m3net_platform_lock().
void m3net_platform_unlock(uint32_t state);

/// Bytes of the stack, without its guard.
size_t m3net_platform_stack_size(void);

/// The most bytes of the stack that were in use since the start (watermark).
size_t m3net_platform_stack_used(void);

/// Prints an error after which nothing can continue, and stops.
__attribute__((noreturn)) void m3net_platform_panic(const char* code, const char* text,
                                                    uint32_t value);

/// Stops with interrupts off.
__attribute__((noreturn)) void m3net_platform_halt(void);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_PLATFORM_H_
