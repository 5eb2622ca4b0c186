// SPDX-License-Identifier: Apache-2.0
// The board's description, from the facts in its board.toml.

#include "board_config.h"
#include "platform.h"

const m3net_board m3net_board_info = {
    .name = BOARD_NAME,
    .cpu_core = BOARD_CPU_CORE,
    .counter_unit = BOARD_COUNTER_UNIT,
    .counter_scale = BOARD_COUNTER_SCALE,
    .job = (const uint8_t*)BOARD_JOB_ADDRESS,
    .job_capacity_bytes = BOARD_JOB_CAPACITY_BYTES,
    .clock_hz = BOARD_CLOCK_HZ,
    .uart_baud = BOARD_UART_BAUD,
    .has_audio = BOARD_HAS_AUDIO,
};

#ifdef M3NET_HAS_STORAGE
const m3net_storage m3net_board_storage = {
    .sector_bytes = BOARD_STORAGE_SECTOR_BYTES,
    .sector_count = BOARD_STORAGE_SECTORS,
    .word_bytes = BOARD_STORAGE_WORD_BYTES,
};
#endif

#ifdef M3NET_HAS_SLOTS
const m3net_slots m3net_board_slots = {
    .sectors = BOARD_STORAGE_SLOT_SECTORS,
    .bytes = (const uint8_t*)BOARD_STORAGE_BASE,
};
#endif
