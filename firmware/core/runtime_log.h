// SPDX-License-Identifier: Apache-2.0
// The sink of TFLM's messages: it keeps the first one since the last clear for the error line.
#ifndef M3NET_CORE_RUNTIME_LOG_H_
#define M3NET_CORE_RUNTIME_LOG_H_

#ifdef __cplusplus
extern "C" {
#endif

/// Discards the message.
void m3net_runtime_log_clear(void);

/// The first message since the last clear, without line ends; empty if none.
const char* m3net_runtime_log_message(void);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_RUNTIME_LOG_H_
