// SPDX-License-Identifier: Apache-2.0
// The storage of the host's board: flash with the rules of real chips, and power cuts.
#ifndef M3NET_HOST_STORAGE_H_
#define M3NET_HOST_STORAGE_H_

#include <stdbool.h>
#include <stdint.h>

/// What a power cut leaves of the word, or of the sector, that it meets.
typedef enum {
  HOST_CUT_NOTHING,  ///< It is as before.
  HOST_CUT_HALF,     ///< Half of it is written, or erased; a long word cannot be read.
  HOST_CUT_WEAK,     ///< A word reads as erased but takes nothing; a sector holds noise.
  HOST_CUT_WHOLE,    ///< It is written, or erased, but the next one is not begun.
  HOST_CUT_KINDS,
} host_cut;

/// Never cuts the power.
#define HOST_NO_CUT UINT32_MAX

/// Words programmed and sectors erased so far.
extern uint32_t host_storage_steps;

/// The step that ends in a reset at host_restart, and what it leaves.
extern uint32_t host_storage_cut_step;
extern host_cut host_storage_cut;

/// Makes the storage refuse every word and every erase, as a worn one does.
extern bool host_storage_worn;

/// Erases everything, and cuts nothing.
void host_storage_blank(void);

/// Changes bits of a byte, as radiation and age do.
void host_storage_damage(uint32_t offset, uint8_t bits);

/// Keeps the present content for host_storage_restore().
void host_storage_keep(void);
void host_storage_restore(void);

#endif  // M3NET_HOST_STORAGE_H_
