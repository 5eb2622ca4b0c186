// SPDX-License-Identifier: Apache-2.0
// What the host's programs change on the host's board.
#ifndef M3NET_HOST_BOARD_H_
#define M3NET_HOST_BOARD_H_

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/// Where execution continues after a reset.
extern jmp_buf host_restart;

/// Takes the console's output, if set; standard input is not read then.
extern void (*host_sink)(const char* bytes, size_t count);

/// Input of the microphone: int16 samples; NULL if there is none.
extern FILE* host_microphone;

/// The memory that m3net_board_info.job points to.
#define HOST_JOB_BYTES (1u << 20)
extern uint8_t host_job[HOST_JOB_BYTES];

/// Lets time pass.
void host_advance(uint64_t us);

#endif  // M3NET_HOST_BOARD_H_
