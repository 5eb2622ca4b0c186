// SPDX-License-Identifier: Apache-2.0
// All that an application needs.
#ifndef M3NET_H_
#define M3NET_H_

#include "detector.h"
#include "recognizer.h"

#endif  // M3NET_H_
