// SPDX-License-Identifier: Apache-2.0

#include "status.h"

const char* m3net_status_name(m3net_status status) {
  static const char* const names[] = {"ok",          "argument", "memory", "config", "model",
                                      "operator",    "arena",    "tensor", "invoke", "model_crc",
                                      "unsupported", "hardware", "full",   "no_job", "job"};
  return (unsigned)status < sizeof(names) / sizeof(names[0]) ? names[status] : "unknown";
}
