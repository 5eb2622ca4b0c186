// SPDX-License-Identifier: Apache-2.0
// What portable code may ask of the board and of the core it runs on. A board folder implements
// the m3net_board_* part, the folder of its architecture the m3net_platform_* part.
#ifndef M3NET_CORE_PLATFORM_H_
#define M3NET_CORE_PLATFORM_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Facts about a board that portable code reads but never assumes.
typedef struct {
  const char* name;           ///< As in the folder's name.
  const char* counter_unit;   ///< What m3net_board_counter() counts: "instructions" or "cycles".
  uint32_t counter_scale;     ///< Units for each step of the counter.
  const uint8_t* job;         ///< Where a job image is put by the emulator or the debugger.
  size_t job_capacity_bytes;  ///< Room for it.
} m3net_board;

/// The board this firmware was built for.
extern const m3net_board m3net_board_info;

/// Sets up clocks, console and counter. Called once, first thing in main().
void m3net_board_init(void);

/// Writes to the console and returns when all is handed over; safe in a fault handler.
void m3net_board_write(const char* bytes, size_t count);

/// A counter that rises steadily and wraps at 2^32 steps of m3net_board_info.counter_scale units.
uint32_t m3net_board_counter(void);

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
