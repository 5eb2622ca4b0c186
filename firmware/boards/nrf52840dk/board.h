// SPDX-License-Identifier: Apache-2.0
// Declarations for the code of the nRF52840 DK; its facts are in board.toml.
#ifndef M3NET_BOARD_H_
#define M3NET_BOARD_H_

#include <stdint.h>

#include "board_config.h"
#include "nrf52840.h"
#include "nrf52840_bitfields.h"

/// Defined in microphone.c.
void board_microphone_interrupt(void);

#endif  // M3NET_BOARD_H_
