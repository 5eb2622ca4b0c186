// SPDX-License-Identifier: Apache-2.0
// What the host's programs change of the host's board.
#ifndef M3NET_HOST_BOARD_H_
#define M3NET_HOST_BOARD_H_

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/// Where a reset goes on.
extern jmp_buf host_restart;

/// Takes what the console would print, if set; then nothing is read from standard input either.
extern void (*host_sink)(const char* bytes, size_t count);

/// What the microphone hears: int16 samples; NULL if there is none.
extern FILE* host_microphone;

/// What m3net_board_info.job points to.
#define HOST_JOB_BYTES (1u << 20)
extern uint8_t host_job[HOST_JOB_BYTES];

/// Lets time pass.
void host_advance(uint64_t us);

#endif  // M3NET_HOST_BOARD_H_
